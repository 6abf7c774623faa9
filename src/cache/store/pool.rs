//! Threads for what may wait for a disk, so that no worker does: few, with bounded lines.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Ends its threads when it is dropped, after the jobs that are in line.
#[derive(Debug)]
pub(super) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lines: Mutex<Lines>,
    work: Condvar,
}

#[derive(Default)]
struct Lines {
    reads: VecDeque<Job>,
    writes: VecDeque<Job>,
    closed: bool,
    running: usize,
}

impl Pool {
    pub(super) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            lines: Mutex::default(),
            work: Condvar::new(),
        });
        for _ in 0..threads {
            let shared = Arc::clone(&shared);
            let name = "wharf-cache".to_owned();
            // Without threads nothing is read or written: all that the disk holds is a miss.
            if let Err(error) = thread::Builder::new()
                .name(name)
                .spawn(move || shared.run())
            {
                tracing::error!(%error, "no thread for the cache's disk");
            }
        }
        Self(shared)
    }

    /// Somebody waits for it. False, and the job dropped, if too many do.
    pub(super) fn read(&self, job: impl FnOnce() + Send + 'static) -> bool {
        self.0.add(Box::new(job), |lines| &mut lines.reads, READS)
    }

    /// Comes after reads. False, and the job dropped, if there are too many.
    pub(super) fn write(&self, job: impl FnOnce() + Send + 'static) -> bool {
        self.0.add(Box::new(job), |lines| &mut lines.writes, WRITES)
    }

    /// As [`write`](Self::write), but never dropped: for what each fill or entry has one of at most.
    pub(super) fn must(&self, job: impl FnOnce() + Send + 'static) {
        self.0
            .add(Box::new(job), |lines| &mut lines.writes, usize::MAX);
    }

    /// Nothing in line and nothing at work.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let lines = self.0.lock();
        lines.reads.is_empty() && lines.writes.is_empty() && lines.running == 0
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_all();
    }
}

impl Shared {
    fn add(&self, job: Job, line: fn(&mut Lines) -> &mut VecDeque<Job>, max: usize) -> bool {
        let mut lines = self.lock();
        let line = line(&mut lines);
        if line.len() >= max {
            drop(lines);
            return false; // The job is dropped without the lock: what it holds may want to add one.
        }
        line.push_back(job);
        drop(lines);
        self.work.notify_one();
        true
    }

    fn run(&self) {
        let mut lines = self.lock();
        loop {
            let next = lines.reads.pop_front();
            let Some(job) = next.or_else(|| lines.writes.pop_front()) else {
                if lines.closed {
                    return;
                }
                lines = self
                    .work
                    .wait(lines)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            lines.running += 1;
            drop(lines);
            // A job that panics fails what it was for, by what its drop does; the thread lives on.
            let job = std::panic::AssertUnwindSafe(job);
            let _ = std::panic::catch_unwind(move || { job }.0());
            lines = self.lock();
            lines.running -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        // Nothing in here panics half way.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { reads, writes, .. } = self;
        write!(f, "{} reads, {} writes", reads.len(), writes.len())
    }
}

/// What a job will say, to everybody who waits for it.
#[derive(Debug)]
pub(super) struct Promise<T>(Mutex<(Option<T>, Vec<Waker>)>);

impl<T: Clone> Promise<T> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new((None, Vec::new()))))
    }

    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<T> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = &inner.0 {
            return Poll::Ready(value.clone());
        }
        if !inner.1.iter().any(|waker| waker.will_wake(cx.waker())) {
            inner.1.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The first value stays.
    pub(super) fn keep(&self, value: T) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0.get_or_insert(value);
        let wakers = std::mem::take(&mut inner.1);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Keeps a promise by `default` if nobody has when it is dropped, as with a job that is never run.
pub(super) struct Keeper<T: Clone> {
    pub(super) promise: Arc<Promise<T>>,
    pub(super) default: T,
}

impl<T: Clone> Drop for Keeper<T> {
    fn drop(&mut self) {
        self.promise.keep(self.default.clone());
    }
}

/// Reads in line, over all workers.
const READS: usize = 8192;
/// Small responses in line to be written; what is above is kept in memory only.
const WRITES: usize = 16 * 1024;
