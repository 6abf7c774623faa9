//! A coarse clock and its timers, one per worker.
//!
//! Every connection has one timer for its life and moves its deadline with a store to a cell, so
//! that a request costs no entry in the runtime's timer wheel. One sweep per [`TICK`] finds the
//! timers that are due; a timer fires up to two ticks late, never early.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// A worker's clock.
pub(crate) struct Clock {
    start: Instant,
    now: Cell<u32>,
    timers: RefCell<Slots>,
}

/// A deadline that can be moved for free. Dropping it forgets it.
pub(crate) struct Timer {
    clock: Rc<Clock>,
    slot: usize,
    state: Rc<State>,
}

struct State {
    /// In ticks; `NEVER` while disarmed.
    at: Cell<u32>,
    fired: Cell<bool>,
    /// Whose connection it belongs to: an endpoint's id; 0 for a client's.
    endpoint: u64,
    /// When the endpoint is taken to be gone, in ticks; `NEVER` while it is there.
    lost_at: Cell<u32>,
    waker: Cell<Option<Waker>>,
}

#[derive(Default)]
struct Slots {
    states: Vec<Option<Rc<State>>>,
    free: Vec<usize>,
}

/// Wakes its worker every [`TICK`].
///
/// A descriptor rather than a timer of the runtime: with one of those pending, every wait for events
/// carries a timeout, which the kernel has to program and take back each time.
pub(crate) struct Ticker(Option<AsyncFd<OwnedFd>>);

impl Ticker {
    /// Must be called in a runtime. Where there is no such descriptor the runtime's timer stands in.
    pub(crate) fn new() -> Self {
        let timer = Self::descriptor();
        if let Err(error) = &timer {
            tracing::debug!(%error, "no timer descriptor");
        }
        Self(timer.ok())
    }

    fn descriptor() -> io::Result<AsyncFd<OwnedFd>> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: TICK.subsec_nanos().into(),
        };
        let every = Itimerspec {
            it_interval: tick,
            it_value: tick,
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;
        #[expect(
            deprecated,
            reason = "its replacement is unsafe for the sake of other types; an OwnedFd stays open"
        )]
        AsyncFd::new(timer)
    }

    pub(crate) async fn next(&self) {
        let Some(timer) = &self.0 else {
            return tokio::time::sleep(TICK).await;
        };
        loop {
            let Ok(mut ready) = timer.readable().await else {
                return tokio::time::sleep(TICK).await;
            };
            let mut count = [0; 8];
            if let Ok(Ok(_)) = ready.try_io(|fd| Ok(rustix::io::read(fd, &mut count)?)) {
                return;
            }
        }
    }
}

impl Clock {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            start: Instant::now(),
            now: Cell::new(0),
            timers: RefCell::default(),
        })
    }

    /// Ticks since the worker started, as of the last sweep.
    pub(crate) fn now(&self) -> u32 {
        self.now.get()
    }

    /// A disarmed timer.
    pub(crate) fn timer(self: &Rc<Self>) -> Timer {
        self.timer_of(0)
    }

    /// A disarmed timer for a connection to an endpoint.
    pub(crate) fn timer_of(self: &Rc<Self>, endpoint: u64) -> Timer {
        let state = Rc::new(State {
            at: Cell::new(NEVER),
            fired: Cell::new(false),
            endpoint,
            lost_at: Cell::new(NEVER),
            waker: Cell::new(None),
        });
        let mut slots = self.timers.borrow_mut();
        let slot = slots.free.pop().unwrap_or(slots.states.len());
        if slot == slots.states.len() {
            slots.states.push(None);
        }
        slots.states[slot] = Some(Rc::clone(&state));
        Timer {
            clock: Rc::clone(self),
            slot,
            state,
        }
    }

    /// Moves the clock and wakes what is due.
    pub(crate) fn sweep(&self) {
        self.sweep_at(self.start.elapsed());
    }

    fn sweep_at(&self, elapsed: Duration) {
        let ticks = elapsed.as_millis() / TICK.as_millis();
        let now = u32::try_from(ticks).unwrap_or(NEVER - 1);
        self.now.set(now);
        for state in self.timers.borrow().states.iter().flatten() {
            if state.at.get() <= now {
                state.at.set(NEVER);
                state.fired.set(true);
                state.wake();
            }
            if state.lost_at.get() <= now {
                state.wake();
            }
        }
    }

    /// Endpoints are gone for good, address and all: what is under way to them ends after [`LAST_WORDS`].
    pub(crate) fn lose(&self, endpoints: &[u64]) {
        let ticks = LAST_WORDS.as_millis().div_ceil(TICK.as_millis()) as u32 + 1;
        let at = self.now.get().saturating_add(ticks).min(NEVER - 1);
        for state in self.timers.borrow().states.iter().flatten() {
            if state.endpoint != 0 && endpoints.contains(&state.endpoint) {
                state.lost_at.set(state.lost_at.get().min(at));
            }
        }
    }

    /// Wakes the owner of every timer, due or not: something all of them should look at happened.
    pub(crate) fn wake_all(&self) {
        for state in self.timers.borrow().states.iter().flatten() {
            state.wake();
        }
    }
}

impl Timer {
    /// Fires after `delay`; zero is never. Takes back an earlier firing.
    pub(crate) fn arm(&self, delay: Duration) {
        self.state.fired.set(false);
        if delay.is_zero() {
            self.state.at.set(NEVER);
            return;
        }
        let ticks = delay.as_millis().div_ceil(TICK.as_millis()) + 1;
        let ticks = u32::try_from(ticks).unwrap_or(NEVER);
        self.state
            .at
            .set(self.clock.now.get().saturating_add(ticks).min(NEVER - 1));
    }

    pub(crate) fn disarm(&self) {
        self.state.at.set(NEVER);
        self.state.fired.set(false);
    }

    /// Disarms it and lets go of whom it would wake.
    pub(crate) fn forget(&self) {
        self.disarm();
        self.state.waker.take();
    }

    /// As [`Clock::now`].
    pub(crate) fn now(&self) -> u32 {
        self.clock.now()
    }

    pub(crate) fn has_fired(&self) -> bool {
        self.state.fired.get()
    }

    /// Whether the endpoint of its connection is gone, and has had time for what it sent before.
    pub(crate) fn is_lost(&self) -> bool {
        self.state.lost_at.get() <= self.clock.now()
    }

    /// Whether it has fired or will within `delay`.
    pub(crate) fn is_within(&self, delay: Duration) -> bool {
        let ticks = delay.as_millis().div_ceil(TICK.as_millis()) + 1;
        let ticks = u32::try_from(ticks).unwrap_or(NEVER);
        self.has_fired()
            || self.state.at.get() <= self.clock.now().saturating_add(ticks).min(NEVER - 1)
    }

    /// Who to wake when it fires.
    pub(crate) fn wake_with(&self, waker: &Waker) {
        let same = match self.state.waker.take() {
            Some(old) if old.will_wake(waker) => old,
            _ => waker.clone(),
        };
        self.state.waker.set(Some(same));
    }
}

impl State {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake_by_ref();
            self.waker.set(Some(waker));
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut slots = self.clock.timers.borrow_mut();
        slots.states[self.slot] = None;
        slots.free.push(self.slot);
    }
}

/// How often the worker sweeps.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// What a container has sent arrives while its network is taken down, 80 ms as a rule; the kernel goes on
/// sending for a process that has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A tick that does not come.
pub(crate) const NEVER: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_late_never_early() {
        let clock = Clock::new();
        let timer = clock.timer();
        timer.arm(Duration::from_secs(1));
        clock.sweep_at(Duration::from_millis(1050));
        assert!(
            !timer.has_fired(),
            "armed somewhere in tick 0, due in tick 11"
        );
        clock.sweep_at(Duration::from_millis(1150));
        assert!(timer.has_fired());
        timer.arm(Duration::from_secs(1));
        assert!(!timer.has_fired(), "armed again");
    }

    #[test]
    fn what_leads_to_a_lost_endpoint_is_lost_a_moment_later() {
        let clock = Clock::new();
        let (of_client, one, other) = (clock.timer(), clock.timer_of(1), clock.timer_of(2));
        clock.lose(&[7, 1]);
        assert!(!one.is_lost());
        clock.sweep_at(LAST_WORDS);
        // Told again, which moves nothing.
        clock.lose(&[7, 1]);
        clock.sweep_at(LAST_WORDS + 2 * TICK);
        assert!(one.is_lost() && !one.has_fired());
        assert!(!other.is_lost() && !of_client.is_lost());
        drop(one);
        assert!(!clock.timer_of(3).is_lost());
    }

    #[test]
    fn slots_are_reused_and_zero_never_fires() {
        let clock = Clock::new();
        let timer = clock.timer();
        timer.arm(Duration::ZERO);
        clock.sweep_at(Duration::from_secs(1_000_000));
        assert!(!timer.has_fired());
        drop(timer);
        let again = clock.timer();
        assert_eq!(again.slot, 0);
        assert_eq!(clock.timers.borrow().states.len(), 1);
    }
}
