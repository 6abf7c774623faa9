//! The watcher alone, through the library.

/// Against an engine that fails on demand.
mod fake;
/// Against the machine's engine.
mod real;
/// What events say before the list does.
mod signs;
/// An engine that hangs, or answers what nobody can use.
mod silence;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use wharf::alarm::Alarm;
use wharf::docker::{Container, EngineState, Snapshot, Watcher, WatcherConfig};

/// A watcher on a thread of its own, as in the proxy.
struct Watched {
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    state: watch::Receiver<EngineState>,
    /// For who cannot reach a container.
    alarm: Arc<Alarm>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watched {
    fn start(host: &str) -> Self {
        let (snapshot_sender, snapshots) = watch::channel(None);
        let (state_sender, state) = watch::channel(EngineState::default());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let host = host.to_owned();
        let alarm = Arc::<Alarm>::default();
        let told = Arc::clone(&alarm);
        let thread = std::thread::spawn(move || {
            let watcher = Watcher::new(WatcherConfig {
                host,
                own_id: None,
                alarm: told,
                prefix: wharf::model::LabelPrefix::default(),
            });
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    never = watcher.run(snapshot_sender, state_sender) => match never {},
                    _ = stopped => {}
                }
            });
        });
        let (stop, thread) = (Some(stop), Some(thread));
        Self {
            snapshots,
            state,
            alarm,
            stop,
            thread,
        }
    }

    fn state(&self) -> EngineState {
        self.state.borrow().clone()
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone().expect("a first snapshot")
    }

    /// Waits for a snapshot that `is` likes.
    fn wait(&mut self, what: &str, is: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let wanted = |snapshot: &Option<Arc<Snapshot>>| snapshot.as_deref().is_some_and(&is);
        let found = block_on(self.snapshots.wait_for(wanted));
        let Ok(found) = found else {
            panic!("no snapshot {what}: {:?}", *self.state.borrow());
        };
        found.clone().expect("wanted one that is there")
    }

    fn wait_state(&mut self, what: &str, is: impl Fn(&EngineState) -> bool) -> EngineState {
        let found = block_on(self.state.wait_for(|state| is(state)));
        let Ok(found) = found else {
            panic!("no state {what}");
        };
        found.clone()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `Err` after [`LIMIT`], too.
fn block_on<T, E>(future: impl Future<Output = Result<T, E>>) -> Result<T, ()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(async {
        let ended = tokio::time::timeout(LIMIT, future).await;
        ended.map_err(drop)?.map_err(drop)
    })
}

const LIMIT: Duration = Duration::from_secs(15);

fn named<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a Container> {
    snapshot
        .containers
        .iter()
        .find(|container| container.name == name)
}
