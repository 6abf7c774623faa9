//! Aligned columns and colours; control characters never reach the terminal.

use std::fmt::Write;

/// What a text means; `Ord` is how bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
}

/// A text and how it is painted.
pub(super) struct Cell(pub(super) Tone, pub(super) String);

impl Cell {
    pub(super) fn of(text: impl Into<String>) -> Self {
        Self(Tone::Plain, text.into())
    }
}

/// The text so far.
pub(super) struct Page {
    text: String,
    colour: bool,
}

impl Page {
    pub(super) fn new(colour: bool) -> Self {
        Self {
            text: String::new(),
            colour,
        }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    /// A titled table with a column as wide as its widest cell; nothing when there are no rows.
    pub(super) fn table(&mut self, title: &str, columns: &[&str], rows: Vec<Vec<Cell>>) {
        if rows.is_empty() {
            return;
        }
        let header = columns.iter().map(|name| Cell::of(*name)).collect();
        let rows: Vec<Vec<Cell>> = [header].into_iter().chain(rows).map(shown).collect();
        let mut widths: Vec<usize> = Vec::new();
        for row in &rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, Cell(_, text)) in widths.iter_mut().zip(row) {
                *width = text.chars().count().max(*width);
            }
        }
        self.text.push('\n');
        self.painted("1", title);
        self.text.push('\n');
        for row in rows.iter().filter(|row| !row.is_empty()) {
            for (index, (Cell(tone, text), width)) in row.iter().zip(&widths).enumerate() {
                self.text.push_str("  ");
                self.painted(tone.code(), text);
                if index + 1 < row.len() {
                    let pad = width - text.chars().count();
                    self.text.extend(std::iter::repeat_n(' ', pad));
                }
            }
            self.text.push('\n');
        }
    }

    /// Cells side by side.
    pub(super) fn line(&mut self, cells: &[Cell]) {
        for (index, Cell(tone, text)) in cells.iter().enumerate() {
            if index > 0 {
                self.text.push(' ');
            }
            self.painted(tone.code(), &escaped(text));
        }
        self.text.push('\n');
    }

    fn painted(&mut self, code: &str, text: &str) {
        if self.colour && !code.is_empty() {
            let _ = write!(self.text, "\u{1b}[{code}m{text}\u{1b}[0m");
        } else {
            self.text.push_str(text);
        }
    }
}

impl Tone {
    /// ANSI colour.
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
        }
    }
}

fn shown(row: Vec<Cell>) -> Vec<Cell> {
    row.into_iter()
        .map(|Cell(tone, text)| match text.as_str() {
            "" => Cell(tone, "-".to_owned()),
            _ => Cell(tone, escaped(&text)),
        })
        .collect()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
