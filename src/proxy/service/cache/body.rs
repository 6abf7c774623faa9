//! Bodies out of the store, as both protocols send them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::cache::store::Reader;
use crate::proxy::fields::OwnedFields;
use crate::proxy::local::Pieces;

/// What the app has sent behind the end of a body, for the client that it was asked for.
pub(super) type Trailers = Rc<RefCell<Option<OwnedFields>>>;

/// A body, or parts of one with what stands between them.
pub(super) struct Stored {
    pieces: VecDeque<Piece>,
    data: Bytes,
    /// Bytes that are not handed out yet, where that is known.
    left: Option<u64>,
    trailers: Option<Trailers>,
}

pub(super) enum Piece {
    Text(Bytes),
    Body(Reader),
}

impl Stored {
    pub(super) fn of(pieces: impl Into<VecDeque<Piece>>, length: Option<u64>) -> Self {
        Self {
            pieces: pieces.into(),
            data: Bytes::new(),
            left: length,
            trailers: None,
        }
    }

    /// A small body that is all there.
    pub(super) fn whole(body: Bytes) -> Self {
        Self {
            pieces: VecDeque::new(),
            left: Some(body.len() as u64),
            data: body,
            trailers: None,
        }
    }

    pub(super) fn with(self, trailers: Trailers) -> Self {
        Self {
            trailers: Some(trailers),
            ..self
        }
    }
}

impl Pieces for Stored {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.data.is_empty() {
            match self.pieces.front_mut() {
                None => return Poll::Ready(Ok(false)),
                Some(Piece::Text(text)) => {
                    self.data = std::mem::take(text);
                    self.pieces.pop_front();
                }
                Some(Piece::Body(reader)) => match ready!(reader.poll_next(cx)) {
                    Some(Ok(data)) => self.data = data,
                    Some(Err(lost)) => return Poll::Ready(Err(io::Error::other(lost))),
                    None => _ = self.pieces.pop_front(),
                },
            }
        }
        Poll::Ready(Ok(true))
    }

    fn data(&self) -> &[u8] {
        &self.data
    }

    fn consume(&mut self, count: usize) {
        bytes::Buf::advance(&mut self.data, count);
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(count as u64);
        }
    }

    fn is_done(&self) -> bool {
        self.left == Some(0)
    }

    fn trailers(&mut self) -> Option<OwnedFields> {
        self.trailers.as_ref()?.take()
    }
}
