//! YAML -> a tree that knows where each of its words stands. Anchors, aliases and merge keys (`<<`) are
//! resolved as PyYAML and Go's yaml do for compose; what an alias stands for is shared, never copied.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::docker::labels::excerpt;

/// A part of a file, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Which of the files read.
    pub(crate) file: usize,
    pub(crate) start: usize,
    /// Exclusive.
    pub(crate) end: usize,
}

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Span,
    pub(crate) value: Value,
    /// `reset` of `!reset`, for example.
    pub(crate) tag: Option<String>,
}

#[derive(Debug)]
pub(crate) enum Value {
    /// `plain`: without quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Rc<Node>>),
    /// In the order of the file, merged entries last. A key that is written twice has its last value.
    Map(Vec<Entry>),
}

pub(crate) type Entry = (Rc<Node>, Rc<Node>);

/// Why a text cannot be read, or what is odd about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: Span,
    pub(crate) reason: String,
}

/// A document, and its keys that stand twice in one mapping.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) root: Rc<Node>,
    pub(crate) doubled: Vec<Fault>,
}

/// Reads the first document of `text`.
///
/// # Errors
///
/// No YAML, or more of it than any compose file has: [`MAX_DEPTH`], [`MAX_MERGED`].
pub(crate) fn parse(file: usize, text: &str) -> Result<Document, Fault> {
    let mut builder = Builder {
        file,
        ..Builder::default()
    };
    let chars: Vec<char> = text.chars().collect();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let at = error.marker().index();
            builder.fault(at, at + 1, format!("no YAML: {}", error.info()))
        })?;
        let (start, mut end) = (span.start.index(), span.end.index());
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if let ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted = style {
                    end = quoted(&chars, start).unwrap_or(end);
                }
                let value = Value::Scalar {
                    plain: style == ScalarStyle::Plain,
                    text: text.into_owned(),
                };
                let tag = tag.map(|tag| tag.suffix.clone());
                builder.complete(
                    anchor,
                    Node {
                        at: builder.span(start, end),
                        value,
                        tag,
                    },
                )?;
            }
            Event::SequenceStart(anchor, tag) => {
                builder.open(start, anchor, tag.map(|tag| tag.suffix.clone()), false)?;
            }
            Event::MappingStart(anchor, tag) => {
                builder.open(start, anchor, tag.map(|tag| tag.suffix.clone()), true)?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close(end)?,
            Event::Alias(anchor) => {
                let Some(node) = builder.anchors.get(&anchor).cloned() else {
                    let reason = "an alias within what it stands for".to_owned();
                    return Err(builder.fault(start, end, reason));
                };
                builder.add(node)?;
            }
            Event::DocumentEnd => break,
            _ => {}
        }
    }
    let empty = Rc::new(Node {
        at: builder.span(0, 1),
        value: Value::Map(Vec::new()),
        tag: None,
    });
    Ok(Document {
        root: builder.root.unwrap_or(empty),
        doubled: builder.doubled,
    })
}

/// The end of a scalar in quotes: that of the parser has what follows, too, be it a comment.
fn quoted(chars: &[char], start: usize) -> Option<usize> {
    let quote = *chars.get(start)?;
    let mut at = start + 1;
    loop {
        match *chars.get(at)? {
            '\\' if quote == '"' => at += 1,
            c if c == quote && quote == '\'' && chars.get(at + 1) == Some(&quote) => at += 1,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
}

#[derive(Debug, Default)]
struct Builder {
    file: usize,
    root: Option<Rc<Node>>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    doubled: Vec<Fault>,
    merged: usize,
}

/// A list or mapping whose end has not come.
#[derive(Debug)]
struct Open {
    start: usize,
    anchor: usize,
    tag: Option<String>,
    map: bool,
    /// Keys and values in turn, in a mapping.
    nodes: Vec<Rc<Node>>,
}

impl Builder {
    fn span(&self, start: usize, end: usize) -> Span {
        Span {
            file: self.file,
            start,
            end: end.max(start),
        }
    }

    fn fault(&self, start: usize, end: usize, reason: String) -> Fault {
        Fault {
            at: self.span(start, end),
            reason,
        }
    }

    fn open(
        &mut self,
        start: usize,
        anchor: usize,
        tag: Option<String>,
        map: bool,
    ) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            let reason = format!("more than {MAX_DEPTH} levels");
            return Err(self.fault(start, start + 1, reason));
        }
        self.open.push(Open {
            start,
            anchor,
            tag,
            map,
            nodes: Vec::new(),
        });
        Ok(())
    }

    fn close(&mut self, end: usize) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.map {
            true => self.map(open.nodes)?,
            false => Value::List(open.nodes),
        };
        let node = Node {
            at: self.span(open.start, end),
            value,
            tag: open.tag,
        };
        self.complete(open.anchor, node)
    }

    fn complete(&mut self, anchor: usize, node: Node) -> Result<(), Fault> {
        let node = Rc::new(node);
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.add(node)
    }

    fn add(&mut self, node: Rc<Node>) -> Result<(), Fault> {
        match self.open.last_mut() {
            Some(open) => open.nodes.push(node),
            None => self.root = Some(node),
        }
        Ok(())
    }

    fn map(&mut self, nodes: Vec<Rc<Node>>) -> Result<Value, Fault> {
        let mut own: Vec<Entry> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut merged: Vec<Rc<Node>> = Vec::new();
        let mut nodes = nodes.into_iter();
        while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
            match (key.plain(), &value.value) {
                (Some("<<"), Value::List(several)) => merged.extend(several.iter().cloned()),
                (Some("<<"), _) => merged.push(value),
                _ => {
                    let text = key.text().unwrap_or_default().to_owned();
                    match places.get(&text) {
                        Some(place) => {
                            let reason = format!(
                                "`{}` is written twice: compose refuses that, or takes the last one",
                                excerpt(&text)
                            );
                            self.doubled.push(Fault { at: key.at, reason });
                            own[*place] = (key, value);
                        }
                        None => {
                            places.insert(text, own.len());
                            own.push((key, value));
                        }
                    }
                }
            }
        }
        for node in merged {
            for (key, value) in node.entries() {
                self.merged += 1;
                if self.merged > MAX_MERGED {
                    let reason = format!("more than {MAX_MERGED} entries come by `<<`");
                    return Err(Fault {
                        at: node.at,
                        reason,
                    });
                }
                let text = key.text().unwrap_or_default();
                if !places.contains_key(text) {
                    places.insert(text.to_owned(), own.len());
                    own.push((Rc::clone(key), Rc::clone(value)));
                }
            }
        }
        Ok(Value::Map(own))
    }
}

impl Node {
    /// Of a scalar, as written.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    fn plain(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, plain: true } => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        let null = |text| matches!(text, "" | "~" | "null" | "Null" | "NULL");
        self.plain().is_some_and(null) || self.tag.as_deref() == Some("reset")
    }

    /// What compose makes a text of: `0x10` without quotes is the number 16. Truth values stay as written,
    /// because versions of compose differ on them and labels do not mind.
    pub(crate) fn string(&self) -> Option<String> {
        if self.is_null() {
            return Some(String::new());
        }
        let text = self.text()?;
        let number = self.plain().and_then(number);
        Some(number.unwrap_or_else(|| text.to_owned()))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Rc<Self>> {
        self.entry(key).map(|(_, value)| value)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        let mut entries = self.entries().iter();
        entries.find(|(found, _)| found.text() == Some(key))
    }

    /// Of a mapping; nothing else has any.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Of a list; nothing else has any.
    pub(crate) fn items(&self) -> &[Rc<Self>] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }
}

/// The number that a text without quotes is, written as compose writes it; `None` where it is none, or
/// written so already.
fn number(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let plain = digits.replace('_', "");
    let radix = |prefix: &str, radix| {
        let rest = plain.strip_prefix(prefix)?;
        u64::from_str_radix(rest, radix).ok()
    };
    if let Some(value) = radix("0x", 16).or_else(|| radix("0b", 2)) {
        return Some(format!("{sign}{value}"));
    }
    if plain.len() > 1 && plain.bytes().all(|b| matches!(b, b'0'..=b'7')) && plain.starts_with('0')
    {
        let value = u64::from_str_radix(&plain, 8).ok()?;
        return Some(format!("{sign}{value}"));
    }
    if plain.bytes().all(|b| b.is_ascii_digit()) {
        return Some(format!("{sign}{}", plain.parse::<u64>().ok()?));
    }
    let (whole, part) = plain.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return None;
    }
    let part = part.trim_end_matches('0');
    let part = if part.is_empty() { "0" } else { part };
    Some(format!("{sign}{}.{part}", whole.parse::<u64>().ok()?))
}

/// Levels of one file; compose files have about ten.
const MAX_DEPTH: usize = 64;
/// Entries that `<<` brings into mappings, all together.
const MAX_MERGED: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn root(text: &str) -> Rc<Node> {
        parse(0, text).unwrap().root
    }

    #[test]
    fn words_know_their_places() {
        let text = "a:\n  b: \"ü c\" # d\n";
        let tree = root(text);
        let (key, value) = tree.get("a").unwrap().entry("b").unwrap();
        let cut = |at: Span| {
            text.chars()
                .skip(at.start)
                .take(at.end - at.start)
                .collect()
        };
        let cuts: [String; 2] = [cut(key.at), cut(value.at)];
        assert_eq!(cuts, ["b", "\"ü c\""]);
        assert_eq!(value.text(), Some("ü c"));
    }

    #[test]
    fn own_entries_win_over_merged_ones_and_the_first_of_those() {
        let tree = root(
            "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\none: {<<: *x, a: 3}\nmany: {<<: [*x, *y]}\n",
        );
        let shown = |name: &str| {
            let entries = tree.get(name).unwrap().entries().iter();
            let entries =
                entries.map(|(k, v)| format!("{}{}", k.text().unwrap(), v.text().unwrap()));
            entries.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown("one"), "a3 b1");
        assert_eq!(shown("many"), "a1 b1 c2");
    }

    #[test]
    fn plain_numbers_become_what_compose_makes_of_them() {
        for (text, told) in [
            ("a: 8080", "8080"),
            ("a: 0100", "64"),
            ("a: '0100'", "0100"),
            ("a: 0x10", "16"),
            ("a: 1_000", "1000"),
            ("a: 1.20", "1.2"),
            ("a: 1.3", "1.3"),
            ("a: 10s", "10s"),
            ("a: 10.0.0.0/8", "10.0.0.0/8"),
            ("a:", ""),
            ("a: ~", ""),
            ("a: \"\"", ""),
            ("a: yes", "yes"),
        ] {
            let tree = root(text);
            assert_eq!(tree.get("a").unwrap().string().unwrap(), told, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        for (text, at, part) in [
            ("a: [1", 4, "no YAML"),
            ("a: &x [*x]", 7, "an alias within"),
            (&"[".repeat(100), 64, "more than 64 levels"),
        ] {
            let fault = parse(0, text).unwrap_err();
            assert!(fault.reason.contains(part), "{text}: {}", fault.reason);
            assert!(fault.at.start.abs_diff(at) <= 1, "{text}: {:?}", fault.at);
        }
        let doubled = parse(0, "a: 1\na: 2\n").unwrap();
        assert_eq!(doubled.root.get("a").unwrap().text(), Some("2"));
        assert_eq!(doubled.doubled[0].at.start, 5);
    }

    #[test]
    fn aliases_of_aliases_cost_nothing() {
        let mut text = "a0: &a0 [x, x]\n".to_owned();
        for n in 1..60 {
            text += &format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1);
        }
        assert_eq!(root(&text).entries().len(), 60);
    }
}
