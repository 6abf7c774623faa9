//! The rules of the HTTP cache (RFC 9111, 5861, 8246, 9211, 9213), pure: heads, settings and the time are passed in,
//! decisions come back with a reason. It stores nothing, asks nobody and knows no clock.
//!
//! The way of a request: [`Request::read`]; a [`Refusal`] keeps it away from the cache. [`vary::select`] finds the
//! stored response, [`lookup()`] says what is done with it, [`answer`](conditional::answer) which part of it a client
//! gets. What had to go forward meets [`store()`], [`freshen`](validate::freshen) or
//! [`invalidate`](invalidate::targets) on its way back; where it failed, [`stale`](lookup::stale_after) may help.
//!
//! Times are whole seconds of the Unix clock, as in the fields that carry them.

pub mod conditional;
pub mod date;
pub mod deception;
pub mod directives;
pub mod fields;
pub mod invalidate;
pub mod key;
pub mod lookup;
pub mod outcome;
pub mod policy;
pub mod range;
pub mod request;
pub mod response;
mod scan;
mod status;
pub mod store;
pub mod stored;
pub mod tags;
pub mod targeted;
pub mod validate;
pub mod vary;

pub use self::lookup::{Lookup, lookup};
pub use self::policy::Policy;
pub use self::request::{Refusal, Request};
pub use self::response::Response;
pub use self::store::{NotStored, store};
pub use self::stored::Stored;

/// Seconds since 1970 (Unix clock).
pub type Time = u64;

/// The fields of a head, wherever they are kept.
pub trait Source {
    /// Name, in any case, and value, without space around it, of each field line, in order.
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])>;

    /// The values of all lines of that name.
    fn values<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let named = move |field: &(&[u8], &[u8])| field.0.eq_ignore_ascii_case(name);
        self.fields().filter(named).map(|field| field.1)
    }

    /// The value of the first line of that name.
    fn first<'a>(&'a self, name: &'a [u8]) -> Option<&'a [u8]> {
        self.values(name).next()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> Source for [(N, V)] {
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()))
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> Source for Vec<(N, V)> {
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.as_slice().fields()
    }
}

#[cfg(test)]
mod tests;
