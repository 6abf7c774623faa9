//! The way out: the head, and the body as the client gives it.

use std::task::{Context, Poll};

use super::course::Waiting;
use super::link::LinkExchange;
use super::{Client, ExchangeError, Part};
use crate::model::FieldNames;
use crate::proxy::buffers::{LARGE, SMALL};
use crate::proxy::fields::{Field, OwnedFields};
use crate::proxy::head::RequestFraming;
use crate::proxy::headers;

impl LinkExchange {
    /// Writes what there is; `Ready` when the whole request is out or can never be.
    pub(super) fn poll_send<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
    ) -> Poll<Result<(), ExchangeError>> {
        if self.course.broken {
            return Poll::Ready(Err(ExchangeError::Closed(None)));
        }
        if self.is_sent() {
            return Poll::Ready(Ok(()));
        }
        let sent = self.poll_write_all(cx, client);
        self.course.broken = matches!(sent, Poll::Ready(Err(_)));
        sent
    }

    pub(super) fn is_sent(&self) -> bool {
        self.out_at == self.link.out.len() && !self.course.body_left && self.link.is_flushed()
    }

    fn poll_write_all<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
    ) -> Poll<Result<(), ExchangeError>> {
        loop {
            let starved = self.course.body_left && self.fill(cx, client)?.is_pending();
            while self.out_at < self.link.out.len() {
                match self.link.poll_write(cx, self.out_at) {
                    Poll::Ready(Ok(n)) => {
                        self.course.wrote();
                        self.out_at += n;
                    }
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(ExchangeError::Closed(Some(error))));
                    }
                    Poll::Pending => return self.blocked(),
                }
            }
            match self.link.poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(ExchangeError::Closed(Some(error))));
                }
                Poll::Pending => return self.blocked(),
            }
            if starved {
                self.clear_out();
                self.course.wait_for(&self.link.timer, Waiting::Client);
                return Poll::Pending;
            } else if self.course.body_left {
                self.clear_out();
            } else if !self.keeps_out() {
                // Nobody needs it while the endpoint thinks.
                self.clear_out();
                self.course.worker.buffers.reclaim(&mut self.link.out);
                return Poll::Ready(Ok(()));
            } else {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// All of it is written; what it held of the body is kept if need be.
    fn clear_out(&mut self) {
        let sent = &self.link.out[self.head_len..];
        if !sent.is_empty()
            && !self
                .course
                .kept
                .as_mut()
                .is_some_and(|kept| kept.push(sent))
        {
            self.course.kept = None;
            self.course.lost = true;
        }
        self.link.out.clear();
        self.out_at = 0;
        self.head_len = 0;
    }

    /// Whether the whole request stays where it is until the answer begins: one that fits into a small
    /// buffer need not be copied to be kept.
    fn keeps_out(&mut self) -> bool {
        let size = self.link.out.capacity();
        let kept = self.course.kept.as_mut().filter(|kept| kept.is_empty());
        size <= 2 * SMALL && kept.is_some_and(|kept| kept.count(size))
    }

    /// Takes parts of the body from the client until there is enough to write. `Pending`: the client
    /// has no more at the moment.
    fn fill<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
    ) -> Result<Poll<()>, ExchangeError> {
        while self.course.body_left {
            let queued = self.link.out.len() - self.out_at;
            if queued >= COALESCE {
                break;
            }
            let source = self.course.source.as_deref();
            let has_much = || match source {
                Some(source) => source.left() > SMALL as u64,
                None => client.has_much(),
            };
            if queued == 0 && self.link.out.capacity() < LARGE && has_much() {
                self.course.worker.buffers.reclaim(&mut self.link.out);
                self.link.out = self.course.worker.buffers.large();
                self.out_at = 0;
            }
            let at = self.link.out.len();
            let room = (self.link.out.capacity() - at).clamp(COALESCE, UPLOAD_READ);
            let own = self.course.source.is_some();
            let part = match &mut self.course.source {
                Some(source) => source.poll_body(cx, &mut self.link.out, room),
                None => client.poll_body(cx, &mut self.link.out, room),
            };
            let part = match part {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(part) => part?,
            };
            if self.course.waiting == Waiting::Client {
                // Any progress gives the client its full time again.
                self.course.waiting = Waiting::Nothing;
            }
            match part {
                Part::Appended => {
                    let taken = self.link.out.len() - at;
                    if !own {
                        self.course.took(taken)?;
                    }
                    if self.is_chunked() {
                        frame_chunk(&mut self.link.out, at);
                    }
                }
                Part::Trailers(trailers) => {
                    self.course.body_left = false;
                    self.course.source = None;
                    if self.is_chunked() {
                        let reserved = self.course.reserved.as_deref();
                        write_end(&mut self.link.out, Some(&trailers), reserved);
                    }
                }
                Part::End => {
                    self.course.body_left = false;
                    self.course.source = None;
                    if self.is_chunked() {
                        write_end(&mut self.link.out, None, None);
                    }
                }
            }
        }
        Ok(Poll::Ready(()))
    }

    fn blocked(&mut self) -> Poll<Result<(), ExchangeError>> {
        self.course.wait_for(&self.link.timer, Waiting::Write);
        Poll::Pending
    }

    fn is_chunked(&self) -> bool {
        self.course.framing == RequestFraming::Chunked
    }
}

/// Makes what stands behind `at` one chunk (RFC 9112 section 7.1).
pub(super) fn frame_chunk(out: &mut Vec<u8>, at: usize) {
    let len = out.len() - at;
    let mut size = Vec::with_capacity(18);
    write_chunk_size(&mut size, len);
    out.splice(at..at, size);
    out.extend_from_slice(b"\r\n");
}

/// Ends a body of chunks. An upstream that merges trailers into the head must not be told who it talks to.
pub(super) fn write_end(
    out: &mut Vec<u8>,
    trailers: Option<&OwnedFields>,
    reserved: Option<&FieldNames>,
) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        let may = |field: Field<'_>| headers::may_trail_request(field, reserved);
        trailers.fields().copy(out, may);
    }
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn write_chunk_size(out: &mut Vec<u8>, len: usize) {
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        let digit = (len >> (4 * digit)) as u8 & 15;
        out.push(digit + if digit < 10 { b'0' } else { b'a' - 10 });
    }
    out.extend_from_slice(b"\r\n");
}

/// One read of a large upload: what comes back from the cache when it is written.
const UPLOAD_READ: usize = 128 * 1024;
/// So much of a body goes out with the head before it in one write.
const COALESCE: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes_are_hexadecimal() {
        for len in [0, 1, 9, 10, 15, 16, 255, 4096, 0xabcdef] {
            let mut out = Vec::new();
            write_chunk_size(&mut out, len);
            assert_eq!(out, format!("{len:x}\r\n").as_bytes());
        }
        let mut out = b"head".to_vec();
        out.extend_from_slice(&[b'x'; 17]);
        frame_chunk(&mut out, 4);
        assert_eq!(out, b"head11\r\nxxxxxxxxxxxxxxxxx\r\n");
    }
}
