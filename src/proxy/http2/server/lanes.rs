//! The tasks that streams run in, kept by the worker and used one after the other: a task is the
//! largest thing a request needs, and making one costs more than many a request's work.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use super::super::shared::Slot;
use super::stream::{Job, stream};
use crate::proxy::spare::Spare;
use crate::proxy::state::ConnState;

/// A worker's tasks for streams.
pub(crate) struct Lanes {
    idle: Rc<Spare<Rc<Lane>>>,
}

/// What a task and the rest of the worker know of each other.
struct Lane {
    next: Cell<Next>,
    waker: Cell<Option<Waker>>,
}

#[derive(Default)]
enum Next {
    #[default]
    Wait,
    Run(Slot, Rc<ConnState>, Job),
    End,
}

impl Lanes {
    pub(crate) fn new() -> Self {
        Self {
            idle: Rc::new(Spare::new(MAX_IDLE)),
        }
    }

    /// Runs a stream in a task of its own.
    pub(super) fn run(&self, slot: Slot, state: Rc<ConnState>, job: Job) {
        if let Some(lane) = self.idle.take() {
            return lane.tell(Next::Run(slot, state, job));
        }
        let lane = Rc::new(Lane {
            next: Cell::new(Next::Run(slot, state, job)),
            waker: Cell::new(None),
        });
        tokio::task::spawn_local(lane.serve(Rc::downgrade(&self.idle)));
    }

    /// Ends tasks that were not needed lately.
    pub(crate) fn trim(&self) {
        for lane in self.idle.trim() {
            lane.tell(Next::End);
        }
    }
}

impl Lane {
    fn tell(&self, next: Next) {
        self.next.set(next);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    async fn serve(self: Rc<Self>, idle: Weak<Spare<Rc<Self>>>) {
        while let Next::Run(slot, state, job) = poll_fn(|cx| self.poll_next(cx)).await {
            stream(slot, state, job).await;
            let kept = idle.upgrade().map(|idle| idle.give(Rc::clone(&self)));
            if !matches!(kept, Some(Ok(()))) {
                return;
            }
        }
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Next> {
        match self.next.take() {
            Next::Wait => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
            next => Poll::Ready(next),
        }
    }
}

/// Some kilobytes each, while a worker is busy.
const MAX_IDLE: usize = 512;
