//! What was sent of a request body, kept until the answer begins, so that it can be sent again.

use std::cell::Cell;
use std::rc::Rc;

use super::send::{frame_chunk, write_end};
use crate::model::FieldNames;
use crate::proxy::fields::OwnedFields;
use crate::proxy::h1::{Decoder, Framing, Piece};
use crate::proxy::head::RequestFraming;

/// Bytes of bodies that one worker keeps, over all its requests.
pub(crate) type KeptBytes = Rc<Cell<usize>>;

/// The beginning of a body, or all of it.
///
/// Invariant: as it went out behind the head, whole chunks where it was chunked, so that what follows
/// can follow it again.
#[derive(Debug)]
pub(crate) struct Kept {
    wire: Vec<u8>,
    /// Whether that is in chunks: it is on HTTP/1 where the length is not known, and never on HTTP/2.
    chunked: bool,
    /// Where it is not in chunks.
    pub(super) trailers: Option<OwnedFields>,
    /// Its end is among it.
    pub(super) ended: bool,
    /// Counted in `total`.
    counted: usize,
    total: KeptBytes,
}

impl Kept {
    pub(super) fn new(total: &KeptBytes) -> Self {
        Self {
            wire: Vec::new(),
            chunked: false,
            trailers: None,
            ended: false,
            counted: 0,
            total: Rc::clone(total),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wire.is_empty()
    }

    /// Adds what was sent; `false` where it is too much.
    pub(super) fn push(&mut self, sent: &[u8]) -> bool {
        if self.wire.len() + sent.len() > MAX_KEPT {
            return false;
        }
        let before = self.wire.capacity();
        self.wire.extend_from_slice(sent);
        self.count(self.wire.capacity() - before)
    }

    /// Counts bytes that are kept elsewhere for it; `false` where there are too many in all.
    pub(super) fn count(&mut self, bytes: usize) -> bool {
        self.counted += bytes;
        self.total.set(self.total.get() + bytes);
        self.total.get() <= MAX_KEPT_BY_WORKER
    }

    /// What is pushed is framed as HTTP/1 does it.
    pub(super) fn framed(mut self, framing: RequestFraming) -> Self {
        self.chunked = framing == RequestFraming::Chunked;
        self
    }

    /// Puts it behind a head that is about to be sent, in chunks where these are wanted. What has been sent again
    /// is pushed again.
    pub(super) fn replay(
        &mut self,
        out: &mut Vec<u8>,
        chunked: bool,
        reserved: Option<&FieldNames>,
    ) {
        let start = out.len();
        out.extend_from_slice(&self.wire);
        self.wire.clear();
        if chunked && !self.chunked {
            if out.len() > start {
                frame_chunk(out, start);
            }
            if self.ended {
                write_end(out, self.trailers.take().as_ref(), reserved);
            }
        }
        self.chunked = chunked;
    }

    /// What it is without chunks; that is what is kept of it from now on, but for the trailers.
    pub(super) fn plain(&mut self) -> (Vec<u8>, Option<OwnedFields>) {
        if std::mem::take(&mut self.chunked) {
            let wire = std::mem::take(&mut self.wire);
            let mut rest = &wire[..];
            let mut decoder = Decoder::new(Framing::Chunked);
            while let Ok(step) = decoder.decode(rest, usize::MAX) {
                rest = &rest[step.skip..];
                match step.piece {
                    Piece::Data(len) => {
                        self.wire.extend_from_slice(&rest[..len]);
                        rest = &rest[len..];
                    }
                    Piece::Trailers(trailers) => {
                        self.trailers = Some(trailers);
                        break;
                    }
                    Piece::Starved | Piece::Done => break,
                }
            }
        }
        (self.wire.clone(), self.trailers.take())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.counted);
    }
}

/// Of one body, framing included. A longer one is not kept at all once that shows.
pub(super) const MAX_KEPT: usize = 64 * 1024;
/// Of all bodies of a worker, in bytes of memory.
const MAX_KEPT_BY_WORKER: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_kept_up_to_its_bound_and_counted_until_it_goes() {
        let total = KeptBytes::default();
        let mut kept = Kept::new(&total);
        assert!(kept.push(&[1; MAX_KEPT - 1]) && kept.push(&[2]));
        assert!(!kept.push(&[3]));
        assert!(kept.push(&[]));
        assert!(total.get() >= MAX_KEPT);
        let mut out = b"head".to_vec();
        kept.replay(&mut out, false, None);
        assert_eq!(out.len(), 4 + MAX_KEPT);
        let counted = total.get();
        assert!(kept.is_empty() && kept.push(&out[4..]));
        assert_eq!(total.get(), counted, "the same memory");
        drop(kept);
        assert_eq!(total.get(), 0);
    }

    #[test]
    fn what_one_protocol_has_sent_another_can_send_again() {
        let total = KeptBytes::default();
        let mut kept = Kept::new(&total).framed(RequestFraming::Chunked);
        assert!(kept.push(b"3\r\nabc\r\n2\r\nde\r\n"));
        assert!(kept.push(b"0\r\nx: 1\r\n\r\n"));
        kept.ended = true;
        let (plain, trailers) = kept.plain();
        assert_eq!(plain, b"abcde");
        assert!(trailers.as_ref().unwrap().text.starts_with(b"x: 1\r\n"));
        kept.trailers = trailers;
        let mut out = b"head".to_vec();
        kept.replay(&mut out, true, None);
        assert_eq!(out, b"head5\r\nabcde\r\n0\r\nx: 1\r\n\r\n");
        let mut known = Kept::new(&total);
        assert!(known.push(b"abc"));
        known.ended = true;
        let mut out = Vec::new();
        known.replay(&mut out, false, None);
        assert_eq!(out, b"abc");
    }

    #[test]
    fn a_worker_keeps_so_much_and_no_more() {
        let total = KeptBytes::default();
        let body = [0; MAX_KEPT];
        let keep = || {
            let mut kept = Kept::new(&total);
            kept.push(&body).then_some(kept)
        };
        let all: Vec<Kept> = std::iter::from_fn(keep).collect();
        assert_eq!(all.len(), MAX_KEPT_BY_WORKER / MAX_KEPT);
        assert!(total.get() <= MAX_KEPT_BY_WORKER);
        assert!(keep().is_none());
        drop(all);
        assert!(keep().is_some());
    }
}
