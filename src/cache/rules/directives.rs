//! Cache-Control (RFC 9111 section 5.2, RFC 5861, RFC 8246).

use super::scan::{Argument, directive, members};

/// What a response's Cache-Control says, or a field that stands in for it.
///
/// Of several values the smallest counts, and a lifetime that cannot be read is 0 (RFC 9111 section 4.2.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Directives {
    pub max_age: Option<u32>,
    pub s_maxage: Option<u32>,
    pub stale_while_revalidate: Option<u32>,
    pub stale_if_error: Option<u32>,
    pub no_store: bool,
    /// For the whole response; see [`Self::names_fields`].
    pub no_cache: bool,
    /// For the whole response; see [`Self::names_fields`].
    pub private: bool,
    pub public: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub must_understand: bool,
    pub immutable: bool,
    /// `no-cache="a"` or `private="a"`: these fields are not stored, the rest may be ([`named_fields`]).
    pub names_fields: bool,
}

impl Directives {
    /// Takes in one line of the field.
    pub fn add(&mut self, line: &[u8]) {
        for member in members(line) {
            let (name, argument) = directive(member);
            self.set(name, argument);
        }
    }

    fn set(&mut self, name: &[u8], argument: Argument<'_>) {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        let lifetime = Some(argument.seconds().unwrap_or(0));
        match name.len() {
            6 if is("public") => self.public = true,
            7 if is("private") => self.names_or(argument, |this| &mut this.private),
            7 if is("max-age") => narrow(&mut self.max_age, lifetime),
            8 if is("no-store") => self.no_store = true,
            8 if is("no-cache") => self.names_or(argument, |this| &mut this.no_cache),
            8 if is("s-maxage") => narrow(&mut self.s_maxage, lifetime),
            9 if is("immutable") => self.immutable = true,
            14 if is("stale-if-error") => narrow(&mut self.stale_if_error, lifetime),
            15 if is("must-revalidate") => self.must_revalidate = true,
            15 if is("must-understand") => self.must_understand = true,
            16 if is("proxy-revalidate") => self.proxy_revalidate = true,
            22 if is("stale-while-revalidate") => {
                narrow(&mut self.stale_while_revalidate, lifetime);
            }
            _ => {}
        }
    }

    /// A list of fields narrows a directive down to them; anything else behind its name does not.
    fn names_or(&mut self, argument: Argument<'_>, whole: impl Fn(&mut Self) -> &mut bool) {
        if argument.names().is_some() {
            self.names_fields = true;
        } else {
            *whole(self) = true;
        }
    }

    /// The lifetime that is named for a shared cache (section 4.2.1).
    pub fn lifetime(&self) -> Option<u32> {
        self.s_maxage.or(self.max_age)
    }

    /// Whether a response to a request with Authorization may be stored and used for others (section 3.5).
    pub fn shares_authorized(&self) -> bool {
        let says = self.public || self.must_revalidate || self.s_maxage.is_some();
        says && !self.private && !self.no_store
    }
}

/// The fields that `no-cache="..."` and `private="..."` name in a line of Cache-Control.
pub fn named_fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    members(line)
        .map(directive)
        .filter(|(name, _)| {
            name.eq_ignore_ascii_case(b"no-cache") || name.eq_ignore_ascii_case(b"private")
        })
        .filter_map(|(_, argument)| argument.names())
        .flatten()
}

/// What a request's Cache-Control says (section 5.2.1). What cannot be read is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    pub max_age: Option<u32>,
    pub min_fresh: Option<u32>,
    /// `u32::MAX` where no limit is given.
    pub max_stale: Option<u32>,
    pub no_cache: bool,
    pub no_store: bool,
    pub only_if_cached: bool,
}

impl Wishes {
    /// Takes in one line of the field.
    pub fn add(&mut self, line: &[u8]) {
        for member in members(line) {
            let (name, argument) = directive(member);
            self.set(name, argument);
        }
    }

    fn set(&mut self, name: &[u8], argument: Argument<'_>) {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match name.len() {
            7 if is("max-age") => narrow(&mut self.max_age, argument.seconds()),
            8 if is("no-cache") => self.no_cache = true,
            8 if is("no-store") => self.no_store = true,
            9 if is("min-fresh") => {
                self.min_fresh = self.min_fresh.max(argument.seconds());
            }
            9 if is("max-stale") => {
                let limit = match argument {
                    Argument::None => Some(u32::MAX),
                    _ => argument.seconds(),
                };
                narrow(&mut self.max_stale, limit);
            }
            14 if is("only-if-cached") => self.only_if_cached = true,
            _ => {}
        }
    }
}

fn narrow(value: &mut Option<u32>, other: Option<u32>) {
    *value = match (*value, other) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
}
