//! Edits of header fields, as labels ask for them.

use std::fmt;

use serde::{Serialize, Serializer};

use super::{Facts, escape_path};

/// One edit of `wharf.headers.request` or `wharf.headers.response`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderEdit {
    pub op: EditOp,
    /// In lower case.
    pub name: String,
    /// Nothing for [`EditOp::Remove`].
    pub value: FieldText,
}

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditOp {
    /// `X=1`: this value alone.
    Set,
    /// `+X=1`: beside those that are there.
    Add,
    /// `-X`: all of that name go.
    Remove,
    /// `?X=1`: unless there is one.
    Default,
}

/// A value, perhaps with placeholders: visible ASCII and blanks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldText {
    text: Box<str>,
    /// What is shown in its place, where it is a secret.
    shown: Option<Box<str>>,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// So many bytes of the text.
    Text(usize, usize),
    Host,
    Path,
    Uri,
    Scheme,
    ClientIp,
}

/// Why a text is no field value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldTextError {
    #[error("there is no {{{0}}}; there are {{host}} {{path}} {{uri}} {{scheme}} {{client_ip}}")]
    Unknown(String),
    #[error("`{0}` may not stand in a field: visible ASCII and blanks")]
    Character(char),
    #[error("a field has at most {} bytes", FieldText::LONGEST)]
    TooLong,
}

impl FieldText {
    /// Bytes of one.
    pub const LONGEST: usize = 4096;

    /// Braces around anything but a lower-case word are text: values may be JSON.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, FieldTextError> {
        if text.len() > Self::LONGEST {
            return Err(FieldTextError::TooLong);
        }
        let bad = |c: &char| !(c.is_ascii_graphic() || *c == ' ' || *c == '\t');
        if let Some(bad) = text.chars().find(bad) {
            return Err(FieldTextError::Character(bad));
        }
        let mut pieces = Vec::new();
        let (mut start, mut at) = (0, 0);
        while let Some(open) = text[at..].find('{').map(|open| at + open) {
            at = open + 1;
            let Some(name) = text[at..].split_once('}').map(|(name, _)| name) else {
                break;
            };
            let word = |b: u8| b.is_ascii_lowercase() || b == b'_';
            if name.is_empty() || !name.bytes().all(word) {
                continue;
            }
            let piece = match name {
                "host" => Piece::Host,
                "path" => Piece::Path,
                "uri" => Piece::Uri,
                "scheme" => Piece::Scheme,
                "client_ip" => Piece::ClientIp,
                _ => return Err(FieldTextError::Unknown(name.to_owned())),
            };
            pieces.extend([Piece::Text(start, open), piece]);
            at += name.len() + 1;
            start = at;
        }
        pieces.push(Piece::Text(start, text.len()));
        Ok(Self {
            text: text.into(),
            shown: None,
            pieces,
        })
    }

    /// A secret, in which braces are text; `shown` is what people see.
    ///
    /// # Errors
    /// As of [`parse`](Self::parse).
    pub fn secret(shown: &str, text: &str) -> Result<Self, FieldTextError> {
        let checked = Self::parse(&text.replace('{', "("))?;
        Ok(Self {
            text: text.into(),
            shown: Some(shown.into()),
            pieces: vec![Piece::Text(0, checked.text.len())],
        })
    }

    /// Keeps it from being shown.
    pub fn mask(&mut self) {
        self.shown = Some("***".into());
    }

    /// Whether it was written where everybody can read it, and is shown no more.
    pub fn is_masked(&self) -> bool {
        self.shown.as_deref() == Some("***")
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Appends the value for a request.
    pub fn fill(&self, facts: &Facts<'_>, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match *piece {
                Piece::Text(from, to) => out.extend_from_slice(&self.text.as_bytes()[from..to]),
                Piece::Host => out.extend_from_slice(facts.host.as_bytes()),
                Piece::Path => out.extend_from_slice(escape_path(facts.path).as_bytes()),
                Piece::Uri => out.extend_from_slice(facts.uri.as_bytes()),
                Piece::Scheme => out.extend_from_slice(facts.scheme.as_bytes()),
                Piece::ClientIp => out.extend_from_slice(facts.client.to_string().as_bytes()),
            }
        }
    }
}

impl HeaderEdit {
    /// `inherited` with `own` behind it: what `own` sets, removes or has a default for is its alone.
    pub fn merged(inherited: Vec<Self>, own: Vec<Self>) -> Vec<Self> {
        let decides = |edit: &&Self| edit.op != EditOp::Add;
        let decided = |name: &str| own.iter().filter(decides).any(|edit| edit.name == name);
        let mut all = inherited;
        all.retain(|edit| !decided(&edit.name));
        all.extend(own);
        all
    }
}

/// As the label is written.
impl fmt::Display for HeaderEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.op {
            EditOp::Set => "",
            EditOp::Add => "+",
            EditOp::Remove => return write!(f, "-{}", self.name),
            EditOp::Default => "?",
        };
        let value = self.value.shown.as_ref().unwrap_or(&self.value.text);
        write!(f, "{sign}{}={value}", self.name)
    }
}

impl Serialize for HeaderEdit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in_and_braces_of_others_are_text() {
        let facts = Facts {
            scheme: "https",
            host: "a.test",
            path: "/é",
            uri: "/%c3%a9?x",
            client: [10, 0, 0, 1].into(),
        };
        for (text, expected) in [
            ("blue", "blue"),
            ("", ""),
            ("{scheme}://{host}{uri}", "https://a.test/%c3%a9?x"),
            ("{path} {client_ip}", "/%C3%A9 10.0.0.1"),
            (r#"{"group":"{host}"}"#, r#"{"group":"a.test"}"#),
            ("{} { {A}", "{} { {A}"),
        ] {
            let mut out = Vec::new();
            FieldText::parse(text).unwrap().fill(&facts, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{text}");
        }
        let unknown = FieldText::parse("{hots}").unwrap_err();
        assert_eq!(unknown, FieldTextError::Unknown("hots".to_owned()));
        let bad = FieldText::parse("a\r\nb: c").unwrap_err();
        assert_eq!(bad, FieldTextError::Character('\r'));
    }

    #[test]
    fn what_a_route_says_itself_goes_before_what_it_inherits() {
        let edit = |op, name: &str, value: &str| HeaderEdit {
            op,
            name: name.to_owned(),
            value: FieldText::parse(value).unwrap(),
        };
        let inherited = vec![
            edit(EditOp::Set, "a", "1"),
            edit(EditOp::Default, "b", "1"),
            edit(EditOp::Set, "c", "1"),
        ];
        let own = vec![edit(EditOp::Remove, "a", ""), edit(EditOp::Add, "c", "2")];
        let all = HeaderEdit::merged(inherited, own);
        let all: Vec<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(all, ["?b=1", "c=1", "-a", "+c=2"]);
    }
}
