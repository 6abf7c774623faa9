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
    width: Option<usize>,
}

impl Page {
    /// Lines of tables are broken to stay within `width`, if there is one.
    pub(super) fn new(colour: bool, width: Option<usize>) -> Self {
        Self {
            text: String::new(),
            colour,
            width,
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
                if index + 1 < row.len() {
                    self.painted(tone.code(), text);
                    let pad = width - text.chars().count();
                    self.text.extend(std::iter::repeat_n(' ', pad));
                } else {
                    let at: usize =
                        widths[..index].iter().map(|width| width + 2).sum::<usize>() + 2;
                    for (number, part) in broken(text, self.width, at).into_iter().enumerate() {
                        if number > 0 {
                            self.text.push('\n');
                            self.text.extend(std::iter::repeat_n(' ', at));
                        }
                        self.painted(tone.code(), part);
                    }
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

/// The lines of a text that begins in column `at`; one where there is no room to speak of.
fn broken(text: &str, width: Option<usize>, at: usize) -> Vec<&str> {
    let room = width.map_or(0, |width| width.saturating_sub(at));
    if room < LEAST_ROOM {
        return vec![text];
    }
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some((end, _)) = rest.char_indices().nth(room) {
        let cut = rest[..end].rfind(' ').filter(|cut| *cut > 0);
        let cut = cut.unwrap_or(end);
        lines.push(&rest[..cut]);
        rest = rest[cut..].trim_start_matches(' ');
    }
    lines.push(rest);
    lines
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

/// A narrower column is not broken: it would be all line ends.
const LEAST_ROOM: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_broken_between_words() {
        let text = "one two three four five six seven";
        assert_eq!(broken(text, None, 10), [text]);
        assert_eq!(broken(text, Some(30), 10), [text]);
        let lines = broken(text, Some(42), 10);
        assert_eq!(lines, ["one two three four five six", "seven"]);
        let word = "x".repeat(70);
        let lengths: Vec<_> = broken(&word, Some(30), 0).iter().map(|l| l.len()).collect();
        assert_eq!(lengths, [30, 30, 10]);
    }
}
