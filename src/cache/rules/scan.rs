//! Lists, quoted strings and numbers in field values (RFC 9110 section 5.6).

/// The greatest number of seconds that is told apart, 2^31 (RFC 9111 section 1.2.2).
pub(super) const FOREVER: u32 = 1 << 31;

/// Without spaces and tabs at both ends.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// A number of seconds: digits only; what is too large is [`FOREVER`].
pub(super) fn seconds(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0, |sum: u32, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        let sum = sum.saturating_mul(10).saturating_add(digit);
        Some(sum.min(FOREVER))
    })
}

/// The members of a list, without empty ones. A comma in a quoted string separates nothing; a quote that nobody
/// closes is a character like any other, so that it cannot hide what follows.
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let end = member_end(rest);
            let member = trim(&rest[..end]);
            rest = rest.get(end + 1..).unwrap_or_default();
            if !member.is_empty() {
                return Some(member);
            }
        }
    })
}

fn member_end(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b',' => break,
            b'"' => at += quoted(&text[at..]).unwrap_or(1),
            _ => at += 1,
        }
    }
    at
}

/// The length of the quoted string that the text begins with, quotes included.
fn quoted(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// What stands behind the name of a directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Argument<'a> {
    None,
    Token(&'a [u8]),
    /// What is between the quotes, escapes and all.
    Quoted(&'a [u8]),
    /// Not written as the grammar has it.
    Malformed,
}

impl<'a> Argument<'a> {
    /// As seconds, quoted or not (RFC 9111 section 5.2: recipients ought to accept both forms).
    pub(super) fn seconds(self) -> Option<u32> {
        match self {
            Self::Token(text) | Self::Quoted(text) => seconds(text),
            Self::None | Self::Malformed => None,
        }
    }

    /// As a list of field names, which only the quoted form is; `None` where it is not one.
    pub(super) fn names(self) -> Option<impl Iterator<Item = &'a [u8]>> {
        let Self::Quoted(text) = self else {
            return None;
        };
        let mut names = members(text).peekable();
        let good = names.peek().is_some() && members(text).all(is_token);
        good.then_some(names)
    }
}

/// A directive, taken apart.
pub(super) fn directive(member: &[u8]) -> (&[u8], Argument<'_>) {
    let Some(equals) = member.iter().position(|&byte| byte == b'=') else {
        return (member, Argument::None);
    };
    let (name, value) = (&member[..equals], &member[equals + 1..]);
    let bare = trim(name);
    let argument = match value {
        _ if bare.len() < name.len() => Argument::Malformed,
        [b'"', inner @ .., b'"'] if quoted(value) == Some(value.len()) => Argument::Quoted(inner),
        _ if is_token(value) => Argument::Token(value),
        _ => Argument::Malformed,
    };
    (bare, argument)
}

/// Whether a name is this one, in lower case with `-`, to an app that hears of fields by CGI's rules.
pub(super) fn is_to_cgi(name: &[u8], other: &str) -> bool {
    let same = |(a, b): (&u8, u8)| match a {
        b'_' => b == b'-',
        _ => a.to_ascii_lowercase() == b,
    };
    name.len() == other.len() && name.iter().zip(other.bytes()).all(same)
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}
