//! Requests that wait for a place, while there are as many as `wharf.max_conns` or `wharf.inflight` allows
//! (product.md B31): first come, first served, over all workers.
//!
//! Who finds the queue empty takes a place if there is one; everybody else gets in line. A place that
//! becomes free calls the first of the line that has not been called yet, and who leaves the line
//! without using its call passes it on. So as long as anybody waits, every free place has somebody
//! under way to it, and nobody is overtaken by those who come later.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The line in front of what has so many places.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Length of the line, for those who only want to know whether there is one.
    ///
    /// A place is given back before this is read, and this is written before a place is looked for, all
    /// in one order (`SeqCst`): either who gives back sees who waits, or who waits sees the place.
    waiting: AtomicUsize,
    /// A lock, because several things change together; taken only by requests that wait or end a wait.
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// By number, the oldest first.
    tickets: VecDeque<Ticket>,
    /// Calls for which there was nobody left to be called.
    spare: usize,
    next: u64,
}

#[derive(Debug)]
struct Ticket {
    number: u64,
    /// There is a place for it, or may be.
    called: bool,
    waker: Option<Waker>,
}

/// One in line, until it is dropped.
#[derive(Debug)]
pub struct Queued {
    queue: Arc<Queue>,
    number: u64,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Somebody has given a place back.
    #[inline]
    pub(crate) fn freed(&self) {
        if !self.is_empty() {
            let waker = self.lock().call();
            // Not under the lock: whoever wakes may ask at once.
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Gets in line; `None` where `limit` wait already.
    pub(crate) fn join(self: &Arc<Self>, limit: usize) -> Option<Queued> {
        let mut line = self.lock();
        if line.tickets.len() >= limit {
            return None;
        }
        let number = line.next;
        line.next += 1;
        // Nobody calls the first for what became free before it came: it looks for itself.
        let called = line.tickets.is_empty() || line.spare > 0;
        line.spare = line.spare.saturating_sub(1);
        line.tickets.push_back(Ticket {
            number,
            called,
            waker: None,
        });
        self.waiting.store(line.tickets.len(), Ordering::SeqCst);
        drop(line);
        Some(Queued {
            queue: Arc::clone(self),
            number,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // Nothing in here panics half way.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Calls the first who was not; who is to be woken.
    fn call(&mut self) -> Option<Waker> {
        match self.tickets.iter_mut().find(|ticket| !ticket.called) {
            Some(ticket) => {
                ticket.called = true;
                ticket.waker.take()
            }
            None => {
                self.spare = (self.spare + 1).min(MAX_SPARE);
                None
            }
        }
    }

    fn position(&self, number: u64) -> Option<usize> {
        let found = self
            .tickets
            .binary_search_by_key(&number, |ticket| ticket.number);
        found.ok()
    }
}

impl Queued {
    pub(crate) fn is_in(&self, queue: &Arc<Queue>) -> bool {
        Arc::ptr_eq(&self.queue, queue)
    }

    /// Whether nobody has waited longer.
    pub fn is_first(&self) -> bool {
        self.queue.lock().position(self.number) == Some(0)
    }

    /// Waits to be called; then it is worth looking for a place. Who finds none waits on, in its old
    /// position. Cancel safe: a call is kept until it is polled.
    pub fn poll_called(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut line = self.queue.lock();
        let Some(at) = line.position(self.number) else {
            return Poll::Ready(());
        };
        let ticket = &mut line.tickets[at];
        if std::mem::take(&mut ticket.called) {
            return Poll::Ready(());
        }
        match &mut ticket.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let mut line = self.queue.lock();
        let ticket = line
            .position(self.number)
            .and_then(|at| line.tickets.remove(at));
        let waker = match ticket {
            Some(Ticket { called: true, .. }) => line.call(),
            _ => None,
        };
        if line.tickets.is_empty() {
            line.spare = 0;
        }
        self.queue
            .waiting
            .store(line.tickets.len(), Ordering::SeqCst);
        drop(line);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Beyond that more are called than can be waiting.
const MAX_SPARE: usize = 1000;
