//! The handshake with an app for a client that has none (RFC 8441): HTTP/2 opens a WebSocket without a key, an app that
//! speaks HTTP/1.1 wants one, and whoever sent it has to see that it was understood (RFC 6455 section 4).

use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::fields::Fields;

/// `Sec-WebSocket-Key` of Wharf's own.
#[derive(Debug)]
pub(crate) struct Key(Box<str>);

impl Key {
    pub(crate) fn new() -> Self {
        let mut nonce = [0; 16];
        // It is no secret: it only tells an app that understands from one that repeats what it gets.
        let _ = rand::fill(&mut nonce);
        Self(BASE64_STANDARD.encode(nonce).into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether these fields of a 101 are of somebody who has understood it.
    pub(crate) fn is_accepted(&self, fields: Fields<'_>) -> bool {
        let mut told = fields.iter().filter(|field| is_accept(field.name));
        let expected = accept(&self.0);
        let first = told.next().map(|field| field.value.trim_ascii());
        first == Some(expected.as_bytes()) && told.next().is_none()
    }
}

/// Whether a field is between an HTTP/1.1 client and its app alone.
pub(crate) fn is_key(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"sec-websocket-key")
}

pub(crate) fn is_accept(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"sec-websocket-accept")
}

/// RFC 6455 section 4.2.2.
fn accept(key: &str) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64_STANDARD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::super::head::RequestHead;
    use super::*;

    #[test]
    fn a_key_is_accepted_by_its_hash_alone() {
        let key = Key("dGhlIHNhbXBsZSBub25jZQ==".into());
        let good = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        for (fields, accepted) in [
            (&[("Sec-WebSocket-Accept", good)][..], true),
            (
                &[("sec-websocket-accept", " s3pPLMBiTxaQ9kYGzzhZRbK+xOo= ")],
                true,
            ),
            (
                &[("sec-websocket-accept", "dGhlIHNhbXBsZSBub25jZQ==")],
                false,
            ),
            (
                &[
                    ("sec-websocket-accept", good),
                    ("sec-websocket-accept", good),
                ],
                false,
            ),
            (&[("upgrade", "websocket")], false),
        ] {
            let head = RequestHead::get("/", fields);
            assert_eq!(key.is_accepted(head.fields()), accepted, "{fields:?}");
        }
    }

    #[test]
    fn keys_are_sixteen_bytes_and_differ() {
        let (one, other) = (Key::new(), Key::new());
        assert_eq!(BASE64_STANDARD.decode(one.as_str()).unwrap().len(), 16);
        assert_ne!(one.as_str(), other.as_str());
    }
}
