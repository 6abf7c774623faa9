//! A request body that is here as a whole before anybody is asked (product.md S29): every try reads it from its beginning.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::{ExchangeError, Part};
use crate::proxy::fields::OwnedFields;
use crate::spool::{Reader, Upload};

/// All of a request's body.
#[derive(Debug)]
pub(crate) struct TakenIn {
    pub(crate) upload: Rc<Upload>,
    pub(crate) trailers: Option<OwnedFields>,
}

/// What one try has left to send of it.
#[derive(Debug)]
pub(super) struct Source {
    reader: Reader,
    /// Not yet sent.
    trailers: Option<OwnedFields>,
}

impl TakenIn {
    pub(super) fn source(&self) -> Source {
        Source {
            reader: self.upload.reader(),
            trailers: self.trailers.as_ref().map(|trailers| trailers.without(0)),
        }
    }
}

impl Source {
    /// Whether nothing is left.
    pub(super) fn is_done(&self) -> bool {
        self.left() == 0 && self.trailers.is_none()
    }

    pub(super) fn left(&self) -> u64 {
        self.reader.left()
    }

    /// As [`super::Client::poll_body`].
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        room: usize,
    ) -> Poll<Result<Part, ExchangeError>> {
        let read = ready!(self.reader.poll_read(cx, out, room));
        Poll::Ready(match (read, self.trailers.take()) {
            (Err(error), _) => Err(ExchangeError::Spool(error)),
            (Ok(1..), trailers) => {
                self.trailers = trailers;
                Ok(Part::Appended)
            }
            (Ok(0), Some(trailers)) => Ok(Part::Trailers(trailers)),
            (Ok(0), None) => Ok(Part::End),
        })
    }
}
