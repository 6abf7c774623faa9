//! What of a route's answers is compressed, and how (product.md S68, B58).

use std::fmt;

use serde::Serialize;

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

/// `wharf.compress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compress {
    /// Which are offered; of those that a client likes as much as each other the first is taken. Never empty.
    pub codings: Vec<Coding>,
    /// Of what media types, besides text/html. Default [`MediaTypes::default`].
    pub types: MediaTypes,
    /// Bodies that are known to be shorter are left as they are. Default [`Compress::MIN`].
    pub min: u64,
    pub levels: Levels,
}

/// How much work is put into each coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Levels {
    /// 1 to 9, default 3.
    pub zstd: u8,
    /// 1 to 6, default 4. Higher ones take 10 to 35 MiB for each response, and tens of milliseconds.
    pub brotli: u8,
    /// 1 to 9, default 4.
    pub gzip: u8,
}

/// Media types, as nginx's `gzip_types` names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MediaTypes(Vec<MediaType>);

/// One of them, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum MediaType {
    /// `*`.
    Any,
    /// `text/*`.
    Of(Box<str>),
    /// `text/css`.
    This(Box<str>),
    /// Those that are compressed where no label says which.
    Usual,
}

impl Coding {
    /// Those that are fast and good first.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// As in Content-Encoding.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// By its name, or what people call it.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "zstd" | "zst" => Self::Zstd,
            "br" | "brotli" => Self::Brotli,
            "gzip" | "gz" => Self::Gzip,
            _ => return None,
        })
    }

    /// The highest level.
    pub fn most(self) -> u8 {
        match self {
            Self::Zstd | Self::Gzip => 9,
            Self::Brotli => 6,
        }
    }
}

impl Compress {
    /// Bytes. Below it headers are most of an answer.
    pub const MIN: u64 = 256;
}

impl Default for Compress {
    fn default() -> Self {
        Self {
            codings: Coding::ALL.to_vec(),
            types: MediaTypes::default(),
            min: Self::MIN,
            levels: Levels::default(),
        }
    }
}

impl Levels {
    pub fn of(&self, coding: Coding) -> u8 {
        match coding {
            Coding::Zstd => self.zstd,
            Coding::Brotli => self.brotli,
            Coding::Gzip => self.gzip,
        }
    }

    pub fn set(&mut self, coding: Coding, level: u8) {
        match coding {
            Coding::Zstd => self.zstd = level,
            Coding::Brotli => self.brotli = level,
            Coding::Gzip => self.gzip = level,
        }
    }
}

impl Default for Levels {
    fn default() -> Self {
        Self {
            zstd: 3,
            brotli: 4,
            gzip: 4,
        }
    }
}

impl MediaTypes {
    pub fn new(types: impl IntoIterator<Item = MediaType>) -> Self {
        Self(types.into_iter().collect())
    }

    /// Whether a Content-Type is one of them; its parameters do not count. text/html always is, as in nginx; gRPC never,
    /// whose messages are compressed one by one if their sender likes.
    pub fn has(&self, content_type: &[u8]) -> bool {
        let end = memchr::memchr(b';', content_type).unwrap_or(content_type.len());
        let kind = content_type[..end].trim_ascii();
        let is = |name: &str| kind.eq_ignore_ascii_case(name.as_bytes());
        let begins = |name: &str| {
            let top = kind.get(..name.len());
            top.is_some_and(|top| top.eq_ignore_ascii_case(name.as_bytes()))
        };
        if is("text/html") {
            return true;
        }
        if kind.is_empty() || begins(GRPC) {
            return false;
        }
        self.0.iter().any(|one| match one {
            MediaType::Any => true,
            MediaType::Of(top) => begins(top),
            MediaType::This(name) => is(name),
            MediaType::Usual => USUAL.iter().any(|name| is(name)),
        })
    }
}

impl Default for MediaTypes {
    fn default() -> Self {
        Self(vec![MediaType::Usual])
    }
}

impl MediaType {
    /// `text/css`, `text/*`, `*`, or `default`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if text == "default" {
            return Some(Self::Usual);
        }
        if text == "*" || text == "*/*" {
            return Some(Self::Any);
        }
        let (top, sub) = text.split_once('/')?;
        let plain = |part: &str| {
            let mut bytes = part.bytes();
            !part.is_empty()
                && bytes.all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
        };
        if text.len() > MAX_TYPE || !plain(top) {
            return None;
        }
        match sub {
            "*" => Some(Self::Of(format!("{top}/").into())),
            sub if plain(sub) => Some(Self::This(text.into())),
            _ => None,
        }
    }
}

impl fmt::Display for MediaTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, one) in self.0.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            match one {
                MediaType::Any => write!(f, "{comma}*")?,
                MediaType::Of(top) => write!(f, "{comma}{top}*")?,
                MediaType::This(name) => write!(f, "{comma}{name}")?,
                MediaType::Usual => write!(f, "{comma}default")?,
            }
        }
        Ok(())
    }
}

/// Text, and what is as loose as text. Not event streams, where an encoder would be kept for each client that listens, nor
/// what is compressed by its nature.
const USUAL: [&str; 29] = [
    "application/json",
    "text/css",
    "text/javascript",
    "application/javascript",
    "text/plain",
    "image/svg+xml",
    "application/wasm",
    "application/xml",
    "text/xml",
    "application/ld+json",
    "application/manifest+json",
    "application/problem+json",
    "application/graphql-response+json",
    "application/vnd.api+json",
    "application/hal+json",
    "application/geo+json",
    "application/activity+json",
    "application/x-javascript",
    "application/xhtml+xml",
    "application/rss+xml",
    "application/atom+xml",
    "text/csv",
    "text/markdown",
    "text/calendar",
    "text/vtt",
    "font/ttf",
    "font/otf",
    "application/vnd.ms-fontobject",
    "image/x-icon",
];
const GRPC: &str = "application/grpc";
const MAX_TYPE: usize = 127;

#[cfg(test)]
mod tests {
    use super::*;

    fn types(list: &str) -> MediaTypes {
        MediaTypes::new(list.split(' ').map(|one| MediaType::parse(one).unwrap()))
    }

    #[test]
    fn s68_types_are_compared_without_parameters_and_case() {
        let usual = MediaTypes::default();
        let some = types("text/css image/*");
        let any = types("*");
        let more = types("default text/event-stream");
        for (kind, in_usual, in_some, in_any, in_more) in [
            ("text/html", true, true, true, true),
            ("TEXT/HTML ;charset=utf-8", true, true, true, true),
            ("text/css", true, true, true, true),
            ("application/json; charset=utf-8", true, false, true, true),
            ("application/jsonx", false, false, true, false),
            ("image/svg+xml", true, true, true, true),
            ("Image/PNG", false, true, true, false),
            ("imag", false, false, true, false),
            ("text/event-stream", false, false, true, true),
            ("application/x-ndjson", false, false, true, false),
            ("application/grpc", false, false, false, false),
            ("application/grpc-web+proto", false, false, false, false),
            (
                "multipart/x-mixed-replace; boundary=a",
                false,
                false,
                true,
                false,
            ),
            ("font/woff2", false, false, true, false),
            ("", false, false, false, false),
            (";", false, false, false, false),
        ] {
            let kind_is = kind.as_bytes();
            assert_eq!(
                (
                    usual.has(kind_is),
                    some.has(kind_is),
                    any.has(kind_is),
                    more.has(kind_is)
                ),
                (in_usual, in_some, in_any, in_more),
                "{kind}"
            );
        }
    }

    #[test]
    fn types_as_labels_write_them() {
        for (text, expected) in [
            ("text/css", Some(MediaType::This("text/css".into()))),
            ("Text/*", Some(MediaType::Of("text/".into()))),
            ("*", Some(MediaType::Any)),
            ("default", Some(MediaType::Usual)),
            ("text", None),
            ("text/", None),
            ("/css", None),
            ("*/css", None),
            ("text/c ss", None),
            ("text/html;q=1", None),
            ("text/a/b", None),
        ] {
            assert_eq!(MediaType::parse(text), expected, "{text}");
        }
        assert_eq!(
            types("default text/* a/b *").to_string(),
            "default, text/*, a/b, *"
        );
    }
}
