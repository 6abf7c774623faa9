//! Idle upstream connections of one worker, by endpoint, last in first out. No locks: a connection
//! never leaves the worker that opened it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foldhash::fast::RandomState;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use super::buffers::{Buffers, LARGE, SMALL};
use super::clock::{Clock, NEVER, TICK, Timer};
use crate::model::Keepalive;
use crate::route::RouteTable;

/// One connection to an endpoint with its buffers.
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
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

/// Boxed, since a connection changes hands several times for each request.
type Links = Vec<Box<Link>>;

/// A worker's idle connections.
pub(crate) struct Pool {
    clock: Rc<Clock>,
    /// One entry for each endpoint of the current table; a connection to any other is closed.
    idle: RefCell<HashMap<u64, Links, RandomState>>,
    /// Woken when something comes on an idle connection.
    reaper: RefCell<Waker>,
}

impl Link {
    /// Connects to `endpoint` at `address`.
    pub(crate) async fn open(
        address: SocketAddr,
        endpoint: u64,
        clock: &Rc<Clock>,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
        Ok(Self {
            stream,
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
    fn is_quiet(&self) -> bool {
        let read = self.stream.try_read(&mut [0]);
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether it is quiet, and wakes `cx` when it no longer is.
    fn rests(&self, cx: &mut Context<'_>) -> bool {
        // The first readiness may be left over from the last response; reading clears it.
        self.stream.poll_read_ready(cx).is_pending()
            || (self.is_quiet() && self.stream.poll_read_ready(cx).is_pending())
    }
}

impl Pool {
    pub(crate) fn new(clock: Rc<Clock>) -> Self {
        Self {
            clock,
            idle: RefCell::default(),
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
                    links.retain(|link| link.rests(cx));
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
    }

    /// Closes everything.
    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}

/// Finds a dead peer within two minutes: probes after a minute of silence, then six, 10 s apart.
pub(crate) fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(6)
}

fn ticks(duration: Duration) -> u32 {
    // In 64 bits: this is done for every request.
    let whole = duration.as_secs() * TICKS_A_SECOND;
    let ticks = whole + u64::from(duration.subsec_millis() / TICK.as_millis() as u32);
    u32::try_from(ticks).unwrap_or(NEVER)
}

const TICKS_A_SECOND: u64 = 1000 / TICK.as_millis() as u64;
/// Between two looks for connections that were closed; a network outlives its container for longer.
const REAP_GAP: Duration = Duration::from_millis(20);
/// See [`Pool::take`].
const ONCE_IDLE: Duration = Duration::from_secs(1);
