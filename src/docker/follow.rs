//! The engine's events, line by line.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};

use super::convert;
use super::engine::Engine;
use super::error::EngineError;
use super::event::Event;
use super::models::Message;

/// A subscription.
struct Reading<S> {
    engine: Engine,
    answer: S,
    /// What has been read of the next line.
    rest: BytesMut,
}

/// The events behind `path`. Cancel safe between items; dropping it ends the subscription. The item
/// after an error is `None`.
pub(super) fn events(
    engine: Engine,
    path: &str,
) -> impl Stream<Item = Result<Event, EngineError>> + Send + Unpin + use<> {
    let reading = Reading {
        answer: engine.follow(path),
        engine,
        rest: BytesMut::new(),
    };
    Box::pin(stream::unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        let item = reading.next().await?;
        let goes_on = item.is_ok();
        Some((item, goes_on.then_some(reading)))
    }))
}

impl<S: Stream<Item = Result<Bytes, bollard::errors::Error>> + Unpin> Reading<S> {
    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Result<Event, EngineError>> {
        loop {
            while let Some(end) = memchr::memchr(b'\n', &self.rest) {
                let line = self.rest.split_to(end + 1);
                if line.trim_ascii().is_empty() {
                    continue;
                }
                match serde_json::from_slice::<Message>(&line) {
                    Ok(message) => return Some(Ok(convert::event(message))),
                    // It may have been any event: as good as one that changes nothing by itself.
                    Err(error) => {
                        tracing::debug!(%error, "unreadable event");
                        return Some(Ok(Event::unknown()));
                    }
                }
            }
            if self.rest.len() > LONGEST_LINE {
                let message = format!("a line is longer than {LONGEST_LINE} bytes");
                return Some(Err(EngineError::Unreadable {
                    call: CALL,
                    message,
                }));
            }
            match self.answer.next().await? {
                Ok(part) => self.rest.extend_from_slice(&part),
                Err(error) => {
                    let address = self.engine.address();
                    return Some(Err(EngineError::from_client(CALL, address, &error)));
                }
            }
        }
    }
}

const CALL: &str = "events";
/// All labels of a container are in its events.
const LONGEST_LINE: usize = 1 << 20;
