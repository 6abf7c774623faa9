//! One thread: its runtime, listeners, pool and connections. Workers share only the routing table,
//! the certificate index and counters.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::addresses::{Addresses, Seat, seat};
use super::auths::Auths;
use super::buffers::Buffers;
use super::clock::{Clock, Ticker};
use super::encoder::Encoders;
use super::error_files::ErrorFiles;
use super::exchange::KeptBytes;
use super::http2::Lanes;
use super::pipe::Pipes;
use super::pool::Pool;
use super::{Engine, conn};
use crate::access::AccessWriter;
use crate::metrics::{ConnectionMetrics, WorkerMetrics};
use crate::route::{Cached, RouteTable};
use crate::shutdown::{Stage, Stop};
use crate::webroot::Recent;

/// A worker's own state; everything here stays on its thread.
pub(crate) struct Worker {
    pub(crate) engine: Arc<Engine>,
    pub(crate) clock: Rc<Clock>,
    pub(crate) pool: Pool,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) access: Option<AccessWriter>,
    pub(crate) buffers: Buffers,
    pub(crate) kept: KeptBytes,
    pub(crate) lanes: Lanes,
    pub(crate) pipes: Rc<Pipes>,
    pub(crate) encoders: Encoders,
    /// Small files that were read a moment ago.
    pub(crate) files: Recent,
    cached: RefCell<Cached>,
    pub(crate) error_files: ErrorFiles,
    /// Who was let in a moment ago.
    pub(crate) auths: Auths,
    pinned: RefCell<Rc<Pinned>>,
    draining: Cell<bool>,
    /// When a peer's fault was last told as a warning.
    complained: Cell<Option<Instant>>,
    /// When it was last told that an address has too many connections.
    turned_away: Cell<Option<Instant>>,
    connections: Cell<usize>,
    /// The table has changed, or something of what it holds.
    pub(crate) changed: Notify,
    /// A connection closed.
    closed: Notify,
    /// Draining began.
    pub(crate) drain: Notify,
    next_id: Cell<u64>,
}

/// A table as requests hold it: cloning is no atomic operation.
pub(crate) struct Pinned(Arc<RouteTable>);

impl std::ops::Deref for Pinned {
    type Target = RouteTable;

    fn deref(&self) -> &RouteTable {
        &self.0
    }
}

/// The sockets of one worker.
#[derive(Debug, Default)]
pub struct Listeners {
    pub http: Option<StdListener>,
    pub https: Option<StdListener>,
}

/// Runs a worker until it has drained. Blocks the calling thread.
///
/// # Errors
/// Only when the runtime or the listeners cannot be set up.
pub fn run(
    engine: Arc<Engine>,
    listeners: Listeners,
    metrics: Arc<WorkerMetrics>,
    access: Option<AccessWriter>,
    stop: Stop,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async move {
        let http = listeners.http.map(TcpListener::from_std).transpose()?;
        let https = listeners.https.map(TcpListener::from_std).transpose()?;
        let worker = Rc::new(Worker::new(engine, metrics, access));
        worker.serve(http, https, stop).await;
        Ok(())
    })
}

impl Worker {
    fn new(engine: Arc<Engine>, metrics: Arc<WorkerMetrics>, access: Option<AccessWriter>) -> Self {
        let clock = Clock::new();
        let cached = engine.table.cached();
        let pinned = Rc::new(Pinned(engine.table.load()));
        Self {
            pool: Pool::new(Rc::clone(&clock)),
            metrics,
            access,
            buffers: Buffers::default(),
            kept: KeptBytes::default(),
            lanes: Lanes::new(),
            pipes: Rc::default(),
            encoders: Encoders::default(),
            files: Recent::default(),
            auths: Auths::default(),
            error_files: ErrorFiles::default(),
            cached: RefCell::new(cached),
            pinned: RefCell::new(pinned),
            draining: Cell::new(false),
            complained: Cell::new(None),
            turned_away: Cell::new(None),
            connections: Cell::new(0),
            changed: Notify::new(),
            closed: Notify::new(),
            drain: Notify::new(),
            next_id: Cell::new(seed()),
            clock,
            engine,
        }
    }

    async fn serve(
        self: Rc<Self>,
        http: Option<TcpListener>,
        https: Option<TcpListener>,
        mut stop: Stop,
    ) {
        self.pool.follow(&self.pinned.borrow());
        let tick = spawn_local(Rc::clone(&self).tick());
        let follow = spawn_local(Rc::clone(&self).follow());
        let reaper = Rc::clone(&self);
        let reap = spawn_local(async move { reaper.pool.reap().await });
        let plain = http.map(|listener| {
            spawn_local(Rc::clone(&self).accept(listener, conn::serve_plain, |m| &m.http))
        });
        let tls = https.map(|listener| {
            spawn_local(Rc::clone(&self).accept(listener, conn::serve_tls, |m| &m.https))
        });
        stop.reached(Stage::Drain).await;
        for accepting in [plain, tls].into_iter().flatten() {
            // Dropping the task closes the listener.
            accepting.abort();
        }
        self.draining.set(true);
        self.pool.clear();
        self.drain.notify_waiters();
        self.clock.wake_all();
        tokio::select! {
            () = self.drained() => {}
            () = stop.reached(Stage::Now) => {}
        }
        follow.abort();
        reap.abort();
        tick.abort();
        if let Some(access) = &self.access {
            access.flush();
        }
    }

    /// The current table. Follows a swap the moment it is seen.
    pub(crate) fn table(&self) -> Rc<Pinned> {
        let mut cached = self.cached.borrow_mut();
        let table = cached.load();
        let mut pinned = self.pinned.borrow_mut();
        if !Arc::ptr_eq(table, &pinned.0) {
            if table.lost != pinned.lost {
                self.clock.lose(&table.lost);
            }
            *pinned = Rc::new(Pinned(Arc::clone(table)));
            self.pool.follow(table);
        }
        Rc::clone(&pinned)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Unique in the process with overwhelming likelihood, and cheap.
    pub(crate) fn request_id(&self) -> u64 {
        let next = self.next_id.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.next_id.set(next);
        mix(next)
    }

    /// 64 random bits; good enough to choose by, not to keep a secret with.
    pub(crate) fn random(&self) -> u64 {
        self.request_id()
    }

    async fn drained(&self) {
        while self.connections.get() > 0 {
            self.closed.notified().await;
        }
    }

    /// Waits for what a client has to do before it can ask for anything: for at most `limit`, and
    /// for at most `grace` once draining began. `None` when it took longer.
    pub(crate) async fn wait_for_client<F: Future>(
        &self,
        limit: Duration,
        grace: Duration,
        first: F,
    ) -> Option<F::Output> {
        let drained = async {
            if !self.is_draining() {
                self.drain.notified().await;
            }
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            biased;
            first = tokio::time::timeout(limit, first) => first.ok(),
            () = drained => None,
        }
    }

    /// Whether a peer's fault may be told as a warning: now and then, however many there are.
    pub(crate) fn may_complain(&self) -> bool {
        let now = Instant::now();
        let told = self.complained.get();
        let may = told.is_none_or(|told| now.duration_since(told) > ACCEPT_TELL);
        if may {
            self.complained.set(Some(now));
        }
        may
    }

    /// Closes a connection that its address may not have: at no cost, and so that the client knows at once.
    fn turn_away(
        &self,
        stream: &TcpStream,
        peer: SocketAddr,
        counters: fn(&WorkerMetrics) -> &ConnectionMetrics,
    ) {
        counters(&self.metrics).refused.inc();
        // A reset leaves nothing to wait for. A socket that is gone needs none.
        let _ = stream.set_zero_linger();
        let now = Instant::now();
        let told = self.turned_away.get();
        if told.is_none_or(|told| now.duration_since(told) > ACCEPT_TELL) {
            self.turned_away.set(Some(now));
            let most = self.engine.addresses.as_ref().map_or(0, Addresses::most);
            let address = peer.ip().to_canonical();
            tracing::warn!(
                %address,
                "connections are refused: it has {most} of them, as many as WHARF_MAX_CONNS_PER_IP allows"
            );
        }
    }

    async fn tick(self: Rc<Self>) {
        let ticker = Ticker::new();
        let mut count = 0_u32;
        loop {
            ticker.next().await;
            self.clock.sweep();
            if let Some(access) = &self.access {
                access.flush();
            }
            count = count.wrapping_add(1);
            if count.is_multiple_of(10) {
                self.pool.expire();
                self.buffers.trim();
                self.files.trim(Instant::now());
                self.lanes.trim();
            }
        }
    }

    /// Closes connections to endpoints that are gone even when no request comes.
    async fn follow(self: Rc<Self>) {
        let mut changes = self.engine.table.changes();
        while changes.changed().await.is_ok() {
            drop(self.table());
            self.changed.notify_waiters();
        }
    }

    /// Accepting never fails for good: errors are logged, waited out, and survived.
    async fn accept<F>(
        self: Rc<Self>,
        listener: TcpListener,
        serve: fn(Rc<Self>, TcpStream, SocketAddr, Open) -> F,
        counters: fn(&WorkerMetrics) -> &ConnectionMetrics,
    ) where
        F: Future<Output = ()> + 'static,
    {
        let mut told: Option<Instant> = None;
        loop {
            while self.connections.get() >= self.engine.max_connections {
                self.closed.notified().await;
            }
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let Ok(seat) = seat(&self.engine, peer.ip()) else {
                        self.turn_away(&stream, peer, counters);
                        continue;
                    };
                    let open = Open::new(&self, counters, seat);
                    spawn_local(serve(Rc::clone(&self), stream, peer, open));
                }
                // The client was gone before we looked.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Mostly EMFILE: connections that end give descriptors back.
                    if told.is_none_or(|told| told.elapsed() > ACCEPT_TELL) {
                        tracing::warn!(%error, "cannot accept connections, trying again");
                        told = Some(Instant::now());
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Counts one connection while it is open.
pub(crate) struct Open {
    worker: Rc<Worker>,
    counters: fn(&WorkerMetrics) -> &ConnectionMetrics,
    /// Where its address has so many.
    seat: Option<Seat>,
}

impl Open {
    fn new(
        worker: &Rc<Worker>,
        counters: fn(&WorkerMetrics) -> &ConnectionMetrics,
        seat: Option<Seat>,
    ) -> Self {
        worker.connections.set(worker.connections.get() + 1);
        counters(&worker.metrics).accepted.inc();
        counters(&worker.metrics).open.inc();
        Self {
            worker: Rc::clone(worker),
            counters,
            seat,
        }
    }

    /// It turns out that the connection is `peer`'s. `false`: that one has as many as it may, and the connection is
    /// closed.
    pub(crate) fn is_of(&mut self, stream: &TcpStream, peer: SocketAddr) -> bool {
        match seat(&self.worker.engine, peer.ip()) {
            Ok(seat) => {
                self.seat = seat;
                true
            }
            Err(()) => {
                self.worker.turn_away(stream, peer, self.counters);
                false
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        (self.counters)(&self.worker.metrics).open.dec();
        let left = self.worker.connections.get() - 1;
        self.worker.connections.set(left);
        if left == 0 || left + 1 >= self.worker.engine.max_connections {
            self.worker.closed.notify_waiters();
        }
    }
}

/// Where request ids start: different for every worker and every run.
fn seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let marker = 0_u8;
    mix(now.as_nanos() as u64 ^ (&raw const marker as usize as u64) << 20)
}

/// splitmix64's finaliser.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Between two log lines of accept errors, and of faults of peers.
const ACCEPT_TELL: Duration = Duration::from_secs(60);
/// After an accept error.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
