//! Bodies of HTTP/2 streams: what hyper sends, and what it reads.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};

use super::turn::{Turn, turn};
use crate::proxy::exchange::{
    Chunks, Client, ClientError, ExchangeError, Part, Response, ResponsePart,
};
use crate::proxy::fields::{FieldIndex, OwnedFields};
use crate::proxy::h1::ResponseHead;
use crate::proxy::head::RequestFraming;
use crate::proxy::headers;
use crate::proxy::tail::Tail;

/// What hyper sends.
pub(super) struct Body {
    content: Content,
    /// Ends with the body.
    tail: Option<Box<Tail>>,
}

enum Content {
    /// Already in memory.
    Whole(Bytes),
    Streamed(Box<Streamed>),
}

struct Streamed {
    response: Response,
    upload: Upload,
}

/// A request body, as hyper hands it out.
pub(super) struct Upload {
    /// `None` once all of it was read.
    body: Option<Incoming>,
    /// Bytes promised and not yet come.
    left: u64,
}

impl Body {
    pub(super) fn page(content: Bytes) -> Self {
        Self {
            content: Content::Whole(content),
            tail: None,
        }
    }

    pub(super) fn whole(content: Bytes, tail: Box<Tail>) -> Self {
        Self {
            content: Content::Whole(content),
            tail: Some(tail),
        }
    }

    pub(super) fn streamed(response: Response, upload: Upload, tail: Box<Tail>) -> Self {
        Self {
            content: Content::Streamed(Box::new(Streamed { response, upload })),
            tail: Some(tail),
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = ExchangeError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        let this = &mut *self;
        let frame = match &mut this.content {
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Content::Streamed(streamed) => streamed.poll_frame(cx),
        };
        turn(if frame.is_pending() {
            Turn::Wharf
        } else {
            Turn::Handed
        });
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
            && let Some(tail) = &mut this.tail
        {
            tail.bytes += data.len() as u64;
        }
        if let Poll::Ready(Some(Err(error))) = &frame {
            if let Some(tail) = &this.tail {
                tail.worker.metrics.count_error(error.kind());
            }
            tracing::debug!(%error, "response cut");
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Streamed(streamed) => streamed.response.is_done(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Streamed(streamed) => streamed
                .response
                .remaining()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl Streamed {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        let Self { response, upload } = self;
        // A connection has up to 128 of these at once.
        let left = response.remaining().unwrap_or(u64::MAX);
        let room = usize::try_from(left).map_or(READ, |left| left.min(READ));
        let mut out = Vec::new();
        let part = response.poll_body(cx, upload, &mut out, Chunks::None, room);
        part.map(|part| match part {
            Ok(ResponsePart::Data(_)) => Some(Ok(Frame::data(out.into()))),
            Ok(ResponsePart::Trailers(trailers)) => trailers
                .fields()
                .to_map(headers::may_trail_response)
                .map(|map| Ok(Frame::trailers(map))),
            Ok(ResponsePart::End) => None,
            Err(error) => Some(Err(error)),
        })
    }
}

impl Upload {
    pub(super) fn new(body: Incoming, framing: RequestFraming) -> Self {
        let left = match framing {
            RequestFraming::Length(length) => length,
            RequestFraming::None | RequestFraming::Chunked => 0,
        };
        Self {
            body: (!body.is_end_stream()).then_some(body),
            left,
        }
    }
}

impl Client for Upload {
    fn body_ended(&self) -> bool {
        self.body.is_none()
    }

    fn has_much(&self) -> bool {
        false
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        _out: &mut Vec<u8>,
        _room: usize,
    ) -> Poll<Result<Part, ExchangeError>> {
        let cut = || Poll::Ready(Err(ExchangeError::ClientBody(ClientError::Cut)));
        loop {
            let Some(body) = &mut self.body else {
                return Poll::Ready(Ok(Part::End));
            };
            let frame = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(error))) => {
                    let error = ExchangeError::ClientBody(ClientError::Http2(error));
                    return Poll::Ready(Err(error));
                }
                // hyper reports some resets as the end of the body. To finish the request then
                // would pass a cut upload off as complete, or leave the upstream connection in the
                // middle of a body for the next request.
                Poll::Ready(None) if self.left > 0 || !body.is_end_stream() => return cut(),
                Poll::Ready(None) => {
                    self.body = None;
                    return Poll::Ready(Ok(Part::End));
                }
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    if self.left > 0 {
                        match self.left.checked_sub(data.len() as u64) {
                            Some(left) => self.left = left,
                            None => return cut(),
                        }
                    }
                    return Poll::Ready(Ok(Part::Chunk(data)));
                }
                Err(_) if self.left > 0 => return cut(),
                Err(frame) => {
                    self.body = None;
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let trailers =
                        OwnedFields::from_map(&trailers, Vec::new(), FieldIndex::default());
                    return Poll::Ready(Ok(Part::Trailers(trailers.unwrap_or_default())));
                }
            }
        }
    }

    /// hyper has no call for them on HTTP/2, and RFC 9110 section 15.2 allows to drop them.
    fn send_interim(&mut self, _head: &ResponseHead, _text: &[u8]) {}

    /// hyper drops the request when its stream is reset.
    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// One read of a body.
const READ: usize = 16 * 1024;
