//! Who comes before the containers are known waits for that, rather than fail because Wharf itself was
//! just deployed.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use super::error::ProxyError;
use super::worker::Worker;

/// Who waits for the first table, over all workers; there is one first table in a process.
static WAITING: Waiting = Waiting {
    count: AtomicU32::new(0),
    in_vain: AtomicBool::new(false),
};

struct Waiting {
    count: AtomicU32,
    /// One has waited its whole time: the engine does not answer, and the others are told at once.
    in_vain: AtomicBool,
}

/// One that waits, for as long as this lives.
struct Place<'a>(&'a Waiting);

/// Waits until there is a table, for [`FIRST_TABLE`] at most. `false` when the client has left, which
/// `poll_gone` tells.
///
/// # Errors
/// Where it takes longer, too many wait already, or Wharf is stopping.
pub(super) async fn first_table(
    worker: &Worker,
    mut poll_gone: impl FnMut(&mut Context<'_>) -> Poll<()>,
) -> Result<bool, ProxyError> {
    let _place = WAITING.place().ok_or(ProxyError::Starting)?;
    let mut limit = pin!(tokio::time::sleep(FIRST_TABLE));
    // From here on no change is missed: all of them are told on this thread.
    let mut drain = pin!(worker.drain.notified());
    loop {
        let mut changed = pin!(worker.changed.notified());
        if worker.table().generation > 0 {
            return Ok(true);
        }
        if worker.is_draining() {
            return Err(ProxyError::Starting);
        }
        let over = poll_fn(|cx| {
            if poll_gone(cx).is_ready() {
                return Poll::Ready(Some(Ok(false)));
            }
            if drain.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Some(Err(ProxyError::Starting)));
            }
            if limit.as_mut().poll(cx).is_ready() {
                WAITING.in_vain.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(ProxyError::Starting)));
            }
            changed.as_mut().poll(cx).map(|()| None)
        });
        if let Some(over) = over.await {
            return over;
        }
    }
}

impl Waiting {
    /// `None` where [`MAX_WAITING`] wait already, or one did in vain.
    fn place(&self) -> Option<Place<'_>> {
        if self.in_vain.load(Ordering::Relaxed) {
            return None;
        }
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        // Counted down on drop, also when there are too many.
        let place = Place(self);
        (before < MAX_WAITING).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An engine that is there answers sooner.
pub(super) const FIRST_TABLE: Duration = Duration::from_secs(10);
/// Requests and handshakes that wait at once.
const MAX_WAITING: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_wait_and_nobody_after_one_in_vain() {
        let waiting = Waiting {
            count: AtomicU32::new(0),
            in_vain: AtomicBool::new(false),
        };
        let places: Vec<_> = std::iter::from_fn(|| waiting.place()).collect();
        assert_eq!(places.len(), MAX_WAITING as usize);
        drop(places);
        assert!(waiting.place().is_some());
        waiting.in_vain.store(true, Ordering::Relaxed);
        assert!(waiting.place().is_none());
        assert_eq!(waiting.count.load(Ordering::Relaxed), 0);
    }
}
