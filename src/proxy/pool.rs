//! Idle upstream connections of one worker, by endpoint, last in first out. No locks: a connection
//! never leaves the worker that opened it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use foldhash::fast::RandomState;
use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_util::io::poll_read_buf;

use super::buffers::{Buffers, LARGE, SMALL};
use super::clock::{Clock, NEVER, TICK, Timer};
use super::http2::Trunk;
use super::stream::AppStream;
use super::worker::Worker;
use crate::dial::{self, Dialed};
use crate::model::{Address, Keepalive};
use crate::route::RouteTable;

/// One connection to an endpoint with its buffers.
pub(crate) struct Link {
    pub(crate) stream: AppStream,
    /// TLS holds bytes that were written and are not on their way yet.
    unflushed: bool,
    /// Bytes read; those before `read_at` are done with.
    read: Vec<u8>,
    read_at: usize,
    /// Whether the last read filled the buffer, so that a larger one may pay.
    filled: bool,
    /// Bytes to be written.
    pub(crate) out: Vec<u8>,
    pub(crate) timer: Timer,
    /// Whether it has carried a request before: then the endpoint may have closed it meanwhile.
    pub(crate) reused: bool,
    requests: u32,
    born: u32,
    idle_since: u32,
    /// When it has been idle for as long as its last route allows.
    idle_until: u32,
}

/// Why there is no connection.
pub(crate) enum OpenError {
    Connect(io::Error),
    /// Connected, but there is no TLS, or none that can be trusted.
    Handshake(io::Error),
}

/// TLS to one endpoint: what is wanted of it, and the same with sessions of its own, which other endpoints
/// of that name would not know.
struct Sessions {
    wanted: Arc<ClientConfig>,
    own: Arc<ClientConfig>,
}

/// Boxed, since a connection changes hands several times for each request.
type Links = Vec<Box<Link>>;

/// Connections of HTTP/2 to one endpoint.
#[derive(Default)]
struct Trunks {
    all: Vec<Rc<Trunk>>,
    dial: Option<Rc<Dialing>>,
}

/// A connection of HTTP/2 that is being made; others wait for it rather than make one, too.
pub(crate) struct Dialing {
    ended: Notify,
    /// It was in vain: whoever has waited tries for themselves.
    failed: Cell<bool>,
}

/// Makes a connection of HTTP/2; dropping it tells those who wait.
pub(crate) struct Dial<'a> {
    pool: &'a Pool,
    endpoint: u64,
    dialing: Rc<Dialing>,
}

/// A worker's connections that are idle, or can be shared.
pub(crate) struct Pool {
    clock: Rc<Clock>,
    /// One entry for each endpoint of the current table; a connection to any other is closed.
    idle: RefCell<HashMap<u64, Links, RandomState>>,
    /// Connections of HTTP/2, which requests share, and those being made, of the same endpoints.
    trunks: RefCell<HashMap<u64, Trunks, RandomState>>,
    serial: Cell<u64>,
    /// Of the endpoints that were spoken to over TLS.
    sessions: RefCell<HashMap<u64, Sessions, RandomState>>,
    /// Woken when something comes on an idle connection.
    reaper: RefCell<Waker>,
}

impl Link {
    /// Connects to `endpoint` at `address`, over TLS where `tls` says so.
    pub(crate) async fn open(
        address: &Address,
        endpoint: u64,
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
        clock: &Rc<Clock>,
    ) -> Result<Self, OpenError> {
        let stream = connect(address).await.map_err(OpenError::Connect)?;
        let stream = match (stream, tls) {
            (Dialed::Unix(stream), _) => AppStream::Unix(stream),
            (Dialed::Tcp(stream), None) => AppStream::Plain(stream),
            (Dialed::Tcp(stream), Some((config, name))) => {
                // Boxed: connections in clear need no room for it.
                let connecting = Box::pin(TlsConnector::from(config).connect(name, stream));
                let stream = connecting.await.map_err(OpenError::Handshake)?;
                AppStream::Tls(Box::new(stream))
            }
        };
        Ok(Self {
            stream,
            unflushed: false,
            read: Vec::new(),
            read_at: 0,
            filled: false,
            out: Vec::new(),
            timer: clock.timer_of(endpoint),
            reused: false,
            requests: 0,
            born: clock.now(),
            idle_since: clock.now(),
            idle_until: NEVER,
        })
    }

    /// Whether it may speak HTTP/2: over TLS the app has to have said so.
    pub(crate) fn agreed_on_http2(&self) -> bool {
        match &self.stream {
            AppStream::Plain(_) | AppStream::Unix(_) => true,
            AppStream::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(HTTP2),
        }
    }

    /// Over TLS: whether the handshake was short, thanks to an earlier one.
    pub(crate) fn resumed(&self) -> Option<bool> {
        match &self.stream {
            AppStream::Plain(_) | AppStream::Unix(_) => None,
            AppStream::Tls(stream) => {
                Some(stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed))
            }
        }
    }

    /// Writes from `at` on what is to be written.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        at: usize,
    ) -> Poll<io::Result<usize>> {
        self.unflushed |= matches!(self.stream, AppStream::Tls(_));
        Pin::new(&mut self.stream).poll_write(cx, &self.out[at..])
    }

    /// Whether all that was written is with the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.unflushed
    }

    /// Hands over what was written.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes read and not yet understood.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.read[self.read_at..]
    }

    /// Goes on behind `count` of them.
    pub(crate) fn consume(&mut self, count: usize) {
        self.read_at += count;
        if self.read_at >= self.read.len() {
            self.filled = self.read.len() == self.read.capacity();
            self.read.clear();
            self.read_at = 0;
        }
    }

    /// Reads on.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
    ) -> Poll<io::Result<usize>> {
        if self.read.capacity() == 0 {
            self.read = buffers.small();
        } else if self.read.is_empty() && self.filled && self.read.capacity() < LARGE {
            buffers.give(std::mem::replace(&mut self.read, buffers.large()));
        } else if self.read.len() == self.read.capacity() {
            self.read.drain(..self.read_at);
            self.read_at = 0;
            self.read.reserve(SMALL);
        }
        let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read);
        if read.is_pending() && self.read.is_empty() {
            // An endpoint may think for long.
            buffers.reclaim(&mut self.read);
        }
        read
    }

    /// Gives its buffers back: there is nothing in them any more.
    pub(crate) fn give_back(&mut self, buffers: &Buffers) {
        buffers.reclaim(&mut self.read);
        buffers.reclaim(&mut self.out);
        self.read_at = 0;
    }

    /// Whether nothing came on it while it was idle: neither an end nor bytes nobody asked for.
    /// Costs a system call only when the kernel has told of something.
    fn is_quiet(&mut self) -> bool {
        match &self.stream {
            AppStream::Plain(stream) => is_quiet(stream.try_read(&mut [0])),
            AppStream::Unix(stream) => is_quiet(stream.try_read(&mut [0])),
            AppStream::Tls(_) => self.rests(&mut Context::from_waker(Waker::noop())),
        }
    }

    /// Whether it is quiet, and wakes `cx` when it no longer is.
    fn rests(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.stream {
            // The first readiness may be left over from the last response; reading clears it.
            AppStream::Plain(stream) => {
                stream.poll_read_ready(cx).is_pending()
                    || (is_quiet(stream.try_read(&mut [0]))
                        && stream.poll_read_ready(cx).is_pending())
            }
            AppStream::Unix(stream) => {
                stream.poll_read_ready(cx).is_pending()
                    || (is_quiet(stream.try_read(&mut [0]))
                        && stream.poll_read_ready(cx).is_pending())
            }
            // What comes may be TLS's own: tickets for the next handshake.
            AppStream::Tls(stream) => {
                let mut room = [0];
                let mut room = ReadBuf::new(&mut room);
                Pin::new(stream).poll_read(cx, &mut room).is_pending()
            }
        }
    }
}

async fn connect(address: &Address) -> io::Result<Dialed> {
    let stream = dial::connect(address).await?;
    if let Dialed::Tcp(stream) = &stream {
        stream.set_nodelay(true)?;
        SockRef::from(stream).set_tcp_keepalive(&keepalive())?;
    }
    Ok(stream)
}

fn is_quiet(read: io::Result<usize>) -> bool {
    matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

impl Pool {
    pub(crate) fn new(clock: Rc<Clock>) -> Self {
        Self {
            clock,
            idle: RefCell::default(),
            trunks: RefCell::default(),
            serial: Cell::new(0),
            sessions: RefCell::default(),
            reaper: RefCell::new(Waker::noop().clone()),
        }
    }

    /// Closes idle connections soon after their endpoint does; never returns.
    ///
    /// A container that stops must see its FIN answered before its network goes away: a socket left
    /// half closed keeps the kernel talking to an address that the next container may get, whose
    /// first connection then waits for that to be sorted out (up to a second).
    pub(crate) async fn reap(&self) {
        loop {
            let mut looked = false;
            poll_fn(|cx| {
                if looked {
                    return Poll::Ready(());
                }
                looked = true;
                self.reaper.replace(cx.waker().clone());
                for links in self.idle.borrow_mut().values_mut() {
                    links.retain_mut(|link| link.rests(cx));
                }
                Poll::Pending
            })
            .await;
            // An application that closes a thousand connections one by one is one look's work.
            tokio::time::sleep(REAP_GAP).await;
        }
    }

    /// Follows a new table: connections to endpoints that left it are closed.
    pub(crate) fn follow(&self, table: &RouteTable) {
        let mut old = std::mem::take(&mut *self.idle.borrow_mut());
        let endpoints = table
            .upstreams
            .iter()
            .flat_map(|upstream| &upstream.endpoints);
        *self.idle.borrow_mut() = endpoints
            .map(|endpoint| {
                (
                    endpoint.live.id,
                    old.remove(&endpoint.live.id).unwrap_or_default(),
                )
            })
            .collect();
        let idle = self.idle.borrow();
        self.trunks.borrow_mut().retain(|id, trunks| {
            let stays = idle.contains_key(id);
            if !stays {
                trunks.all.iter().for_each(|trunk| trunk.retire());
            }
            stays
        });
        self.sessions
            .borrow_mut()
            .retain(|id, _| idle.contains_key(id));
    }

    /// What is wanted of TLS to an endpoint, with the sessions this worker has had with it.
    pub(crate) fn tls(
        &self,
        endpoint: u64,
        wanted: &Arc<ClientConfig>,
        http2: bool,
    ) -> Arc<ClientConfig> {
        let mut sessions = self.sessions.borrow_mut();
        let known = sessions.get(&endpoint);
        if let Some(known) = known.filter(|known| Arc::ptr_eq(&known.wanted, wanted)) {
            return Arc::clone(&known.own);
        }
        let mut own = ClientConfig::clone(wanted);
        if http2 {
            own.alpn_protocols = vec![HTTP2.to_vec()];
        }
        own.resumption = Resumption::in_memory_sessions(TICKETS);
        let own = Arc::new(own);
        let new = Sessions {
            wanted: Arc::clone(wanted),
            own: Arc::clone(&own),
        };
        sessions.insert(endpoint, new);
        own
    }

    /// The connection used last, if it still looks alive. A request that cannot be sent twice
    /// (`once`) takes none that has rested for more than [`ONCE_IDLE`]: the endpoint may be closing
    /// it at this very moment, and such a request could not be retried.
    pub(crate) fn take(&self, endpoint: u64, once: bool) -> Option<Box<Link>> {
        let mut idle = self.idle.borrow_mut();
        let links = idle.get_mut(&endpoint)?;
        let now = self.clock.now();
        let oldest = now.saturating_sub(ticks(ONCE_IDLE));
        if once && links.last().is_some_and(|link| link.idle_since < oldest) {
            return None;
        }
        while let Some(mut link) = links.pop() {
            if now < link.idle_until && link.is_quiet() {
                link.reused = true;
                return Some(link);
            }
        }
        None
    }

    /// Keeps a connection whose exchange ended cleanly, if its route wants that.
    pub(crate) fn put(&self, endpoint: u64, mut link: Box<Link>, keepalive: &Keepalive) {
        let now = self.clock.now();
        link.requests = link.requests.saturating_add(1);
        let worn = keepalive.requests > 0 && link.requests >= keepalive.requests;
        let old = !keepalive.time.is_zero() && now - link.born > ticks(keepalive.time);
        if worn || old {
            return;
        }
        link.timer.forget();
        link.idle_since = now;
        link.idle_until = match keepalive.timeout.is_zero() {
            true => NEVER,
            false => now.saturating_add(ticks(keepalive.timeout).max(1)),
        };
        if let Some(links) = self.idle.borrow_mut().get_mut(&endpoint)
            && links.len() < keepalive.idle as usize
            && link.is_flushed()
            && link.rests(&mut Context::from_waker(&self.reaper.borrow()))
        {
            links.push(link);
        }
    }

    /// Closes what has been idle for too long. Called every second.
    pub(crate) fn expire(&self) {
        let now = self.clock.now();
        for links in self.idle.borrow_mut().values_mut() {
            links.retain(|link| now < link.idle_until);
        }
        for trunks in self.trunks.borrow_mut().values_mut() {
            trunks.all.iter().for_each(|trunk| trunk.expire(now));
            trunks.all.retain(|trunk| !trunk.is_ending());
        }
    }

    /// A connection of HTTP/2 with a place for one more request, made after the one with the serial number
    /// `after`.
    pub(crate) fn trunk(&self, endpoint: u64, after: u64) -> Option<Rc<Trunk>> {
        let mut trunks = self.trunks.borrow_mut();
        let all = &mut trunks.get_mut(&endpoint)?.all;
        all.retain(|trunk| !trunk.is_ending());
        let mut newer = all.iter().filter(|trunk| trunk.serial > after);
        newer.find(|trunk| trunk.has_place()).cloned()
    }

    /// The connection of HTTP/2 that is being made.
    pub(crate) fn dialing(&self, endpoint: u64) -> Option<Rc<Dialing>> {
        self.trunks.borrow().get(&endpoint)?.dial.clone()
    }

    /// One is about to be made.
    pub(crate) fn dial(&self, endpoint: u64) -> Dial<'_> {
        let dialing = Rc::new(Dialing {
            ended: Notify::new(),
            failed: Cell::new(true),
        });
        let mut trunks = self.trunks.borrow_mut();
        let dial = &mut trunks.entry(endpoint).or_default().dial;
        dial.get_or_insert_with(|| Rc::clone(&dialing));
        Dial {
            pool: self,
            endpoint,
            dialing,
        }
    }

    /// Closes everything.
    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().clear();
        for trunks in self.trunks.borrow().values() {
            trunks
                .all
                .iter()
                .filter(|trunk| trunk.is_idle())
                .for_each(|trunk| trunk.retire());
        }
    }
}

impl Dialing {
    /// Waits for its end. Whether it was in vain.
    pub(crate) async fn ended(&self) -> bool {
        self.ended.notified().await;
        self.failed.get()
    }
}

impl Dial<'_> {
    /// It is made.
    pub(crate) fn done(self, worker: &Rc<Worker>, stream: AppStream) -> Rc<Trunk> {
        self.pool.serial.set(self.pool.serial.get() + 1);
        let trunk = Trunk::begin(worker, stream, self.endpoint, self.pool.serial.get());
        let mut trunks = self.pool.trunks.borrow_mut();
        let of = trunks.entry(self.endpoint).or_default();
        of.all.push(Rc::clone(&trunk));
        drop(trunks);
        self.dialing.failed.set(false);
        trunk
    }
}

impl Drop for Dial<'_> {
    fn drop(&mut self) {
        if let Some(trunks) = self.pool.trunks.borrow_mut().get_mut(&self.endpoint)
            && trunks
                .dial
                .as_ref()
                .is_some_and(|dial| Rc::ptr_eq(dial, &self.dialing))
        {
            trunks.dial = None;
        }
        self.dialing.ended.notify_waiters();
    }
}

/// Finds a dead peer within two minutes: probes after a minute of silence, then six, 10 s apart.
pub(crate) fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(6)
}

pub(crate) fn ticks(duration: Duration) -> u32 {
    // In 64 bits: this is done for every request.
    let whole = duration.as_secs() * TICKS_A_SECOND;
    let ticks = whole + u64::from(duration.subsec_millis() / TICK.as_millis() as u32);
    u32::try_from(ticks).unwrap_or(NEVER)
}

/// ALPN (RFC 9113 section 3.3).
const HTTP2: &[u8] = b"h2";
const TICKS_A_SECOND: u64 = 1000 / TICK.as_millis() as u64;
/// Between two looks for connections that were closed; a network outlives its container for longer.
const REAP_GAP: Duration = Duration::from_millis(20);
/// Sessions kept of an endpoint that may be resumed; rustls keeps as many tickets of a name.
const TICKETS: usize = 8;
/// See [`Pool::take`].
const ONCE_IDLE: Duration = Duration::from_secs(1);
