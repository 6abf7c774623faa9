//! Fields for one kind of cache (RFC 9213): a dictionary of structured fields (RFC 9651) with the directives of
//! Cache-Control.

use super::directives::Directives;
use super::scan::FOREVER;

/// Reads `CDN-Cache-Control`. `None` where it is not there, empty, or no valid dictionary: then it counts as not
/// there (RFC 9213 section 2.1). A directive with a value of another type than it has is not there.
pub fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Directives> {
    let mut found = Directives::default();
    let mut any = false;
    for line in lines {
        let mut text = Text(line);
        text.skip(b" ");
        while !text.0.is_empty() {
            let (key, value) = text.member()?;
            set(&mut found, key, value);
            any = true;
            if !text.comma()? {
                break;
            }
        }
    }
    any.then_some(found)
}

/// A value, as far as a directive can have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Bool(bool),
    Integer(i64),
    String,
    Other,
}

/// A later member replaces an earlier one of the same key.
fn set(found: &mut Directives, key: &[u8], value: Value) {
    let seconds = match value {
        Value::Integer(number @ 0..) => Some(number.min(i64::from(FOREVER)) as u32),
        _ => None,
    };
    let on = value == Value::Bool(true);
    // A list of fields that must not be shared; what is in it is of no use here.
    let on_or_fields = on || value == Value::String;
    match key {
        b"max-age" => found.max_age = seconds,
        b"s-maxage" => found.s_maxage = seconds,
        b"stale-while-revalidate" => found.stale_while_revalidate = seconds,
        b"stale-if-error" => found.stale_if_error = seconds,
        b"no-store" => found.no_store = on,
        b"no-cache" => found.no_cache = on_or_fields,
        b"private" => found.private = on_or_fields,
        b"public" => found.public = on,
        b"must-revalidate" => found.must_revalidate = on,
        b"proxy-revalidate" => found.proxy_revalidate = on,
        b"must-understand" => found.must_understand = on,
        b"immutable" => found.immutable = on,
        _ => {}
    }
}

/// What is left to read (RFC 9651 section 4.2).
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    fn skip(&mut self, bytes: &[u8]) {
        self.take(|byte| bytes.contains(&byte));
    }

    fn take(&mut self, good: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| !good(byte));
        let (taken, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        taken
    }

    fn eat(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Whether there is another member; `None` where something else follows.
    fn comma(&mut self) -> Option<bool> {
        self.skip(b" \t");
        if self.0.is_empty() {
            return Some(false);
        }
        let more = self.eat(b',');
        self.skip(b" \t");
        (more && !self.0.is_empty()).then_some(true)
    }

    fn member(&mut self) -> Option<(&'a [u8], Value)> {
        let key = self.key()?;
        let value = if self.eat(b'=') {
            self.item_or_list()?
        } else {
            Value::Bool(true)
        };
        self.parameters()?;
        Some((key, value))
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        let first = *self.0.first()?;
        let good = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        };
        (first.is_ascii_lowercase() || first == b'*').then(|| self.take(good))
    }

    fn parameters(&mut self) -> Option<()> {
        while self.eat(b';') {
            self.skip(b" ");
            self.key()?;
            if self.eat(b'=') {
                self.item()?;
            }
        }
        Some(())
    }

    fn item_or_list(&mut self) -> Option<Value> {
        if !self.eat(b'(') {
            return self.item();
        }
        loop {
            self.skip(b" ");
            if self.eat(b')') {
                return Some(Value::Other);
            }
            self.item()?;
            self.parameters()?;
            if !matches!(self.0.first(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    fn item(&mut self) -> Option<Value> {
        match *self.0.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'?' => match self.0 {
                [_, bit @ (b'0' | b'1'), rest @ ..] => {
                    self.0 = rest;
                    Some(Value::Bool(*bit == b'1'))
                }
                _ => None,
            },
            b':' => {
                self.eat(b':');
                self.take(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
                self.eat(b':').then_some(Value::Other)
            }
            b'@' => {
                self.eat(b'@');
                matches!(self.number()?, Value::Integer(_)).then_some(Value::Other)
            }
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                self.take(|byte| {
                    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
                });
                Some(Value::Other)
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Value> {
        let minus = self.eat(b'-');
        let digits = self.take(|byte| byte.is_ascii_digit());
        if digits.is_empty() || digits.len() > 15 {
            return None;
        }
        if self.eat(b'.') {
            let fraction = self.take(|byte| byte.is_ascii_digit());
            let good = (1..=3).contains(&fraction.len()) && digits.len() <= 12;
            return good.then_some(Value::Other);
        }
        let number = digits
            .iter()
            .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        Some(Value::Integer(if minus { -number } else { number }))
    }

    fn string(&mut self) -> Option<Value> {
        self.eat(b'"');
        loop {
            self.take(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
            match self.0 {
                [b'"', rest @ ..] => {
                    self.0 = rest;
                    return Some(Value::String);
                }
                [b'\\', b'"' | b'\\', rest @ ..] => self.0 = rest,
                _ => return None,
            }
        }
    }
}
