//! From header blocks to request heads and trailers (RFC 9113 section 8).

use std::ops::Range;

use http::{Method, Uri, Version};

use super::hpack::{Decoder, Found, HpackError, Name};
use crate::proxy::buffers::Buffers;
use crate::proxy::fields::{FieldIndex, Fields, Known, OwnedFields};
use crate::proxy::h1::is_plain_target;
use crate::proxy::head::{RequestFraming, RequestHead, Target};
use crate::proxy::headers;

/// Why a block makes no request. The connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// RFC 9113 section 8.1.1, with the cause.
    Malformed(&'static str),
    /// More than [`MAX_LIST`].
    TooLarge,
    /// An extended CONNECT for something else than a WebSocket.
    Protocol,
}

/// What one block holds.
#[derive(Default)]
struct Block {
    fields: OwnedFields,
    /// As `SETTINGS_MAX_HEADER_LIST_SIZE` counts.
    size: usize,
    fault: Option<Unusable>,
    /// Where pseudo-fields' values stand in the text, by [`Name`].
    method: Option<Range<usize>>,
    scheme: Option<Range<usize>>,
    authority: Option<Range<usize>>,
    path: Option<Range<usize>>,
    protocol: Option<Range<usize>>,
    regular: bool,
}

/// The request in a whole block. `last`: it has no body.
pub(super) fn read_request(
    decoder: &mut Decoder,
    block: &[u8],
    last: bool,
    buffers: &Buffers,
) -> Result<Result<Box<RequestHead>, Unusable>, HpackError> {
    let block = Block::read(decoder, block, buffers.text(), buffers.index())?;
    Ok(block.into_request(last).map(Box::new))
}

/// The trailers in a whole block.
pub(super) fn read_trailers(
    decoder: &mut Decoder,
    block: &[u8],
) -> Result<Result<OwnedFields, Unusable>, HpackError> {
    let block = Block::read(decoder, block, Vec::new(), FieldIndex::default())?;
    Ok(block.into_trailers())
}

impl Block {
    /// To its end whatever it holds, since the next one builds upon it.
    fn read(
        decoder: &mut Decoder,
        mut bytes: &[u8],
        text: Vec<u8>,
        index: FieldIndex,
    ) -> Result<Self, HpackError> {
        let mut block = Self {
            fields: OwnedFields { text, index },
            ..Self::default()
        };
        decoder.begin();
        while let Some(found) = decoder.next(&mut bytes, &mut block.fields.text)? {
            let value = found.value();
            block.size += found.name_len as usize + value.len() + OVERHEAD;
            if block.size > MAX_READ {
                return Err(HpackError::TooMuch);
            }
            if block.size > MAX_LIST {
                block.fault.get_or_insert(Unusable::TooLarge);
            } else if block.fault.is_none()
                && let Err(cause) = block.take(found)
            {
                block.fault = Some(Unusable::Malformed(cause));
            }
            if block.fault.is_some() {
                block.fields.text.truncate(found.at);
            }
        }
        Ok(block)
    }

    fn take(&mut self, found: Found) -> Result<(), &'static str> {
        let known = match found.name {
            Name::Method => return self.pseudo(found, |block| &mut block.method),
            Name::Scheme => return self.pseudo(found, |block| &mut block.scheme),
            Name::Path => return self.pseudo(found, |block| &mut block.path),
            Name::Protocol => return self.pseudo(found, |block| &mut block.protocol),
            Name::Authority => {
                self.pseudo(found, |block| &mut block.authority)?;
                // From here on it is what HTTP/1 knows as `Host`.
                self.push(found, Known::Host);
                return Ok(());
            }
            Name::Field(known) => known,
            Name::Status | Name::UnknownPseudo => {
                return Err("a request has a pseudo-field that is none of its own");
            }
            Name::Invalid => return Err("a field has bytes that no field may have"),
        };
        self.regular = true;
        let value = &self.fields.text[found.value()];
        match known {
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::Upgrade => return Err("a field is about the connection"),
            Known::Te if !value.eq_ignore_ascii_case(b"trailers") => {
                return Err("TE may only be `trailers`");
            }
            // Section 8.3.1: nobody is to hear of any but the authority.
            Known::Host if self.authority.is_some() => {
                self.fields.text.truncate(found.at);
                return Ok(());
            }
            _ => {}
        }
        self.push(found, known);
        Ok(())
    }

    fn pseudo(
        &mut self,
        found: Found,
        place: fn(&mut Self) -> &mut Option<Range<usize>>,
    ) -> Result<(), &'static str> {
        if self.regular {
            return Err("a pseudo-field stands behind a regular one");
        }
        if place(self).replace(found.value()).is_some() {
            return Err("a pseudo-field stands twice");
        }
        Ok(())
    }

    fn push(&mut self, found: Found, known: Known) {
        let value = found.value();
        let index = &mut self.fields.index;
        index.add(found.name_range(), value, known);
    }

    fn into_request(self, last: bool) -> Result<RequestHead, Unusable> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let malformed = Unusable::Malformed;
        let text = &self.fields.text;
        let missing = malformed("a pseudo-field is missing");
        let (Some(method), Some(_), Some(path)) = (self.method, self.scheme, self.path) else {
            return Err(missing);
        };
        let method = Method::from_bytes(&text[method])
            .map_err(|_| malformed("the method has bytes that none may have"))?;
        let target = match &text[path.clone()] {
            plain if is_plain_target(plain) => Target::Origin {
                // Both below MAX_LIST.
                at: path.start as u16,
                len: path.len() as u16,
            },
            other @ ([b'/', ..] | b"*") => {
                let uri = Uri::try_from(other);
                Target::Uri(uri.map_err(|_| malformed("the path is not valid"))?)
            }
            _ => return Err(malformed("the path does not start with a slash")),
        };
        let Some(protocol) = self.protocol else {
            let framing = framing(&method, self.fields.fields(), last).map_err(malformed)?;
            let version = Version::HTTP_2;
            return Ok(RequestHead::new(
                method,
                version,
                target,
                self.fields,
                framing,
            ));
        };
        // RFC 8441 section 4.
        if method != Method::CONNECT || last || self.fields.fields().has(Known::ContentLength) {
            return Err(malformed(
                "`:protocol` is not on a CONNECT with a stream behind it",
            ));
        }
        if !text[protocol].eq_ignore_ascii_case(b"websocket") {
            return Err(Unusable::Protocol);
        }
        Ok(RequestHead::opening(Version::HTTP_2, target, self.fields))
    }

    fn into_trailers(self) -> Result<OwnedFields, Unusable> {
        match self.fault {
            Some(fault) => Err(fault),
            None if self.has_pseudo() => Err(Unusable::Malformed("trailers have pseudo-fields")),
            None => Ok(self.fields),
        }
    }

    fn has_pseudo(&self) -> bool {
        let all = [
            &self.method,
            &self.scheme,
            &self.authority,
            &self.path,
            &self.protocol,
        ];
        all.iter().any(|value| value.is_some())
    }
}

fn framing(
    method: &Method,
    fields: Fields<'_>,
    last: bool,
) -> Result<RequestFraming, &'static str> {
    let mut length = None;
    if fields.has(Known::ContentLength) {
        for value in fields.get_all(Known::ContentLength) {
            let found = headers::parse_length(value).ok_or("Content-Length is no number")?;
            if length.is_some_and(|before| before != found) {
                return Err("two Content-Lengths differ");
            }
            length = Some(found);
        }
    }
    match (length, last) {
        (Some(0), true) => Ok(RequestFraming::Length(0)),
        (Some(_), true) => Err("a body was promised and does not come"),
        (Some(length), false) => Ok(RequestFraming::Length(length)),
        (None, true) => Ok(RequestFraming::of_none(method)),
        (None, false) => Ok(RequestFraming::Chunked),
    }
}

/// `SETTINGS_MAX_HEADER_LIST_SIZE`, for requests and their trailers.
pub(super) const MAX_LIST: usize = 32 * 1024;
/// Where a list is no longer read to its end: a byte that names a large entry of the table costs as
/// much as that entry, and a block holds many.
const MAX_READ: usize = 8 * MAX_LIST;
/// What each field counts besides its bytes (RFC 9113 section 6.5.2).
const OVERHEAD: usize = 32;

#[cfg(test)]
mod tests {
    use super::super::hpack::Encoder;
    use super::*;

    type Field<'a> = (&'a str, &'a str);

    fn read(fields: &[Field<'_>], last: bool) -> Result<Box<RequestHead>, Unusable> {
        let mut block = Vec::new();
        let mut encoder = Encoder::new();
        encoder.begin(&mut block);
        for (name, value) in fields {
            encoder.field(&mut block, name.as_bytes(), value.as_bytes());
        }
        let mut decoder = Decoder::new(4096);
        read_request(&mut decoder, &block, last, &Buffers::default()).unwrap()
    }

    const GOOD: &[Field<'_>] = &[
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", "/x?y"),
    ];

    fn with<'a>(more: &[Field<'a>]) -> Vec<Field<'a>> {
        [GOOD, more].concat()
    }

    #[test]
    fn a_request_is_what_its_fields_say() {
        let head = read(&with(&[("host", "b.test"), ("x", "1")]), true).unwrap();
        assert_eq!((&head.method, head.target()), (&Method::GET, "/x?y"));
        assert_eq!(head.authority(), Some("a.test"));
        assert_eq!(head.framing, RequestFraming::None);
        let mut out = Vec::new();
        let field = |field: crate::proxy::fields::Field<'_>| field.known != Known::Host;
        head.fields().copy(&mut out, field);
        assert_eq!(out, b"x: 1\r\n");
    }

    #[test]
    fn bodies_are_framed_as_promised() {
        use RequestFraming::{Chunked, Length, None};
        let length = |value| ("content-length", value);
        for (fields, last, framing) in [
            (vec![], true, Ok(None)),
            (vec![], false, Ok(Chunked)),
            (vec![length("0")], true, Ok(Length(0))),
            (vec![length("7")], false, Ok(Length(7))),
            (vec![length("7"), length("7")], false, Ok(Length(7))),
            (vec![length("7"), length("8")], false, Err(())),
            (vec![length("7")], true, Err(())),
            (vec![length("7x")], false, Err(())),
        ] {
            let head = read(&with(&fields), last);
            let found = head.map(|head| head.framing).map_err(|_| ());
            assert_eq!(found, framing, "{fields:?}");
        }
    }

    #[test]
    fn what_http_1_could_not_say_is_malformed() {
        for more in [
            ("connection", "close"),
            ("te", "gzip"),
            (":path", "/"),
            (":status", "200"),
            (":x", "1"),
            ("x y", "1"),
            ("x", "1\r\n"),
        ] {
            let read = read(&with(&[more]), true);
            assert!(
                matches!(read, Err(Unusable::Malformed(_))),
                "{more:?} {read:?}"
            );
        }
        for path in ["", "x", "http://b.test/", "/a b"] {
            let fields = [GOOD[0], GOOD[1], (":path", path)];
            assert!(read(&fields, true).is_err(), "{path}");
        }
        for missing in [0, 1, 3] {
            let mut fields = GOOD.to_vec();
            fields.remove(missing);
            assert!(read(&fields, true).is_err(), "{missing}");
        }
        let late = [("x", "1"), GOOD[0], GOOD[1], GOOD[3]];
        assert!(read(&late, true).is_err());
    }

    /// RFC 8441 section 4.
    #[test]
    fn an_extended_connect_is_a_get_that_opens_a_websocket() {
        let connect = |protocol| {
            let mut fields = vec![(":method", "CONNECT"), (":protocol", protocol)];
            fields.extend_from_slice(&GOOD[1..]);
            fields
        };
        let head = read(&connect("WebSocket"), false).unwrap();
        assert_eq!((&head.method, head.target()), (&Method::GET, "/x?y"));
        assert_eq!(head.framing, RequestFraming::None);
        assert!(head.key().is_some() && headers::wants_websocket(&head));
        assert_eq!(
            read(&connect("connect-udp"), false).unwrap_err(),
            Unusable::Protocol
        );
        let malformed = |fields: &[Field<'_>], last| {
            let read = read(fields, last);
            assert!(matches!(read, Err(Unusable::Malformed(_))), "{fields:?}");
        };
        malformed(&connect("websocket"), true);
        malformed(&with(&[(":protocol", "websocket")]), false);
        malformed(
            &[GOOD[0], (":protocol", "websocket"), GOOD[1], GOOD[3]],
            false,
        );
        let mut twice = connect("websocket");
        twice.push((":protocol", "websocket"));
        malformed(&twice, false);
        let mut long = connect("websocket");
        long.push(("content-length", "0"));
        malformed(&long, false);
        let pathless = [(":method", "CONNECT"), (":protocol", "websocket"), GOOD[1]];
        malformed(&pathless, false);
        assert!(read(GOOD, true).unwrap().key().is_none());
    }

    #[test]
    fn large_lists_are_told_apart_from_malformed_ones() {
        let long = "x".repeat(MAX_LIST);
        assert_eq!(
            read(&with(&[("x", &long)]), true).unwrap_err(),
            Unusable::TooLarge
        );
    }
}
