//! HTTP/2 towards clients: hyper speaks it, over a [`wire`] of ours, and calls in here for each
//! request. Streams are tasks that know whose [`turn`] it is; a [`flood`] of control frames ends the
//! connection.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;

use super::clock::Clock;
use super::exchange::{Chunks, ResponsePart};
use super::forward::Answer;
use super::h1::{Framing, is_bodiless};
use super::head::{RequestFraming, RequestHead};
use super::headers::Kept;
use super::http1::LAST_WORD;
use super::page;
use super::state::ConnState;
use super::stream::ClientStream;
use super::tail::Tail;
use super::worker::Worker;
use super::{exchange, service};

mod body;
mod flood;
mod turn;
mod wire;

use body::{Body, Upload};
pub(crate) use turn::StreamExecutor;
use turn::{Turn, turn};
use wire::Wire;

/// Serves requests until the connection ends.
pub(crate) async fn serve(worker: Rc<Worker>, stream: ClientStream, state: Rc<ConnState>) {
    let service = {
        let (worker, state) = (Rc::clone(&worker), Rc::clone(&state));
        service_fn(move |request: Request<Incoming>| {
            let begun = begin(&worker, &state, request);
            // Boxed: hyper moves what it is given several times before it is polled.
            Box::pin(answer(begun))
        })
    };
    let wire = Wire::new(stream, Rc::clone(&state));
    let mut conn = pin!(worker.http2.serve_connection(wire, service));
    let (asked, last_word) = (Cell::new(false), Cell::new(false));
    // Until it ends, or its deadline does. Draining asks it once to finish what is in flight.
    poll_fn(|cx: &mut Context<'_>| {
        loop {
            if worker.is_draining() && !asked.replace(true) {
                conn.as_mut().graceful_shutdown();
            }
            if let Poll::Ready(ended) = conn.as_mut().poll(cx) {
                if let Err(error) = &ended {
                    tracing::debug!(peer = %state.peer, %error, "connection ended");
                }
                return Poll::Ready(());
            }
            // From here on only the client keeps it open.
            let over = asked.get() && state.is_quiet();
            if over && !last_word.get() {
                state.timer().arm(LAST_WORD);
            }
            last_word.set(over);
            if !state.timer().has_fired() {
                state.timer().wake_with(cx.waker());
                return Poll::Pending;
            }
            if !state.is_idle() || asked.replace(true) {
                return Poll::Ready(());
            }
            // Idle for too long: clients are told, so that a request on its way is not lost.
            conn.as_mut().graceful_shutdown();
        }
    })
    .await;
}

/// hyper's settings.
pub(crate) fn builder(clock: &Rc<Clock>) -> http2::Builder<StreamExecutor> {
    let mut builder = http2::Builder::new(StreamExecutor(Rc::clone(clock)));
    builder
        .max_concurrent_streams(128)
        .max_header_list_size(32 * 1024)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(64 * 1024)
        // A proxy does not invent a Date.
        .auto_date_header(false);
    builder
}

/// A request as the service takes it, or the answer to one that cannot be taken. What hyper hands
/// over is large and not needed afterwards.
fn begin(
    worker: &Rc<Worker>,
    state: &Rc<ConnState>,
    request: Request<Incoming>,
) -> Result<(Box<Tail>, Upload), Box<Response<Body>>> {
    let (parts, body) = request.into_parts();
    let framing = framing(&parts.method, &parts.headers, &body);
    let text = Vec::with_capacity(TEXT);
    let Some(head) = RequestHead::from_parts(parts, framing, text, worker.buffers.index()) else {
        // hyper's own limit for a header list is half of ours.
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let page = page::unreadable(status, "the request head is too large");
        return Err(Box::new(page.map(Body::page)));
    };
    let tail = Tail::begin(worker, state, Box::new(head));
    Ok((Box::new(tail), Upload::new(body, framing)))
}

async fn answer(
    begun: Result<(Box<Tail>, Upload), Box<Response<Body>>>,
) -> Result<Response<Body>, Infallible> {
    let (mut tail, mut upload) = match begun {
        Ok(begun) => begun,
        Err(refusal) => return Ok(*refusal),
    };
    let answer = service::answer(&mut tail, &mut upload).await;
    let response = match answer {
        Answer::Response(response) => respond(response, upload, tail).await,
        Answer::Page(page) => {
            tail.responds(page.status());
            (*page).map(|bytes| match tail.head.method {
                Method::HEAD => Body::whole(Bytes::new(), tail),
                _ => Body::whole(bytes, tail),
            })
        }
        // Neither happens here: no stream asks for WebSocket, and hyper drops this future when the
        // client leaves.
        Answer::Switched(..) | Answer::Gone => bad_gateway(tail),
    };
    turn(Turn::Handed);
    Ok(response)
}

fn bad_gateway(mut tail: Box<Tail>) -> Response<Body> {
    tail.responds(StatusCode::BAD_GATEWAY);
    let mut response = Response::new(Body::whole(Bytes::new(), tail));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

async fn respond(
    mut response: exchange::Response,
    mut upload: Upload,
    mut tail: Box<Tail>,
) -> Response<Body> {
    let status = response.status;
    let keep_length = !is_bodiless(status) && response.framing != Framing::Chunked;
    let Some((fields, _)) = response.head() else {
        return bad_gateway(tail);
    };
    let kept = Kept::of(fields, keep_length);
    let Some(mut map) = fields.to_map(|field| kept.holds(field)) else {
        return bad_gateway(tail);
    };
    if let Some(length) = kept.rewritten {
        map.insert(header::CONTENT_LENGTH, length.into());
    }
    tail.responds(status);
    response.take_head();
    let body = if response.is_here() {
        let whole = poll_fn(|cx| Poll::Ready(whole(cx, &mut response, &mut upload)));
        Body::whole(whole.await, tail)
    } else {
        Body::streamed(response, upload, tail)
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = map;
    answer
}

/// A body that has been read together with its head.
fn whole(cx: &mut Context<'_>, response: &mut exchange::Response, upload: &mut Upload) -> Bytes {
    let length = response.remaining().unwrap_or(0);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    while let Poll::Ready(Ok(ResponsePart::Data(_))) =
        response.poll_body(cx, upload, &mut bytes, Chunks::None, usize::MAX)
    {}
    bytes.into()
}

fn framing(method: &Method, fields: &http::HeaderMap, body: &Incoming) -> RequestFraming {
    if !body.is_end_stream() {
        return match body.size_hint().exact() {
            Some(length) => RequestFraming::Length(length),
            None => RequestFraming::Chunked,
        };
    }
    if fields.contains_key(header::CONTENT_LENGTH) {
        RequestFraming::Length(0)
    } else {
        RequestFraming::of_none(method)
    }
}

/// Bytes of most heads: a connection has up to 128 requests at once, so nothing larger is lent out.
const TEXT: usize = 768;
