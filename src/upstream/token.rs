//! Names of endpoints that clients may carry: a keyed hash of who the endpoint is, so that it tells
//! nothing and cannot be made up, and is the same after a restart.

use std::fmt;

use aws_lc_rs::hmac::{self, HMAC_SHA256};

use crate::model::UpstreamKey;

/// The key of all tokens of this installation.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl Secret {
    pub fn new(bytes: &[u8; Self::LEN]) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, bytes))
    }

    /// The token of an endpoint: of its upstream, container and port, not of its address. 32
    /// hexadecimal digits.
    pub(super) fn token(&self, upstream: &UpstreamKey, container_id: &str, port: u16) -> Box<str> {
        let port = port.to_string();
        self.mac(&["endpoint", &upstream.0, container_id, &port], 16)
    }

    /// Eight hexadecimal digits for an upstream: what a cookie is named by.
    pub fn name(&self, upstream: &UpstreamKey) -> Box<str> {
        self.mac(&["upstream", &upstream.0], 4)
    }

    /// None of the parts holds a NUL: they are Docker's names, and numbers.
    fn mac(&self, parts: &[&str], bytes: usize) -> Box<str> {
        let tag = hmac::sign(&self.0, parts.join("\0").as_bytes());
        let digits = tag.as_ref().iter().take(bytes);
        digits.map(|byte| format!("{byte:02x}")).collect()
    }

    /// Bytes of a key.
    pub const LEN: usize = 32;
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_by_every_part_and_by_the_key() {
        let (key, other) = (Secret::new(&[1; 32]), Secret::new(&[2; 32]));
        let web = UpstreamKey("shop/web".into());
        let api = UpstreamKey("shop/api".into());
        let tokens = [
            key.token(&web, "a", 80),
            key.token(&web, "b", 80),
            key.token(&web, "a", 81),
            key.token(&api, "a", 80),
            other.token(&web, "a", 80),
        ];
        for (index, token) in tokens.iter().enumerate() {
            assert_eq!(token.len(), 32);
            assert!(!tokens[..index].contains(token));
        }
        assert_eq!(tokens[0], Secret::new(&[1; 32]).token(&web, "a", 80));
        assert_eq!(key.name(&web).len(), 8);
        assert_ne!(key.name(&web), key.name(&api));
        assert_eq!(format!("{key:?}"), "Secret");
    }
}
