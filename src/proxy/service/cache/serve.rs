//! Stored answers as clients get them.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::body::{self, Piece, Trailers};
use super::{Hit, Visit, notes};
use crate::cache::rules::conditional::{Answer as Part, answer};
use crate::cache::rules::outcome::Outcome;
use crate::cache::rules::range;
use crate::cache::rules::{Stored, fields};
use crate::cache::store::{Filling, Reader};
use crate::proxy::fields::{Fields, Known, read_lines, write_field};
use crate::proxy::forward::Answer;
use crate::proxy::h1::is_bodiless;
use crate::proxy::headers::{Extra, Kept, Named, Own};
use crate::proxy::local::{Body, Length, Local};
use crate::proxy::page;
use crate::proxy::tail::Record;

/// Where a body is.
enum From<'a> {
    Hit(&'a Hit),
    /// It comes, and is read from the beginning.
    Coming(Reader),
    /// It comes, and may be read as often as is needed before anything of it is there.
    Filling(&'a Filling, Trailers),
}

impl Visit<'_> {
    /// Answers with what is stored.
    pub(super) fn stored(
        &self,
        hit: &Hit,
        age: u32,
        outcome: Outcome,
        record: &mut Record,
    ) -> Answer {
        let object = &hit.object;
        let of = (object.head().as_ref(), object.meta().as_ref());
        let length = Some(object.len());
        self.dressed(
            of,
            &hit.stored,
            Some(age),
            length,
            outcome,
            record,
            From::Hit(hit),
        )
    }

    /// Answers with what another request fetches.
    pub(super) fn coming(
        &self,
        reader: Reader,
        stored: &Stored,
        outcome: Outcome,
        record: &mut Record,
    ) -> Answer {
        let (head, meta) = (reader.head().clone(), reader.meta().clone());
        let length = reader.length();
        let age = stored.age(self.now);
        let from = From::Coming(reader);
        let of = (head.as_ref(), meta.as_ref());
        self.dressed(
            of,
            stored,
            Some(age).filter(|age| *age > 0),
            length,
            outcome,
            record,
            from,
        )
    }

    #[expect(clippy::too_many_arguments, reason = "what an answer is made of")]
    fn dressed(
        &self,
        (head, meta): (&[u8], &[u8]),
        stored: &Stored,
        age: Option<u32>,
        length: Option<u64>,
        outcome: Outcome,
        record: &mut Record,
        from: From<'_>,
    ) -> Answer {
        let worker = self.onward.worker;
        let mut index = worker.buffers.index();
        read_lines(head, &mut index);
        let fields = Fields::new(head, &index);
        let mut extra = Extra::default();
        let own = notes::own(meta).map(|(addr, host)| Own {
            addr: Named::Text(addr),
            host,
        });
        self.onward.dress().write(&mut extra, fields, own);
        if let Some(age) = age {
            let mut text = itoa::Buffer::new();
            write_field(&mut extra.lines, b"age", text.format(age).as_bytes());
        }
        self.tell(&mut extra.lines, &outcome, record);
        let answer = self.assemble((stored.status, stored.date), fields, &extra, length, from);
        worker.buffers.give_index(index);
        answer
    }

    /// Answers the client for whom the app was asked, of whose answer these are the fields.
    pub(super) fn fetched(
        &self,
        stored: &Stored,
        fields: Fields<'_>,
        extra: &Extra,
        length: Option<u64>,
        (filling, trailers): (&Filling, Trailers),
    ) -> Answer {
        let from = From::Filling(filling, trailers);
        self.assemble((stored.status, stored.date), fields, extra, length, from)
    }

    fn assemble(
        &self,
        (status, date): (u16, u64),
        fields: Fields<'_>,
        extra: &Extra,
        length: Option<u64>,
        from: From<'_>,
    ) -> Answer {
        let asked = self.onward.head.request;
        let request = &self.asked.request;
        let part = match request.range || request.if_none_match || request.if_modified_since {
            true => answer(request, &asked.fields(), (status, date), &fields, length),
            false => Part::Whole,
        };
        // Of what another request fetches there is one reader.
        let part = match (part, &from) {
            (Part::Parts(_), From::Coming(_)) => Part::Whole,
            (part, _) => part,
        };
        let (status, keeps): (u16, fn(&[u8]) -> bool) = match &part {
            Part::Whole => (status, fields::served),
            Part::NotModified => (304, fields::in_304),
            Part::Part(_) | Part::Parts(_) => (206, fields::in_206),
            Part::Unsatisfiable => (416, fields::in_304),
        };
        let parts = match (&part, length) {
            (Part::Parts(parts), Some(length)) => Some(Several::new(self, parts, fields, length)),
            _ => None,
        };
        let mut lines = self.onward.worker.buffers.text();
        let kept = Kept::of(fields, extra, false);
        fields.copy(&mut lines, |field| {
            kept.holds(field)
                && keeps(field.name)
                && field.known != Known::Trailer
                && !is_status(field.name)
                && !(parts.is_some() && field.name.eq_ignore_ascii_case(b"content-type"))
        });
        match (&part, length) {
            (Part::Part(part), Some(length)) => {
                let (first, last) = (part.first, part.last);
                let range = format!("bytes {first}-{last}/{length}");
                write_field(&mut lines, b"content-range", range.as_bytes());
            }
            (Part::Unsatisfiable, Some(length)) => {
                let range = format!("bytes */{length}");
                write_field(&mut lines, b"content-range", range.as_bytes());
            }
            _ => {}
        }
        if let Some(parts) = &parts {
            write_field(&mut lines, b"content-type", parts.content_type().as_bytes());
        }
        lines.extend_from_slice(&extra.lines);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        let head_only = asked.method == Method::HEAD;
        let (length, body) = match part {
            _ if is_bodiless(status) => (Length::None, None),
            Part::Whole | Part::NotModified => match length {
                Some(length) if head_only || length == 0 => (Length::Known(length), None),
                length => {
                    let known = length.map_or(Length::Open, Length::Known);
                    (known, (!head_only).then(|| self.body(from, None, length)))
                }
            },
            Part::Part(part) => {
                let size = part.size();
                (
                    Length::Known(size),
                    Some(self.body(from, Some(part), Some(size))),
                )
            }
            Part::Parts(_) => match parts {
                Some(parts) => {
                    let size = parts.size();
                    (
                        Length::Known(size),
                        Some(parts.body(|part| self.reader(&from, part))),
                    )
                }
                None => (Length::Known(0), None),
            },
            Part::Unsatisfiable => (Length::Known(0), None),
        };
        let nothing = || body::Stored::whole(Bytes::new());
        Answer::Local(Box::new(Local {
            head: page::empty(status),
            lines,
            length,
            body: Body::Pieces(Box::new(body.unwrap_or_else(nothing))),
        }))
    }

    fn body(&self, from: From<'_>, part: Option<range::Part>, length: Option<u64>) -> body::Stored {
        let trailers = match &from {
            From::Hit(hit) if part.is_none() => match hit.object.whole() {
                Some(whole) => return body::Stored::whole(whole),
                None => None,
            },
            From::Filling(_, trailers) if part.is_none() => Some(trailers.clone()),
            _ => None,
        };
        let reader = match (from, part) {
            (From::Coming(reader), None) => reader,
            (From::Coming(reader), Some(part)) => reader.range(part.first, part.last + 1),
            (from, part) => match self.reader(&from, part) {
                Some(reader) => reader,
                None => return body::Stored::of([], length),
            },
        };
        let body = body::Stored::of([Piece::Body(reader)], length);
        match trailers {
            Some(trailers) => body.with(trailers),
            None => body,
        }
    }

    /// Another reader; of what another request fetches there is only one.
    fn reader(&self, from: &From<'_>, part: Option<range::Part>) -> Option<Reader> {
        let reader = match from {
            From::Hit(hit) => self.cache.store.reader(&hit.object),
            From::Filling(filling, _) => filling.reader(),
            From::Coming(_) => return None,
        };
        Some(match part {
            Some(part) => reader.range(part.first, part.last + 1),
            None => reader,
        })
    }

    /// Counts what has become of the request, and appends it for the client.
    pub(super) fn tell(&self, lines: &mut Vec<u8>, outcome: &Outcome, record: &mut Record) {
        let word = outcome.word();
        if record.background {
            return;
        }
        record.cache = Some(word);
        self.cache.counts.count(word);
        if self.cache.header {
            write_field(lines, b"x-cache-status", word.as_bytes());
            lines.extend_from_slice(b"cache-status: ");
            outcome.write(lines);
            lines.extend_from_slice(b"\r\n");
        }
    }

    /// An answer to a HEAD, whose fields say how long it would be, or a 304.
    pub(super) fn headed(&self, status: StatusCode, lines: Vec<u8>) -> Answer {
        Answer::Local(Box::new(Local {
            head: page::empty(status),
            lines,
            length: Length::None,
            body: Body::Pieces(Box::new(body::Stored::whole(Bytes::new()))),
        }))
    }

    /// An answer of nothing but its fields.
    pub(super) fn bare(&self, status: StatusCode, lines: Vec<u8>) -> Answer {
        Answer::Local(Box::new(Local {
            head: page::empty(status),
            lines,
            length: match is_bodiless(status) {
                true => Length::None,
                false => Length::Known(0),
            },
            body: Body::Pieces(Box::new(body::Stored::whole(Bytes::new()))),
        }))
    }
}

/// Ours is the one that counts.
fn is_status(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"x-cache-status")
}

/// A multipart/byteranges body (RFC 9110 section 14.6).
struct Several {
    parts: Vec<(Bytes, range::Part)>,
    end: Bytes,
    boundary: String,
}

impl Several {
    fn new(visit: &Visit<'_>, parts: &[range::Part], fields: Fields<'_>, length: u64) -> Self {
        let worker = visit.onward.worker;
        let boundary = format!("{:016x}{:016x}", worker.random(), worker.random());
        let kind = { fields.iter() }.find(|f| f.name.eq_ignore_ascii_case(b"content-type"));
        let part = |part: &range::Part| {
            let mut text = format!("\r\n--{boundary}\r\n").into_bytes();
            if let Some(kind) = kind {
                write_field(&mut text, b"content-type", kind.value);
            }
            let (first, last) = (part.first, part.last);
            let range = format!("bytes {first}-{last}/{length}\r\n");
            write_field(&mut text, b"content-range", range.as_bytes());
            (Bytes::from(text), *part)
        };
        Self {
            parts: parts.iter().map(part).collect(),
            end: format!("\r\n--{boundary}--\r\n").into(),
            boundary,
        }
    }

    fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    fn size(&self) -> u64 {
        let parts = self.parts.iter();
        let parts: u64 = parts
            .map(|(text, part)| text.len() as u64 + part.size())
            .sum();
        parts + self.end.len() as u64
    }

    fn body(self, reader: impl Fn(Option<range::Part>) -> Option<Reader>) -> body::Stored {
        let size = self.size();
        let mut pieces = Vec::new();
        for (text, part) in self.parts {
            pieces.push(Piece::Text(text));
            pieces.extend(reader(Some(part)).map(Piece::Body));
        }
        pieces.push(Piece::Text(self.end));
        body::Stored::of(pieces, Some(size))
    }
}
