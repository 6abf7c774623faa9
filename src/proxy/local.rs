//! An answer that is not read off an upstream as its client takes it: a head, and bytes from elsewhere.

use std::io;
use std::task::{Context, Poll};

use http::StatusCode;

use super::fields::OwnedFields;
use super::page::Page;
use crate::webroot::{self, Stretch};

/// Both protocols send it: `http1::local`, `http2::server::local`.
pub(crate) struct Local {
    /// Its head, without a length and without a body.
    pub(crate) head: Page,
    /// Fields behind those of `head`, as `write_field` writes them.
    pub(crate) lines: Vec<u8>,
    pub(crate) length: Length,
    pub(crate) body: Body,
}

/// Of the whole body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Its status has no body.
    None,
    Known(u64),
    /// Its end tells: the last chunk on HTTP/1.1, the end of the connection on 1.0, of the stream on HTTP/2.
    Open,
}

/// Where the bytes come from.
pub(crate) enum Body {
    File(webroot::Body),
    Pieces(Box<dyn Pieces>),
}

/// Bytes that come piece by piece. Whoever takes them sends what is at hand before it waits for more.
pub(crate) trait Pieces {
    /// Sees that [`Pieces::data`] has something; `false` at the end.
    ///
    /// # Errors
    /// Where the rest will not come: the client must not take what it has for the whole.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>>;

    /// What is at hand.
    fn data(&self) -> &[u8];

    /// So much of it has gone out.
    fn consume(&mut self, count: usize);

    /// Whether it is known that nothing is left.
    fn is_done(&self) -> bool {
        false
    }

    /// The stretch of a file that is next, where none of it is at hand yet.
    fn stretch(&self) -> Option<Stretch> {
        None
    }

    /// So much of that stretch has gone another way.
    fn skip(&mut self, _count: usize) {}

    /// Fields behind the end of a body whose length is [`Length::Open`].
    fn trailers(&mut self) -> Option<OwnedFields> {
        None
    }
}

impl Local {
    pub(crate) fn status(&self) -> StatusCode {
        self.head.status()
    }

    /// Whether anything follows its head, were it not for HEAD.
    pub(super) fn has_body(&self) -> bool {
        !matches!(self.length, Length::None | Length::Known(0))
    }
}

impl Length {
    pub(super) fn known(self) -> Option<u64> {
        match self {
            Self::Known(length) => Some(length),
            Self::None | Self::Open => None,
        }
    }
}

impl Pieces for Body {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        match self {
            Self::File(body) => body.poll_fill(cx),
            Self::Pieces(body) => body.poll_fill(cx),
        }
    }

    fn data(&self) -> &[u8] {
        match self {
            Self::File(body) => body.data(),
            Self::Pieces(body) => body.data(),
        }
    }

    fn consume(&mut self, count: usize) {
        match self {
            Self::File(body) => body.consume(count),
            Self::Pieces(body) => body.consume(count),
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::File(body) => body.is_done(),
            Self::Pieces(body) => body.is_done(),
        }
    }

    fn stretch(&self) -> Option<Stretch> {
        match self {
            Self::File(body) => body.stretch(),
            Self::Pieces(body) => body.stretch(),
        }
    }

    fn skip(&mut self, count: usize) {
        match self {
            Self::File(body) => body.skip(count),
            Self::Pieces(body) => body.skip(count),
        }
    }

    fn trailers(&mut self) -> Option<OwnedFields> {
        match self {
            Self::File(_) => None,
            Self::Pieces(body) => body.trailers(),
        }
    }
}
