//! From header blocks to response heads (RFC 9113 section 8.3.2).

use http::{Method, StatusCode};

use super::super::connection::unreadable;
use super::super::frame::Fault;
use super::super::head::read_trailers;
use super::super::hpack::{Decoder, HpackError, Name};
use super::super::shared::Head;
use super::Connection;
use crate::proxy::buffers::Buffers;
use crate::proxy::fields::{Known, OwnedFields};
use crate::proxy::h1::{Framing, ResponseHead, is_bodiless};
use crate::proxy::headers;

impl Connection {
    /// A header block has come: a head, or trailers.
    pub(super) fn response(&mut self, id: u32, last: bool, block: &[u8]) -> Result<(), Fault> {
        if id.is_multiple_of(2) || id >= self.role.trunk.next.get() {
            return Err(Fault::protocol("HEADERS are on no stream"));
        }
        let found = self.shared.borrow().find(id);
        let answered = found.is_some_and(|at| self.shared.borrow().is_answered(at));
        if answered {
            let trailers = read_trailers(&mut self.decoder, block).map_err(unreadable)?;
            let mut inner = self.shared.lend_out();
            let Some(at) = found else { return Ok(()) };
            match trailers {
                _ if inner.is_ended(at) => inner.malformed(at, "it went on after its end"),
                Ok(trailers) if last => inner.peer_ended(at, Some(trailers)),
                Ok(_) => inner.malformed(at, "it sent a second head"),
                Err(_) => inner.malformed(at, "it sent trailers that are none"),
            }
            return Ok(());
        }
        // The decoder has to see it in any case.
        let buffers = &self.shared.worker.buffers;
        let head = self.shared.borrow().has_no_body(found);
        let read = read_head(&mut self.decoder, block, last, head, buffers).map_err(unreadable)?;
        let mut inner = self.shared.lend_out();
        let Some(at) = found else { return Ok(()) };
        match read {
            Ok(head) => inner.head(at, head, last),
            Err(cause) => inner.malformed(at, cause),
        }
        Ok(())
    }
}

/// The head in a whole block. `last`: nothing comes behind it. The inner error is the cause why it is none.
fn read_head(
    decoder: &mut Decoder,
    mut block: &[u8],
    last: bool,
    to_head: bool,
    buffers: &Buffers,
) -> Result<Result<Head, &'static str>, HpackError> {
    let mut fields = OwnedFields {
        text: buffers.text(),
        index: buffers.index(),
    };
    let (mut size, mut status, mut fault) = (0, None, None);
    let mut regular = false;
    decoder.begin();
    while let Some(found) = decoder.next(&mut block, &mut fields.text)? {
        let value = found.value();
        size += found.name_len as usize + value.len() + OVERHEAD;
        if size > MAX_READ {
            return Err(HpackError::TooMuch);
        }
        let text = &mut fields.text;
        let wrong = match found.name {
            _ if size > MAX_LIST => Some("its head is larger than 63 KiB"),
            Name::Status if regular || status.is_some() => Some("it sent two statuses"),
            Name::Status => {
                let code = StatusCode::from_bytes(&text[value]).ok();
                let code = code.filter(|code| (100..600).contains(&code.as_u16()));
                status = code;
                text.truncate(found.at);
                code.is_none().then_some("its status is none")
            }
            Name::Field(known) => {
                regular = true;
                fields.index.add(found.name_range(), value, known);
                None
            }
            Name::Invalid => Some("a field has bytes that no field may have"),
            _ => Some("it sent a pseudo-field that is none of a response"),
        };
        if let Some(wrong) = wrong {
            fault.get_or_insert(wrong);
        }
        if fault.is_some() {
            // Nobody will read it; the rest builds upon the decoder only.
            fields.text.truncate(found.at);
        }
    }
    if let Some(fault) = fault {
        return Ok(Err(fault));
    }
    let Some(status) = status else {
        return Ok(Err("it sent no status"));
    };
    Ok(framing(status, &fields, last, to_head).map(|framing| {
        let OwnedFields { text, index } = fields;
        let head = ResponseHead::of_http2(text.len(), status, index, framing);
        Head { head, text }
    }))
}

fn framing(
    status: StatusCode,
    fields: &OwnedFields,
    last: bool,
    to_head: bool,
) -> Result<Framing, &'static str> {
    if status.is_informational() {
        return match last || status == StatusCode::SWITCHING_PROTOCOLS {
            true => Err("it sent an interim response that cannot be one"),
            false => Ok(Framing::Empty),
        };
    }
    let length = match fields.fields().has(Known::ContentLength) {
        false => None,
        true => headers::content_length(fields.fields())
            .map_err(|()| "it sent conflicting or bad Content-Length fields")?,
    };
    match length {
        _ if to_head || is_bodiless(status) => Ok(Framing::Empty),
        Some(1..) if last => Err("it promised a body and sent none"),
        _ if last => Ok(Framing::Empty),
        Some(length) => Ok(Framing::Length(length)),
        None => Ok(Framing::Chunked),
    }
}

/// Whether answers to this method have no body.
pub(super) fn is_to_head(method: &Method) -> bool {
    *method == Method::HEAD
}

/// `SETTINGS_MAX_HEADER_LIST_SIZE`: the text of a head is shorter than 64 KiB then.
pub(super) const MAX_LIST: usize = 63 * 1024;
/// Where a list is no longer read to its end.
const MAX_READ: usize = 4 * MAX_LIST;
/// What each field counts besides its bytes (RFC 9113 section 6.5.2).
const OVERHEAD: usize = 32;

#[cfg(test)]
mod tests {
    use super::super::super::hpack::Encoder;
    use super::*;

    fn read(fields: &[(&str, &str)], last: bool, to_head: bool) -> Result<Head, &'static str> {
        let mut block = Vec::new();
        let mut encoder = Encoder::new();
        encoder.begin(&mut block);
        for (name, value) in fields {
            encoder.field(&mut block, name.as_bytes(), value.as_bytes());
        }
        let mut decoder = Decoder::new(4096);
        read_head(&mut decoder, &block, last, to_head, &Buffers::default()).unwrap()
    }

    #[test]
    fn a_head_is_what_its_fields_say() {
        let head = read(
            &[(":status", "404"), ("content-length", "3"), ("x", "1")],
            false,
            false,
        )
        .unwrap();
        assert_eq!(head.head.status, StatusCode::NOT_FOUND);
        assert_eq!(head.head.framing, Framing::Length(3));
        assert_eq!(head.text, b"content-length: 3\r\nx: 1\r\n");
    }

    #[test]
    fn bodies_are_framed_as_promised() {
        let length = |value| ("content-length", value);
        for (status, fields, last, to_head, framing) in [
            ("200", vec![], true, false, Ok(Framing::Empty)),
            ("200", vec![], false, false, Ok(Framing::Chunked)),
            (
                "200",
                vec![length("7")],
                false,
                false,
                Ok(Framing::Length(7)),
            ),
            ("200", vec![length("7")], true, true, Ok(Framing::Empty)),
            ("304", vec![length("7")], true, false, Ok(Framing::Empty)),
            ("200", vec![length("0")], true, false, Ok(Framing::Empty)),
            ("200", vec![length("7")], true, false, Err(())),
            ("200", vec![length("7"), length("8")], false, false, Err(())),
            ("103", vec![], false, false, Ok(Framing::Empty)),
            ("103", vec![], true, false, Err(())),
            ("101", vec![], false, false, Err(())),
        ] {
            let all = [&[(":status", status)], &fields[..]].concat();
            let read = read(&all, last, to_head);
            let found = read.map(|head| head.head.framing).map_err(|_| ());
            assert_eq!(found, framing, "{all:?} {last} {to_head}");
        }
    }

    #[test]
    fn what_is_no_response_is_refused() {
        let long = "x".repeat(MAX_LIST);
        for fields in [
            vec![],
            vec![("x", "1")],
            vec![(":status", "20")],
            vec![(":status", "999")],
            vec![(":status", "200"), (":status", "200")],
            vec![("x", "1"), (":status", "200")],
            vec![(":status", "200"), (":path", "/")],
            vec![(":status", "200"), ("x", "1\r\n")],
            vec![(":status", "200"), ("x", long.as_str())],
        ] {
            assert!(read(&fields, true, false).is_err(), "{fields:?}");
        }
    }
}
