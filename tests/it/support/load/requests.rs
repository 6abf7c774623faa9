//! Requests at a fixed rate.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::wire::{self, Bad, Http1, PATIENCE, Whole, chain};
use super::{Board, Failure, Kind, Target};

/// Sends `rate` of them a second until told to stop; ends when the last is answered.
pub(super) async fn send(
    kind: Kind,
    rate: u32,
    target: Target,
    board: Board,
    mut stop: watch::Receiver<bool>,
) {
    let client = Arc::new(Client {
        kind,
        target,
        number: AtomicU64::default(),
        kept: Mutex::default(),
        h2: Mutex::default(),
    });
    let mut ticks = interval(Duration::from_secs(1) / rate);
    // A client that is kept from its work is not the server's doing.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut waiting = JoinSet::new();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            _ = ticks.tick() => {}
        }
        let due = Instant::now();
        while waiting.try_join_next().is_some() {}
        let (client, board) = (Arc::clone(&client), board.clone());
        if waiting.len() >= MOST_WAITING {
            board.lock().note(kind).skipped += 1;
            continue;
        }
        waiting.spawn(async move {
            let asked = client.ask().await;
            note(kind, &board, due, asked);
        });
    }
    while waiting.join_next().await.is_some() {}
}

fn note(kind: Kind, board: &Board, due: Instant, asked: Result<(), Bad>) {
    let mut report = board.lock();
    let tally = report.note(kind);
    match asked {
        Ok(()) => {
            tally.good += 1;
            tally.took.push(due.elapsed());
        }
        Err(bad) => tally.failed.push(Failure {
            at: SystemTime::now(),
            took: due.elapsed(),
            status: bad.status,
            what: bad.what,
        }),
    }
}

/// One of a kind, with its connections.
struct Client {
    kind: Kind,
    target: Target,
    number: AtomicU64,
    /// Idle ones.
    kept: Mutex<Vec<Http1>>,
    h2: Mutex<Vec<Http2>>,
}

#[derive(Clone)]
struct Http2 {
    sender: h2::client::SendRequest<Bytes>,
    streams: Arc<AtomicUsize>,
}

impl Client {
    async fn ask(&self) -> Result<(), Bad> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        match self.kind {
            Kind::Kept => self.check(self.on_kept(self.get(number)).await?, number),
            Kind::Fresh => {
                let mut sender = wire::http1(&self.target).await?;
                let response = wire::ask(&mut sender, self.get(number)).await?;
                self.check(wire::whole(response).await?, number)
            }
            Kind::H2 => self.check(self.on_h2(number).await?, number),
            Kind::Post => self.upload(Method::POST, number).await,
            _ => self.upload(Method::PUT, number).await,
        }
    }

    fn get(&self, number: u64) -> Request<Full<Bytes>> {
        let request = Request::get(format!("/json?{number}")).header("host", &*self.target.host);
        request.body(Full::default()).unwrap()
    }

    /// It is the answer to this request, and of the right container.
    fn check(&self, answer: Whole, number: u64) -> Result<(), Bad> {
        let seen = serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap_or_default();
        let expected = format!("/json?{number}");
        let right = seen["uri"] == *expected && seen["name"] == *self.target.name;
        match answer.status == 200 && right {
            true => Ok(()),
            false => Err(answer.bad()),
        }
    }

    /// A body that differs from one request to the next, told by its length and its hash.
    async fn upload(&self, method: Method, number: u64) -> Result<(), Bad> {
        let length = (number * 7919 % (64 << 10)) as usize;
        let body: Bytes = (0..length)
            .map(|at| (at as u64 * 31 + number) as u8)
            .collect();
        let hash = digest(&SHA256, &body);
        let hash: String = hash
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let request = Request::builder().method(method).uri("/upload");
        let request = request.header("host", &*self.target.host);
        let answer = self.on_kept(request.body(body.into()).unwrap()).await?;
        let expected = serde_json::json!({ "length": length, "sha256": hash });
        let seen = serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap_or_default();
        match answer.status == 200 && seen == expected {
            true => Ok(()),
            false => Err(answer.bad()),
        }
    }

    async fn on_kept(&self, request: Request<Full<Bytes>>) -> Result<Whole, Bad> {
        let idle = || {
            let mut kept = self.kept.lock().unwrap();
            kept.retain(|sender| !sender.is_closed());
            let at = kept.iter().position(Http1::is_ready)?;
            Some(kept.swap_remove(at))
        };
        let mut sender = match idle() {
            Some(sender) => sender,
            None => wire::http1(&self.target).await?,
        };
        let response = wire::ask(&mut sender, request).await?;
        let whole = wire::whole(response).await?;
        self.kept.lock().unwrap().push(sender);
        Ok(whole)
    }

    async fn on_h2(&self, number: u64) -> Result<Whole, Bad> {
        let url = format!("https://{}/json?{number}", self.target.host);
        let client = self.h2_connection().await?;
        let _stream = Stream(Arc::clone(&client.streams));
        let asked = async {
            let sender = client.sender.ready().await;
            let mut sender = sender.map_err(|e| chain("not ready", &e))?;
            let request = Request::get(url).body(()).unwrap();
            let (response, _) =
                (sender.send_request(request, true)).map_err(|e| chain("send", &e))?;
            let (head, mut stream) = response
                .await
                .map_err(|e| chain("no answer", &e))?
                .into_parts();
            let mut body = Vec::new();
            while let Some(data) = stream.data().await {
                let data = data.map_err(|e| chain(&format!("{head:?}"), &e))?;
                let _ = stream.flow_control().release_capacity(data.len());
                body.extend(data);
            }
            Ok(Whole {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.into(),
            })
        };
        match timeout(PATIENCE, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no end within {PATIENCE:?}").into()),
        }
    }

    /// One with room for a stream.
    async fn h2_connection(&self) -> Result<Http2, Bad> {
        let free = |all: &Vec<Http2>| {
            let mut free = all
                .iter()
                .filter(|c| c.streams.load(Ordering::Relaxed) < STREAMS);
            free.next().cloned()
        };
        if let Some(found) = free(&self.h2.lock().unwrap()) {
            found.streams.fetch_add(1, Ordering::Relaxed);
            return Ok(found);
        }
        let tls = wire::tls(&self.target, true).await?;
        let connected = h2::client::handshake(tls).await;
        let (sender, connection) = connected.map_err(|e| chain("handshake", &e))?;
        let client = Http2 {
            sender,
            streams: Arc::new(AtomicUsize::new(1)),
        };
        self.h2.lock().unwrap().push(client.clone());
        let streams = Arc::clone(&client.streams);
        tokio::spawn(async move {
            let _ = connection.await;
            // Never again.
            streams.fetch_add(STREAMS, Ordering::Relaxed);
        });
        Ok(client)
    }
}

/// Counted down when it ends, however it does.
struct Stream(Arc<AtomicUsize>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Streams of one connection; Wharf allows a few more.
const STREAMS: usize = 80;
/// Of a kind. More than any deployment keeps waiting: a machine that cannot keep pace, and would only fall behind
/// for good.
const MOST_WAITING: usize = 1000;
