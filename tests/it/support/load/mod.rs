//! Load that runs beside what a test does: requests at a fixed rate and streams that stay open, every answer
//! checked, every failure kept in full.
//!
//! Requests are sent when they are due, whether or not the last one is answered (an open loop): a server that
//! stalls is not spared.

mod report;
mod requests;
mod streams;
mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use report::{Cut, Failure, Kind, Report, clock};

use super::eventually;
use super::wharf::Wharf;

/// How much of what.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mix {
    /// GETs a second, on connections that are used again.
    pub(crate) kept: u32,
    /// GETs a second, each on a connection of its own.
    pub(crate) fresh: u32,
    /// GETs a second over HTTP/2 with TLS.
    pub(crate) h2: u32,
    /// POSTs a second, each with up to 64 KiB.
    pub(crate) posts: u32,
    /// PUTs a second with the same: what nobody may repeat, and what anybody may.
    pub(crate) puts: u32,
    /// WebSockets open at once, every other one through TLS.
    pub(crate) sockets: usize,
    /// Slow downloads open at once.
    pub(crate) downloads: usize,
    /// Event streams open at once.
    pub(crate) feeds: usize,
    /// Between two messages of a socket; half a second if not set.
    pub(crate) beat: Option<Duration>,
}

impl Mix {
    /// A bit of everything, 300 requests a second.
    pub(crate) const ALL: Self = Self {
        kept: 100,
        fresh: 60,
        h2: 80,
        posts: 30,
        puts: 30,
        sockets: 10,
        downloads: 5,
        feeds: 5,
        beat: None,
    };
}

/// The site that is asked.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    http: SocketAddr,
    https: SocketAddr,
    host: Arc<str>,
    /// What its containers have for a `NAME`: nobody else may answer.
    name: Arc<str>,
    tls: Arc<rustls::ClientConfig>,
}

/// The load; runs on a thread of its own until [`Load::end`].
pub(crate) struct Load {
    /// One at a time: two would take each other's time.
    _alone: MutexGuard<'static, ()>,
    board: Board,
    mix: Mix,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// Where all of it is counted.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Report>>);

impl Load {
    /// Starts it and waits until all of it has got through.
    ///
    /// `host` is a site of the sample app on both listeners of a `wharf` with a certificate of its built-in CA,
    /// whose `NAME` is `name`.
    pub(crate) fn start(wharf: &Wharf, host: &str, name: &str, mix: Mix) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        raise_descriptors();
        let target = Target {
            http: wharf.http,
            https: wharf.https,
            host: host.into(),
            name: name.into(),
            tls: Arc::new(wire::h2_config(wharf.data())),
        };
        let board = Board::default();
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::spawn({
            let board = board.clone();
            move || {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                let runtime = builder.enable_all().build().unwrap();
                runtime.block_on(run(&target, mix, &board, stopped));
            }
        });
        let load = Self {
            _alone: alone,
            board,
            mix,
            stop,
            thread,
        };
        load.go_on();
        load
    }

    /// Waits until there are new answers of every kind, and every stream is open.
    pub(crate) fn go_on(&self) {
        self.wait(self.mix.wanted());
    }

    /// The same for requests alone: streams may be at rest.
    pub(crate) fn asks_on(&self) {
        let requests = Mix {
            sockets: 0,
            downloads: 0,
            feeds: 0,
            ..self.mix
        };
        self.wait(requests.wanted());
    }

    fn wait(&self, wanted: Vec<(Kind, usize)>) {
        let before: Vec<_> = {
            let report = self.board.lock();
            wanted
                .iter()
                .map(|(kind, _)| report.of(*kind).good)
                .collect()
        };
        for ((kind, open), before) in wanted.into_iter().zip(before) {
            eventually(kind.name(), LIMIT, || {
                let report = self.board.lock();
                let tally = report.of(kind);
                let last = tally.failed.last().map(ToString::to_string);
                match tally.good > before && tally.open >= open {
                    true => Ok(()),
                    false => Err(format!(
                        "{} good, {} open; {last:?}",
                        tally.good, tally.open
                    )),
                }
            });
        }
    }

    /// What has come since the start, or the last call.
    pub(crate) fn take(&self) -> Report {
        self.board.lock().take()
    }

    /// Ends it, once all that was asked is answered.
    pub(crate) fn end(self) -> Report {
        self.stop.send_replace(true);
        self.thread.join().expect("load");
        std::mem::take(&mut self.board.lock())
    }
}

impl Mix {
    /// The kinds there are, and how many streams of each.
    fn wanted(self) -> Vec<(Kind, usize)> {
        let all = [
            (Kind::Kept, self.kept as usize, 0),
            (Kind::Fresh, self.fresh as usize, 0),
            (Kind::H2, self.h2 as usize, 0),
            (Kind::Post, self.posts as usize, 0),
            (Kind::Put, self.puts as usize, 0),
            (Kind::Socket, self.sockets, self.sockets),
            (Kind::Download, self.downloads, 0),
            (Kind::Feed, self.feeds, self.feeds),
        ];
        let wanted = all.into_iter().filter(|(_, count, _)| *count > 0);
        wanted.map(|(kind, _, open)| (kind, open)).collect()
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(target: &Target, mix: Mix, board: &Board, stop: watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    let rates = [
        (Kind::Kept, mix.kept),
        (Kind::Fresh, mix.fresh),
        (Kind::H2, mix.h2),
        (Kind::Post, mix.posts),
        (Kind::Put, mix.puts),
    ];
    for (kind, rate) in rates.into_iter().filter(|(_, rate)| *rate > 0) {
        let sent = requests::send(kind, rate, target.clone(), board.clone(), stop.clone());
        tasks.spawn(sent);
    }
    let beat = mix.beat.unwrap_or(BEAT);
    for number in 0..mix.sockets {
        let secure = number % 2 == 1;
        let (target, board, stop) = (target.clone(), board.clone(), stop.clone());
        tasks.spawn(streams::sockets(target, secure, beat, board, stop));
    }
    for kind in [
        vec![Kind::Download; mix.downloads],
        vec![Kind::Feed; mix.feeds],
    ]
    .concat()
    {
        let (target, board, stop) = (target.clone(), board.clone(), stop.clone());
        tasks.spawn(streams::read(kind, target, board, stop));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a client does not panic");
    }
}

/// To as many as the kernel allows: every request that waits has a socket.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("below the hard limit");
}

/// For everything that is waited for; a deploy may be under way.
const LIMIT: Duration = Duration::from_secs(40);
const BEAT: Duration = Duration::from_millis(500);
