//! The event stream: line by line, as it comes.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use super::ask::Connection;
use super::shape;
use crate::model::LabelPrefix;
use crate::shutdown::{Stage, Stop};

/// One subscription, from the engine's answer to the caller's.
pub(super) struct Follow {
    pub(super) body: Incoming,
    pub(super) labels: Arc<[(String, Option<String>)]>,
    pub(super) prefix: Arc<LabelPrefix>,
    pub(super) stop: Stop,
    pub(super) _connection: Connection,
    pub(super) _place: OwnedSemaphorePermit,
}

impl Follow {
    /// The frames of the caller's body: each holds what was read at once. Ends with the engine's stream,
    /// at a line longer than [`LONGEST_LINE`], and when the process is told to stop.
    pub(super) fn frames(self) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
        stream::unfold(
            (self, BytesMut::new()),
            |(mut follow, mut rest)| async move {
                loop {
                    let lines = follow.take(&mut rest);
                    if !lines.is_empty() {
                        return Some((Ok(Frame::data(lines)), (follow, rest)));
                    }
                    if rest.len() > LONGEST_LINE {
                        tracing::warn!(
                            "an event of the engine is longer than {LONGEST_LINE} bytes; the stream ends here"
                        );
                        return None;
                    }
                    let Self { body, stop, .. } = &mut follow;
                    let mut body = Pin::new(body);
                    tokio::select! {
                        frame = poll_fn(|context| body.as_mut().poll_frame(context)) => match frame {
                            Some(Ok(frame)) => rest.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                            Some(Err(error)) => {
                                tracing::debug!(%error, "event stream of the engine");
                                return None;
                            }
                            None => return None,
                        },
                        () = stop.reached(Stage::Drain) => return None,
                    }
                }
            },
        )
    }

    /// Takes the whole lines out of `rest`, and returns what of them is handed on.
    fn take(&self, rest: &mut BytesMut) -> Bytes {
        let Some(end) = memchr::memrchr(b'\n', rest) else {
            return Bytes::new();
        };
        let lines = rest.split_to(end + 1);
        let mut out = Vec::new();
        for line in lines.as_ref().split(|byte| *byte == b'\n') {
            let Ok(event) = serde_json::from_slice::<serde_json::Value>(line) else {
                continue;
            };
            // Those of networks carry no labels of containers.
            let labels = event.pointer("/Actor/Attributes");
            let seen = event["Type"] == "network" || shape::has_labels(labels, &self.labels);
            if let Some(event) = shape::event(event, &self.prefix).filter(|_| seen) {
                out.extend_from_slice(event.to_string().as_bytes());
                out.push(b'\n');
            }
        }
        out.into()
    }
}

/// All labels of a container are in its events.
const LONGEST_LINE: usize = 1 << 20;
