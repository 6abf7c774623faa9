//! Fields whose value is a list of tokens, `Connection` above all.

use super::super::fields::{Fields, Known};

/// Names listed in `Connection`; the usual `keep-alive` and `close` cost nothing.
pub(super) struct Nominated<'a>(Option<Fields<'a>>);

impl<'a> Nominated<'a> {
    pub(super) fn of(fields: Fields<'a>) -> Self {
        let plain = |value: &[u8]| {
            value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
        };
        let any = fields.get_all(Known::Connection).any(|value| !plain(value));
        Self(any.then_some(fields))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn holds(&self, name: &[u8]) -> bool {
        self.0
            .is_some_and(|fields| lists(fields, Known::Connection, name))
    }
}

/// Whether the comma list in `name` holds `token`, in any case.
pub(crate) fn has_token(fields: Fields<'_>, name: Known, token: &str) -> bool {
    fields.has(name) && lists(fields, name, token.as_bytes())
}

fn lists(fields: Fields<'_>, name: Known, token: &[u8]) -> bool {
    let same = |item: &[u8]| item.trim_ascii().eq_ignore_ascii_case(token);
    fields
        .get_all(name)
        .any(|value| match memchr::memchr(b',', value) {
            None => same(value),
            Some(_) => value.split(|byte| *byte == b',').any(same),
        })
}
