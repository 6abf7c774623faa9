//! Streams that stay open: WebSockets, slow downloads, event streams. One that ends is opened again.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::wire::{self, Bad, PATIENCE, chain};
use super::{Board, Cut, Failure, Kind, Target};

/// How an open stream came to its end.
enum End {
    Stopped,
    /// As it should.
    Whole,
    Cut(String),
    /// Something came that should not.
    Wrong(String),
}

/// One socket after the other, a message every `beat`.
pub(super) async fn sockets(
    target: Target,
    secure: bool,
    beat: Duration,
    board: Board,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow_and_update() {
        let begun = Instant::now();
        let opened = async {
            let url = format!("ws://{}/ws", target.host);
            if secure {
                talk(wire::tls(&target, false).await?, url).await
            } else {
                talk(wire::tcp(target.http).await?, url).await
            }
        };
        let Some(opened) = until(&mut stop, timeout(PATIENCE, opened)).await else {
            return;
        };
        let opened = opened.unwrap_or_else(|_| Err(format!("none within {PATIENCE:?}").into()));
        let (mut socket, host) = match opened {
            Ok(opened) => opened,
            Err(bad) => {
                fail(&board, Kind::Socket, begun, bad).await;
                continue;
            }
        };
        open(&board, Kind::Socket, begun);
        let opened = Instant::now();
        let mut number = 0_u64;
        let end = loop {
            match until(&mut stop, echo(&mut socket, number)).await {
                None => {
                    let _ = socket.close(None).await;
                    break End::Stopped;
                }
                Some(Err(end)) => break end,
                Some(Ok(())) => board.lock().note(Kind::Socket).good += 1,
            }
            number += 1;
            // What comes meanwhile is an end, or nobody's message.
            let quiet = async { timeout(beat, socket.next()).await };
            match until(&mut stop, quiet).await {
                Some(Err(_)) => {}
                Some(Ok(came)) => break End::Cut(format!("idle: {came:?}")),
                None => {
                    let _ = socket.close(None).await;
                    break End::Stopped;
                }
            }
        };
        close(&board, Kind::Socket, opened, host, end);
    }
}

type Socket = WebSocketStream<Box<dyn Stream>>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The socket, and whom it leads to.
async fn talk(stream: impl Stream + 'static, url: String) -> Result<(Socket, String), Bad> {
    let stream: Box<dyn Stream> = Box::new(stream);
    match client_async(url, stream).await {
        Ok((socket, response)) => {
            let host = response.headers().get("x-hostname");
            let host = host.map_or("", |host| host.to_str().unwrap_or_default());
            Ok((socket, host.to_owned()))
        }
        Err(Error::Http(response)) => Err(Bad {
            status: Some(response.status().as_u16()),
            what: format!("{response:?}"),
        }),
        Err(error) => Err(chain("no socket", &error).into()),
    }
}

async fn echo(socket: &mut Socket, number: u64) -> Result<(), End> {
    let message = Message::text(format!("message {number}"));
    let sent = socket.send(message.clone()).await;
    sent.map_err(|error| End::Cut(chain("send", &error)))?;
    match timeout(PATIENCE, socket.next()).await {
        Ok(Some(Ok(echo))) if echo == message => Ok(()),
        Ok(Some(Ok(other))) => Err(End::Wrong(format!("{other:?} after {message:?}"))),
        Ok(Some(Err(error))) => Err(End::Cut(chain("receive", &error))),
        Ok(None) => Err(End::Cut("receive: the end".into())),
        Err(_) => Err(End::Wrong(format!("no echo within {PATIENCE:?}"))),
    }
}

/// One download or event stream after the other.
pub(super) async fn read(
    kind: Kind,
    target: Target,
    board: Board,
    mut stop: watch::Receiver<bool>,
) {
    let path = match kind {
        Kind::Download => format!("/drip/{PIECES}"),
        _ => "/events".to_owned(),
    };
    while !*stop.borrow_and_update() {
        let begun = Instant::now();
        let asked = async {
            let mut sender = wire::http1(&target).await?;
            let request = Request::get(&path).header("host", &*target.host);
            let request = request.body(Full::<Bytes>::default()).unwrap();
            let response = wire::ask(&mut sender, request).await?;
            match response.status().as_u16() {
                200 => Ok((response, sender)),
                _ => Err(wire::whole(response).await?.bad()),
            }
        };
        let Some(asked) = until(&mut stop, asked).await else {
            return;
        };
        let (response, _sender) = match asked {
            Ok(asked) => asked,
            Err(bad) => {
                fail(&board, kind, begun, bad).await;
                continue;
            }
        };
        open(&board, kind, begun);
        let opened = Instant::now();
        let host = response.headers().get("x-hostname");
        let host = host
            .map_or("", |host| host.to_str().unwrap_or_default())
            .to_owned();
        let body = response.into_body();
        let end = match kind {
            Kind::Download => until(&mut stop, download(body)).await,
            _ => until(&mut stop, events(body, &board)).await,
        };
        let end = end.unwrap_or(End::Stopped);
        if matches!(end, End::Whole) {
            board.lock().note(kind).good += 1;
        }
        close(&board, kind, opened, host, end);
    }
}

/// Every byte is the one of its place.
async fn download(mut body: hyper::body::Incoming) -> End {
    let mut at = 0;
    loop {
        let frame = match timeout(PATIENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return End::Cut(chain(&format!("at byte {at}"), &error)),
            Ok(None) if at == PIECES * 1000 => return End::Whole,
            Ok(None) => return End::Wrong(format!("an end at byte {at} that looks like one")),
            Err(_) => return End::Wrong(format!("nothing within {PATIENCE:?} at byte {at}")),
        };
        for byte in frame.data_ref().into_iter().flatten() {
            if usize::from(*byte) != at % 251 {
                return End::Wrong(format!("{byte} at byte {at}"));
            }
            at += 1;
        }
    }
}

/// Numbered from 1, none left out.
async fn events(mut body: hyper::body::Incoming, board: &Board) -> End {
    let mut text = Vec::new();
    let mut next = 1_u64;
    loop {
        let frame = match timeout(PATIENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                return End::Cut(chain(&format!("before event {next}"), &error));
            }
            Ok(None) => {
                return End::Wrong(format!("an end before event {next} that looks like one"));
            }
            Err(_) => return End::Wrong(format!("no event {next} within {PATIENCE:?}")),
        };
        text.extend(frame.data_ref().into_iter().flatten());
        while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = text.drain(..end + 2).collect();
            if event != format!("id: {next}\ndata: {next}\n\n").as_bytes() {
                let event = String::from_utf8_lossy(&event);
                return End::Wrong(format!("{event:?} instead of event {next}"));
            }
            next += 1;
            board.lock().note(Kind::Feed).good += 1;
        }
    }
}

/// `None` when told to stop.
async fn until<T>(stop: &mut watch::Receiver<bool>, what: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => None,
        done = what => Some(done),
    }
}

fn open(board: &Board, kind: Kind, begun: Instant) {
    let mut report = board.lock();
    let tally = report.note(kind);
    tally.open += 1;
    tally.took.push(begun.elapsed());
}

fn close(board: &Board, kind: Kind, opened: Instant, host: String, end: End) {
    let (at, lasted) = (SystemTime::now(), opened.elapsed());
    let mut report = board.lock();
    let tally = report.note(kind);
    tally.open -= 1;
    match end {
        End::Stopped | End::Whole => {}
        End::Cut(how) => tally.cut.push(Cut {
            at,
            lasted,
            host,
            how,
        }),
        End::Wrong(what) => tally.failed.push(Failure {
            at,
            took: lasted,
            status: Some(200),
            what: format!("of {host}: {what}"),
        }),
    }
}

async fn fail(board: &Board, kind: Kind, begun: Instant, bad: Bad) {
    board.lock().note(kind).failed.push(Failure {
        at: SystemTime::now(),
        took: begun.elapsed(),
        status: bad.status,
        what: bad.what,
    });
    // A server that refuses is not asked at full speed.
    sleep(Duration::from_millis(100)).await;
}

/// Of a download: 0.2 s at best.
const PIECES: usize = 10;
