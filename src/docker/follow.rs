//! The engine's events, line by line.

use std::pin::Pin;

use bytes::BytesMut;
use futures_util::{Stream, stream};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::ask::{Connection, ask, whole};
use super::convert;
use super::engine::{Engine, refusal, within};
use super::error::EngineError;
use super::event::Event;
use super::models::Message;

/// What a subscription has come to.
enum Stage {
    Asking,
    Reading(Reading),
    Over,
}

/// An open stream.
struct Reading {
    body: Incoming,
    /// What has been read of the next line.
    rest: BytesMut,
    _connection: Connection,
}

/// The events behind `path`. Cancel safe between items; dropping it ends the subscription.
pub(super) fn events(
    engine: Engine,
    path: String,
) -> impl Stream<Item = Result<Event, EngineError>> + Send + Unpin {
    let events = stream::unfold(
        (engine, path, Stage::Asking),
        |(engine, path, mut stage)| async move {
            let item = loop {
                stage = match stage {
                    Stage::Asking => match open(&engine, &path).await {
                        Ok(reading) => Stage::Reading(reading),
                        Err(error) => {
                            stage = Stage::Over;
                            break Err(error);
                        }
                    },
                    Stage::Reading(mut reading) => match reading.next(&engine).await? {
                        Ok(event) => {
                            stage = Stage::Reading(reading);
                            break Ok(event);
                        }
                        Err(error) => {
                            stage = Stage::Over;
                            break Err(error);
                        }
                    },
                    Stage::Over => return None,
                };
            };
            Some((item, (engine, path, stage)))
        },
    );
    let events: Pin<Box<dyn Stream<Item = _> + Send>> = Box::pin(events);
    events
}

async fn open(engine: &Engine, path: &str) -> Result<Reading, EngineError> {
    let address = engine.address();
    let target = engine.path(path);
    let answer = within(CALL, address, ask(address, Method::GET, &target)).await?;
    let status = answer.response.status();
    let body = answer.response.into_body();
    if status != StatusCode::OK {
        let body = within(CALL, address, whole(address, body)).await?;
        return Err(refusal(CALL, status, &body));
    }
    Ok(Reading {
        body,
        rest: BytesMut::new(),
        _connection: answer.connection,
    })
}

impl Reading {
    /// The next event; `None` at the end of the stream.
    async fn next(&mut self, engine: &Engine) -> Option<Result<Event, EngineError>> {
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
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Some(data) = frame.data_ref() {
                        self.rest.extend_from_slice(data);
                    }
                }
                Err(error) => {
                    return Some(Err(EngineError::Connection {
                        call: CALL,
                        address: engine.address().clone(),
                        message: error.to_string(),
                    }));
                }
            }
        }
    }
}

const CALL: &str = "events";
/// All labels of a container are in its events.
const LONGEST_LINE: usize = 1 << 20;
