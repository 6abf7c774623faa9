//! Wiring: builds the parts, gives each its channel end, waits, drains.

mod access;
mod cache;
mod containers;
mod explain;
mod files;
mod listen;
mod report;
mod secret;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use self::report::{Answers, Report};
use crate::access::AccessLog;
use crate::admin;
use crate::alarm::Alarm;
use crate::ask;
use crate::cache::Shelf;
use crate::cache::store::Limits;
use crate::config::{CacheDir, CacheSize, Config, DataDir};
use crate::control::{self, ControlConfig, Published};
use crate::docker::labels::Defaults;
use crate::docker::plan::PlanOptions;
use crate::docker::{EngineState, Watcher, WatcherConfig, engine};
use crate::files::Follower;
use crate::metrics::Metrics;
use crate::model::Sockets;
use crate::names;
use crate::probe;
use crate::proxy::{self, Engine, Listeners};
use crate::resting;
use crate::route::SharedTable;
use crate::shutdown::{self, Signals, Stage, Stop};
use crate::spool::Room;
use crate::tls::{Certs, CertsConfig, Issuer, TlsError};
use crate::values::Source;

/// Why Wharf could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("cannot listen on {address} for {listener}{}", hint(.source))]
    Listen {
        listener: &'static str,
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot write the access log to {to}")]
    AccessLog {
        to: Box<str>,
        #[source]
        source: io::Error,
    },
    #[error("setting up certificates")]
    Tls(#[from] TlsError),
    #[error("starting a thread or runtime")]
    Runtime(#[source] io::Error),
    #[error("{0} ended unexpectedly; its reason is told above")]
    Ended(&'static str),
}

/// Runs Wharf until it is told to stop and has drained.
///
/// # Errors
/// See [`AppError`]; all of them come before anything is served, save the last.
pub fn run(config: Config, defaults: Defaults) -> Result<(), AppError> {
    let (data, warning) = DataDir::open(&config.data);
    for warning in warning.into_iter().chain(DataDir::warning(&data)) {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AppError::Runtime)?;
    let (snapshot_to, snapshots) = watch::channel(None);
    let (state_to, state) = watch::channel(EngineState::default());
    let alarm = Arc::<Alarm>::default();
    let watcher = Watcher::new(WatcherConfig {
        host: config.docker_host.clone(),
        own_id: None,
        alarm: Arc::clone(&alarm),
        prefix: config.label_prefix.clone(),
    });
    let watching = runtime.spawn(watcher.run(snapshot_to, state_to));
    // The engine is asked while the store is read: with many containers and certificates both take
    // a while.
    let (certs, issuer) = runtime.block_on(open(CertsConfig {
        data: Some(data.clone()),
        own: Some(config.certs.clone()),
        ca_names: config.ca_names.clone(),
        cas: config.cas.clone(),
        http_01: config.http.is_some(),
        email: config.acme_email.clone(),
        dns: config.dns.clone(),
        dns_resolvers: config.dns_resolvers.clone(),
        dns_wait: config.dns_wait,
        hold: config.tls_hold,
    }))?;
    let secret = secret::open(&data);
    let bound = listen::bind(&config)?;
    let shelf = Arc::new(Shelf::new(cache_limits(&config), cache_dir(&config, &data)));
    let table = Arc::new(SharedTable::with(Arc::clone(&shelf)));
    let metrics = Metrics::new(config.workers);
    let access = config.access_log.as_ref();
    let access = access.map(access::start).transpose()?;
    let losses = access.as_ref().map(AccessLog::losses);
    let held_in = config.buffer_dir.clone();
    let room = Arc::new(Room::new(
        config.buffer_memory,
        config.buffer_disk,
        Some(held_in.unwrap_or_else(|| data.join("buffers"))),
    ));
    let engine = Arc::new(Engine {
        table: Arc::clone(&table),
        certs: certs.clone(),
        trusted: config.trusted_proxies.clone(),
        proxied_by: config.proxy_protocol_from.clone(),
        addresses: config.max_conns_per_ip.map(proxy::Addresses::new),
        header_timeout: config.header_timeout,
        hold: config.tls_hold,
        alarm: Arc::clone(&alarm),
        prefix: config.label_prefix.clone(),
        errors: config.errors.clone(),
        room: Arc::clone(&room),
        // Half of the descriptors are for upstreams, the store and the log.
        max_connections: (files::limit() / 2 / config.workers).max(1),
    });

    let (stopper, stop) = shutdown::stop();
    let (ended, mut workers_ended) = watch::channel(0);
    let mut workers = Vec::new();
    for (index, listeners) in bound.workers.into_iter().enumerate() {
        let worker = WorkerThread {
            index,
            engine: Arc::clone(&engine),
            listeners,
            metrics: metrics.worker(index),
            access: access.as_ref().map(AccessLog::worker),
            stop: stop.clone(),
            ended: ended.clone(),
        };
        workers.push(worker.start()?);
    }

    let result = runtime.block_on(async {
        let mut signals = Signals::listen();
        tokio::spawn(access::follow(access.as_ref().map(AccessLog::reopener)));
        if let Some(losses) = &losses {
            tokio::spawn(access::tell(Arc::clone(losses)));
        }
        let (published_to, published) = watch::channel(Arc::new(Published {
            table: table.load(),
            ..Published::default()
        }));
        let (wanted_to, wanted) = watch::channel(BTreeSet::new());
        let (names_to, names) = watch::channel(Arc::default());
        let (resting_to, resting) = watch::channel(Arc::default());
        let controlling = tokio::spawn(control::run(
            ControlConfig {
                plan: PlanOptions {
                    network: config.network.clone(),
                    filter: config.filter.clone(),
                    prefix: config.label_prefix.clone(),
                    sockets: sockets(&config),
                    default_host: config.default_host.clone(),
                    expose_all: config.expose_all,
                    defaults: Arc::new(defaults),
                    statics: config.statics.clone(),
                    dns: config.dns.iter().map(|rule| rule.zone.clone()).collect(),
                    ..PlanOptions::default()
                },
                values: Source::new(
                    config.secrets.clone(),
                    config.kept.clone(),
                    config.values.clone(),
                ),
                files: Follower::new(config.files.clone(), config.label_prefix.clone()),
                https_port: bound.https.map(|address| address.port()),
                secret,
            },
            snapshots,
            names,
            resting,
            Arc::clone(&table),
            certs.clone(),
            control::Outputs {
                published: published_to,
                names: wanted_to,
            },
        ));
        let looking_up = tokio::spawn(names::run(wanted, names_to, alarm));
        let resting = tokio::spawn(resting::follow(data.clone(), resting_to));
        let issuing = tokio::spawn(issuer.run());
        let probing = tokio::spawn(probe::run(Arc::clone(&table), certs.clone()));
        let asking = tokio::spawn(ask::run(Arc::clone(&table), certs.clone()));
        if let Some(listener) = bound.admin {
            let report = Arc::new(Report {
                started: Instant::now(),
                listeners: bound.names,
                engine: state,
                published,
                certs,
                metrics,
                access: losses,
                trusted: config.trusted_proxies.clone(),
                room,
            });
            let listener =
                tokio::net::TcpListener::from_std(listener).map_err(AppError::Runtime)?;
            let prefix = config.label_prefix.clone();
            tokio::spawn(admin::serve(listener, Arc::new(Answers(report)), prefix));
        }
        tokio::select! {
            _ = workers_ended.wait_for(|ended| *ended > 0) => return Err(AppError::Ended("a worker")),
            // These never end by themselves; without them Wharf would go on with what it knew.
            _ = watching => return Err(AppError::Ended("the watcher")),
            _ = controlling => return Err(AppError::Ended("control")),
            _ = issuing => return Err(AppError::Ended("the certificate issuer")),
            _ = looking_up => return Err(AppError::Ended("the lookup of names")),
            _ = resting => return Err(AppError::Ended("the look at maintenance")),
            _ = probing => return Err(AppError::Ended("the probe of endpoints")),
            _ = asking => return Err(AppError::Ended("the questions about names")),
            () = signals.next() => {}
        }
        tracing::info!("stopping: finishing what is in flight, for at most {GRACE:?}");
        stopper.go(Stage::Drain);
        tokio::select! {
            _ = workers_ended.wait_for(|ended| *ended == config.workers) => {}
            () = signals.next() => tracing::info!("second signal: stopping now"),
            () = tokio::time::sleep(GRACE) => tracing::info!("grace is over: stopping now"),
        }
        Ok(())
    });
    stopper.go(Stage::Now);
    for worker in workers {
        // A panic there has been told already.
        let _ = worker.join();
    }
    if let Some(access) = access {
        access.close();
    }
    result
}

/// Reads the store without holding up what else runs here.
async fn open(config: CertsConfig) -> Result<(Certs, Issuer), TlsError> {
    match tokio::task::spawn_blocking(|| Certs::open(config)).await {
        Ok(opened) => opened,
        Err(error) => resume_unwind(error.into_panic()),
    }
}

/// Where the cache has its files.
fn cache_dir(config: &Config, data: &Path) -> Option<PathBuf> {
    match &config.cache_dir {
        _ if config.cache_size.disk == 0 => None,
        CacheDir::Data => Some(data.join("cache")),
        CacheDir::At(directory) => Some(directory.clone()),
        CacheDir::Off => None,
    }
}

fn cache_limits(config: &Config) -> Limits {
    let CacheSize { memory, disk } = config.cache_size;
    let default = Limits::default();
    Limits {
        memory,
        disk,
        object: (memory / 16).min(1 << 30),
        // A small file system is not to be left to others as a whole.
        floor: default.floor.min(disk / 4),
        ..default
    }
}

struct WorkerThread {
    index: usize,
    engine: Arc<Engine>,
    listeners: Listeners,
    metrics: Arc<crate::metrics::WorkerMetrics>,
    access: Option<crate::access::AccessWriter>,
    stop: Stop,
    ended: watch::Sender<usize>,
}

impl WorkerThread {
    fn start(self) -> Result<JoinHandle<()>, AppError> {
        let name = format!("worker-{}", self.index);
        let Self {
            index,
            engine,
            listeners,
            metrics,
            access,
            stop,
            ended,
        } = self;
        let run = move || {
            // Dropped whatever happens, a panic included.
            let ended = Ended(ended);
            if let Err(error) = proxy::run(engine, listeners, metrics, access, stop) {
                tracing::error!(worker = index, %error, "worker failed");
            }
            drop(ended);
        };
        std::thread::Builder::new()
            .name(name)
            .spawn(run)
            .map_err(AppError::Runtime)
    }
}

/// Counts a worker that is over.
struct Ended(watch::Sender<usize>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.send_modify(|ended| *ended += 1);
    }
}

/// Which Unix sockets may be apps': those in the directory, but never the one Wharf itself is given.
fn sockets(config: &Config) -> Option<Arc<Sockets>> {
    let engine = match engine::Address::parse(&config.docker_host) {
        Ok(engine::Address::Unix(path)) => Some(path),
        Ok(engine::Address::Tcp(_)) | Err(_) => None,
    };
    let directory = config.sockets.clone()?;
    Some(Arc::new(Sockets { directory, engine }))
}

/// What to do about it; the error itself follows as the source.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": another process has it (`ss -ltnp` shows which)",
        io::ErrorKind::PermissionDenied => {
            ": ports below 1024 need root, CAP_NET_BIND_SERVICE or \
             net.ipv4.ip_unprivileged_port_start=0"
        }
        io::ErrorKind::AddrNotAvailable => ": this machine has no such address",
        _ => "",
    }
}

/// After SIGTERM.
const GRACE: Duration = Duration::from_secs(30);
