//! The app in HTTP/2 without an upgrade (`H2C=1`), or over TLS where that was agreed on: what a server of gRPC
//! does, and its ways to end a request.
//!
//! | path             | answers |
//! |------------------|---------|
//! | `/json` (any other) | the request as JSON |
//! | `/bytes/N`       | N bytes with Content-Length; the byte at offset i is i mod 251 |
//! | `/stream/N`      | the same without a length |
//! | `/count`         | reads the body, answers its length, and its trailers as the fields `x-trailer-…` |
//! | `/echo`          | what comes, as it comes, then the trailer `x-count` with the number of bytes |
//! | `/hint`          | 103 with a `link`, then 200 |
//! | `/status/N`      | status N |
//! | `/sleep/MS`      | 200 after MS milliseconds |
//! | `/never`         | nothing |
//! | `/reset/N`       | resets the stream with the error code N, before an answer |
//! | `/cut/N`         | an answer, some of it, then a reset with the error code N |
//! | `/goaway`        | 200, and takes no more requests on this connection |
//! | `/waiting`       | how many requests to `/never` and `/echo` are under way |
//! | `/test.Echo/…`   | gRPC: each message as it comes, then `grpc-status: 0` |
//! | `/grpc.health.v1.Health/Check` | gRPC: SERVING, or NOT_SERVING with `HEALTH` other than 200 |

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};

use super::{Client, Io, Me, Pattern, number, seen};

/// Requests under way whose end is somebody else's to say.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Counts one of them.
struct Waits;

impl Waits {
    fn new() -> Self {
        WAITING.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(me: Arc<Me>, client: Arc<Client>, stream: Box<dyn Io>) {
    let mut builder = h2::server::Builder::new();
    if let Some(most) = number("MAX_STREAMS") {
        builder.max_concurrent_streams(most.into());
    }
    let Ok(mut connection): Result<Connection<_, Bytes>, _> = builder.handshake(stream).await
    else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        if request.uri().path() == "/goaway" {
            connection.graceful_shutdown();
        }
        let (me, client) = (me.clone(), client.clone());
        tokio::spawn(async move {
            // Whoever leaves is no concern of a sample app.
            let _ = answer(&me, &client, request, respond).await;
        });
    }
}

async fn answer(
    me: &Me,
    client: &Client,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let path = request.uri().path().to_owned();
    let (first, rest) = path[1.min(path.len())..]
        .split_once('/')
        .unwrap_or_else(|| (path.trim_start_matches('/'), ""));
    let count = rest.parse::<u32>().unwrap_or(0);
    let plain = |status: StatusCode| {
        let mut response = Response::new(());
        *response.status_mut() = status;
        response
    };
    match first {
        "bytes" | "stream" => {
            let mut response = plain(StatusCode::OK);
            if first == "bytes" {
                let length = HeaderValue::from(count);
                response.headers_mut().insert("content-length", length);
            }
            let mut stream = respond.send_response(response, false)?;
            for piece in Pattern::new(count.into()).pieces() {
                send(&mut stream, piece).await?;
            }
            stream.send_data(Bytes::new(), true)
        }
        "count" => {
            let mut body = request.into_body();
            let mut total = 0;
            while let Some(data) = body.data().await {
                let data = data?;
                total += data.len();
                let _ = body.flow_control().release_capacity(data.len());
            }
            let mut response = plain(StatusCode::OK);
            for (name, value) in &body.trailers().await?.unwrap_or_default() {
                let name = format!("x-trailer-{name}");
                let name = http::HeaderName::try_from(name).expect("a name and a prefix");
                response.headers_mut().insert(name, value.clone());
            }
            whole(&mut respond, response, format!("{total}"))
        }
        "echo" => {
            let _waits = Waits::new();
            let mut body = request.into_body();
            let mut stream = respond.send_response(plain(StatusCode::OK), false)?;
            let mut total = 0_usize;
            while let Some(data) = body.data().await {
                let data = data?;
                total += data.len();
                let _ = body.flow_control().release_capacity(data.len());
                send(&mut stream, data).await?;
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("x-count", HeaderValue::from(total));
            stream.send_trailers(trailers)
        }
        "hint" => {
            let mut hint = plain(StatusCode::EARLY_HINTS);
            let link = HeaderValue::from_static("</style.css>; rel=preload");
            hint.headers_mut().insert("link", link);
            respond.send_informational(hint)?;
            whole(&mut respond, plain(StatusCode::OK), "hinted\n".into())
        }
        "status" => {
            let status = u16::try_from(count).ok().map(StatusCode::from_u16);
            let status = status
                .and_then(Result::ok)
                .unwrap_or(StatusCode::BAD_REQUEST);
            if matches!(status.as_u16(), 204 | 304) {
                return respond.send_response(plain(status), true).map(drop);
            }
            whole(&mut respond, plain(status), format!("{status}\n"))
        }
        "sleep" => {
            tokio::time::sleep(Duration::from_millis(count.into())).await;
            whole(&mut respond, plain(StatusCode::OK), "slept\n".into())
        }
        "never" => {
            let _waits = Waits::new();
            std::future::poll_fn(|cx| respond.poll_reset(cx)).await?;
            Ok(())
        }
        "reset" => {
            respond.send_reset(Reason::from(count));
            Ok(())
        }
        "cut" => {
            let mut stream = respond.send_response(plain(StatusCode::OK), false)?;
            send(&mut stream, Bytes::from_static(b"some of it")).await?;
            // What was sent is to arrive first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.send_reset(Reason::from(count));
            Ok(())
        }
        "waiting" => {
            let waiting = WAITING.load(Ordering::SeqCst);
            whole(&mut respond, plain(StatusCode::OK), format!("{waiting}"))
        }
        "test.Echo" => call(request, respond).await,
        "grpc.health.v1.Health" => {
            let serving = me.health.load(Ordering::Relaxed) == 200;
            let mut stream = respond.send_response(grpc(), false)?;
            let message = [0, 0, 0, 0, 2, 8, if serving { 1 } else { 2 }];
            send(&mut stream, Bytes::copy_from_slice(&message)).await?;
            stream.send_trailers(status("0"))
        }
        _ => {
            let mut response = plain(StatusCode::OK);
            let kind = HeaderValue::from_static("application/json");
            response.headers_mut().insert("content-type", kind);
            let told = serde_json::to_string(&seen(me, &request, client));
            whole(&mut respond, response, told.unwrap_or_default())
        }
    }
}

/// Each message goes back as soon as it is whole.
async fn call(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let _waits = Waits::new();
    let te = request.headers().get("te").cloned();
    let mut response = grpc();
    if let Some(te) = te {
        response.headers_mut().insert("x-te", te);
    }
    let mut body = request.into_body();
    let mut stream = respond.send_response(response, false)?;
    let mut here = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        here.put(data);
        while let Some(len) = here.get(1..5) {
            let len = u32::from_be_bytes(len.try_into().expect("four of them"));
            let Some(_) = here.get(..5 + len as usize) else {
                break;
            };
            let message = here.split_to(5 + len as usize).freeze();
            send(&mut stream, message).await?;
        }
    }
    stream.send_trailers(status("0"))
}

fn grpc() -> Response<()> {
    let mut response = Response::new(());
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    response
}

fn status(code: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    trailers
}

fn whole(
    respond: &mut SendResponse<Bytes>,
    response: Response<()>,
    text: String,
) -> Result<(), h2::Error> {
    respond
        .send_response(response, false)?
        .send_data(text.into(), true)
}

/// As the other side's window allows.
async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let Some(room) = room.transpose()? else {
            return Ok(());
        };
        stream.send_data(data.split_to(room.min(data.len())), false)?;
    }
    Ok(())
}
