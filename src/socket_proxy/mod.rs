//! `wharf socket-proxy`: a filter in front of the engine's socket, a process of its own.
//!
//! Whoever holds the socket controls the machine; with this filter between, the process that faces the
//! Internet does not. It lets through what Wharf's watcher asks, nothing else ([`allow`]), and of the
//! answers what the watcher reads ([`shape`]): no environment, no commands, no mounts, no foreign labels.
//! No field of a request reaches the engine, only its checked path and query.

mod allow;
mod ask;
mod follow;
mod listen;
mod shape;

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time;

use self::allow::Call;
use self::ask::{Answer, AskError, ask, whole};
use self::follow::Follow;
use self::listen::{Listener, Stream};
use self::shape::Keep;
use crate::config::SocketProxyConfig;
use crate::docker::EngineError;
use crate::docker::engine::Address;
use crate::model::LabelPrefix;
use crate::shutdown::{self, Signals, Stage, Stop};

/// Why the filter could not start.
#[derive(Debug, thiserror::Error)]
pub enum SocketProxyError {
    #[error("cannot listen on {address}{}", listen::hint(.source))]
    Listen {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("starting the runtime")]
    Runtime(#[source] io::Error),
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// See [`SocketProxyError`]; an engine that is away is none, callers are told of it.
pub fn run(config: SocketProxyConfig) -> Result<(), SocketProxyError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SocketProxyError::Runtime)?;
    runtime.block_on(async {
        // Before anything can be asked, so that no signal is missed.
        let mut signals = Signals::listen();
        let (stopper, stop) = shutdown::stop();
        let filter = Arc::new(Filter {
            engine: Address::parse(&config.docker_host)?,
            labels: config.labels.into(),
            prefix: Arc::new(config.label_prefix),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            refusals: Mutex::default(),
            stop: stop.clone(),
        });
        let mut serving = JoinSet::new();
        for address in &config.listen {
            let listener = Listener::bind(address, config.mode)?;
            tracing::info!(address = %listener, engine = %filter.engine, "listening");
            serving.spawn(serve(listener, Arc::clone(&filter), stop.clone()));
        }
        signals.next().await;
        tracing::info!("stopping");
        stopper.go(Stage::Drain);
        let drained = async { while serving.join_next().await.is_some() {} };
        if time::timeout(GRACE, drained).await.is_err() {
            tracing::debug!("grace is over");
        }
        Ok(())
    })
}

/// Accepts until told to stop, then waits for what is under way.
async fn serve(listener: Listener, filter: Arc<Filter>, mut stop: Stop) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Cancel safe, all three.
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok(stream) => {
                    connections.spawn(connection(stream, Arc::clone(&filter)));
                }
                Err(error) => {
                    // Out of descriptors most likely; trying at once would spin.
                    tracing::warn!(%error, "cannot accept");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = stop.reached(Stage::Drain) => break,
        }
    }
    // New callers are refused at once rather than left waiting.
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One request, then close: no idle connection holds a place.
async fn connection(stream: Stream, filter: Arc<Filter>) {
    let streams = Arc::new(AtomicBool::new(false));
    let follows = Arc::clone(&streams);
    let service = service_fn(move |request: Request<Incoming>| {
        let (filter, follows) = (Arc::clone(&filter), Arc::clone(&follows));
        async move { Ok::<_, Infallible>(filter.answer(&request, &follows).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(BUFFER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = match time::timeout(CONNECTION_LIMIT, &mut serving).await {
        // The event stream lasts as long as there is somebody to read it.
        Err(_) if streams.load(Ordering::Relaxed) => serving.await,
        Err(_) => return tracing::debug!("a connection took longer than {CONNECTION_LIMIT:?}"),
        Ok(ended) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection");
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

struct Filter {
    engine: Address,
    labels: Arc<[(String, Option<String>)]>,
    /// Labels that begin so are shown.
    prefix: Arc<LabelPrefix>,
    /// Places for event streams.
    streams: Arc<Semaphore>,
    refusals: Mutex<Refusals>,
    stop: Stop,
}

impl Filter {
    async fn answer(&self, request: &Request<Incoming>, follows: &AtomicBool) -> Response<Body> {
        let headers = request.headers();
        let has_body = headers.contains_key(TRANSFER_ENCODING)
            || headers
                .get_all(CONTENT_LENGTH)
                .iter()
                .any(|length| length != "0");
        let allowed = match allow::allow(request.method(), request.uri()) {
            Ok(_) if has_body => Err("no body is let through"),
            allowed => allowed,
        };
        let call = match allowed {
            Ok(call) => call,
            Err(reason) => return self.refuse(request, reason),
        };
        // Asterisk and authority forms have no path that is allowed.
        let target = request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let asked = ask(&self.engine, request.method().clone(), target).await;
        let answered = match asked {
            Ok(answer) => self.hand_on(call, answer, follows).await,
            Err(error) => Err(error),
        };
        answered.unwrap_or_else(|error| {
            let status = match error {
                AskError::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            };
            tracing::debug!(%error, target, "no answer");
            message(status, &format!("wharf socket-proxy: {error}"))
        })
    }

    async fn hand_on(
        &self,
        call: Call<'_>,
        answer: Answer,
        follows: &AtomicBool,
    ) -> Result<Response<Body>, AskError> {
        let Answer {
            response,
            connection,
        } = answer;
        let (head, body) = response.into_parts();
        if head.status != StatusCode::OK {
            let told = whole(&self.engine, body).await?;
            return Ok(message(head.status, &engine_message(&told)));
        }
        let keep = match call {
            Call::Ping => {
                let body = whole(&self.engine, body).await?;
                let mut response = reply(StatusCode::OK, "text/plain; charset=utf-8", body);
                for name in PING_FIELDS {
                    if let Some(value) = head.headers.get(&name) {
                        response.headers_mut().insert(name, value.clone());
                    }
                }
                return Ok(response);
            }
            Call::Events => {
                let Ok(place) = Arc::clone(&self.streams).try_acquire_owned() else {
                    let text =
                        format!("wharf socket-proxy: {MAX_STREAMS} event streams are open already");
                    return Ok(message(StatusCode::SERVICE_UNAVAILABLE, &text));
                };
                follows.store(true, Ordering::Relaxed);
                let follow = Follow {
                    body,
                    labels: Arc::clone(&self.labels),
                    prefix: Arc::clone(&self.prefix),
                    stop: self.stop.clone(),
                    _connection: connection,
                    _place: place,
                };
                let body = StreamBody::new(follow.frames()).boxed_unsync();
                return Ok(respond(StatusCode::OK, "application/json", body));
            }
            Call::Version => shape::VERSION,
            Call::Networks => shape::NETWORKS,
            Call::List => shape::LIST,
            Call::Inspect { .. } => shape::INSPECT,
        };
        let told = whole(&self.engine, body).await?;
        let told = serde_json::from_slice(&told).ok();
        let Some(kept) = told.and_then(|value| self.reduce(call, keep, value)) else {
            let text = "wharf socket-proxy: the engine's answer could not be read";
            return Ok(message(StatusCode::BAD_GATEWAY, text));
        };
        Ok(match kept {
            Some(value) => reply(StatusCode::OK, "application/json", value.to_string()),
            None => message(StatusCode::NOT_FOUND, "No such container"),
        })
    }

    /// Applies the label filter, then keeps what is to be kept. The inner `None` is a container that is
    /// not to be seen.
    fn reduce(&self, call: Call<'_>, keep: Keep, mut value: Value) -> Option<Option<Value>> {
        match call {
            Call::List => {
                let list = value.as_array_mut()?;
                list.retain(|entry| shape::has_labels(entry.get("Labels"), &self.labels));
            }
            Call::Inspect { .. } => {
                let labels = value.pointer("/Config/Labels");
                if !shape::has_labels(labels, &self.labels) {
                    return Some(None);
                }
            }
            _ => {}
        }
        keep.of(value, &self.prefix).map(Some)
    }

    fn refuse(&self, request: &Request<Incoming>, reason: &str) -> Response<Body> {
        let method = request.method().as_str();
        let asked = format!("{method} {}", request.uri().path());
        let asked = excerpt(&asked);
        let query = excerpt(request.uri().query().unwrap_or_default());
        let unsaid = self
            .refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note(Instant::now());
        match unsaid {
            Some(unsaid) => tracing::warn!(asked, query, reason, unsaid, "refused"),
            None => tracing::debug!(asked, reason, "refused"),
        }
        message(
            StatusCode::FORBIDDEN,
            &format!("wharf socket-proxy refuses {asked}: {reason}"),
        )
    }
}

/// Which refusals the log tells: not more than [`MOST_TOLD`] in a [`WINDOW`].
#[derive(Debug, Default)]
struct Refusals {
    since: Option<Instant>,
    told: u32,
    unsaid: u64,
}

impl Refusals {
    /// Whether to tell of one more, and then how many were passed over since the last.
    fn note(&mut self, now: Instant) -> Option<u64> {
        if self
            .since
            .is_none_or(|since| now.duration_since(since) >= WINDOW)
        {
            self.since = Some(now);
            self.told = 0;
        }
        if self.told == MOST_TOLD {
            self.unsaid += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// The beginning of what somebody sent; a query may hold any UTF-8.
fn excerpt(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

/// The engine's own words, bounded.
fn engine_message(body: &[u8]) -> String {
    let told = serde_json::from_slice::<Value>(body).ok();
    let told = told
        .as_ref()
        .and_then(|value| value.get("message")?.as_str());
    told.unwrap_or("the engine gave no reason")
        .chars()
        .take(MAX_MESSAGE)
        .collect()
}

/// As the engine tells errors.
fn message(status: StatusCode, text: &str) -> Response<Body> {
    reply(
        status,
        "application/json",
        json!({ "message": text }).to_string(),
    )
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    respond(status, kind, Full::new(body.into()).boxed_unsync())
}

fn respond(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// What clients read of a ping: the version to speak.
const PING_FIELDS: [HeaderName; 2] = [
    HeaderName::from_static("api-version"),
    HeaderName::from_static("ostype"),
];
/// Wharf opens one for events and at most a dozen for the rest; later ones wait in the listen queue.
const MAX_CONNECTIONS: usize = 64;
/// The rest of the connections stay free for calls that end.
const MAX_STREAMS: usize = 16;
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// From accept to the last byte, except event streams. Longer than the engine may take.
const CONNECTION_LIMIT: Duration = Duration::from_secs(90);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Also the longest head.
const BUFFER: usize = 16 * 1024;
/// After a signal.
const GRACE: Duration = Duration::from_secs(2);
const MAX_SHOWN: usize = 200;
const MAX_MESSAGE: usize = 1000;
const WINDOW: Duration = Duration::from_secs(60);
const MOST_TOLD: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_ten_times_a_minute() {
        let mut refusals = Refusals::default();
        let start = Instant::now();
        let told = (0..15).filter_map(|_| refusals.note(start)).count();
        assert_eq!(told, 10);
        assert_eq!(refusals.note(start + WINDOW), Some(5));
        assert_eq!(refusals.note(start + WINDOW), Some(0));
    }

    #[test]
    fn what_is_shown_of_a_request_is_cut_between_characters() {
        let uri: http::Uri = format!("/a?{}", "é".repeat(MAX_SHOWN)).parse().unwrap();
        let query = format!("x{}", uri.query().unwrap());
        assert_eq!(excerpt(&query).chars().count(), MAX_SHOWN);
    }

    #[test]
    fn words_of_the_engine() {
        assert_eq!(
            engine_message(br#"{"message":"No such container: a"}"#),
            "No such container: a"
        );
        assert_eq!(engine_message(b"<html>"), "the engine gave no reason");
        let long = format!("{{\"message\":\"{}\"}}", "a".repeat(5000));
        assert_eq!(engine_message(long.as_bytes()).len(), MAX_MESSAGE);
    }
}
