//! What the store may hold, counted before it is allocated: an [`Account`] never exceeds its bound, and a [`Charge`]
//! gives back what it took when the thing it stands for is dropped, however long somebody holds that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;

/// A bound and what is taken of it, in bytes (or descriptors).
#[derive(Debug)]
pub(super) struct Account {
    max: u64,
    used: AtomicU64,
}

impl Account {
    pub(super) fn new(max: u64) -> Arc<Self> {
        let used = AtomicU64::new(0);
        Arc::new(Self { max, used })
    }

    /// Takes `amount`, or nothing where that would exceed the bound.
    pub(super) fn take(&self, amount: u64) -> bool {
        take(&self.used, amount, self.max)
    }

    pub(super) fn give(&self, amount: u64) {
        self.used.fetch_sub(amount, Relaxed);
    }

    pub(super) fn charge(self: &Arc<Self>, amount: u64) -> Option<Charge> {
        self.take(amount).then(|| Charge {
            account: Arc::clone(self),
            amount,
        })
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    pub(super) fn max(&self) -> u64 {
        self.max
    }
}

/// Adds to a counter unless that makes it more than `max`.
pub(super) fn take(used: &AtomicU64, amount: u64, max: u64) -> bool {
    let more = |used: u64| used.checked_add(amount).filter(|sum| *sum <= max);
    used.fetch_update(Relaxed, Relaxed, more).is_ok()
}

/// A part of an account, given back on drop.
#[derive(Debug)]
pub(super) struct Charge {
    account: Arc<Account>,
    amount: u64,
}

impl Charge {
    pub(super) fn amount(&self) -> u64 {
        self.amount
    }

    /// Takes over what another charge of the same account stands for.
    pub(super) fn merge(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.account, &other.account));
        self.amount += std::mem::take(&mut other.amount);
    }

    /// Keeps `amount` and gives back the rest.
    pub(super) fn shrink(&mut self, amount: u64) {
        let rest = self.amount.saturating_sub(amount);
        self.amount -= rest;
        self.account.give(rest);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.give(self.amount);
    }
}

/// Bytes that stay in the account until the last reader has dropped them.
struct Held {
    bytes: Box<[u8]>,
    _charge: Charge,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Makes `bytes` shareable; `charge` has to cover [`held_cost`] of their length.
pub(super) fn held(bytes: Box<[u8]>, charge: Charge) -> Bytes {
    debug_assert!(charge.amount >= held_cost(bytes.len()));
    let _charge = charge;
    Bytes::from_owner(Held { bytes, _charge })
}

/// What [`held`] bytes take: themselves and their shared owner.
pub(super) const fn held_cost(len: usize) -> u64 {
    len as u64 + HELD
}

/// The owner of held bytes and its counter (56 bytes), and what an allocator adds to two allocations.
const HELD: u64 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_charged_comes_back_with_the_last_reader() {
        let account = Account::new(1000);
        let charge = account.charge(held_cost(100)).expect("there is room");
        let bytes = held(vec![7; 100].into(), charge);
        let slice = bytes.slice(50..60);
        drop(bytes);
        assert_eq!(account.used(), held_cost(100));
        assert!(account.charge(1000 - held_cost(100) + 1).is_none());
        assert!(account.charge(1000 - held_cost(100)).is_some());
        drop(slice);
        assert_eq!(account.used(), 0);
    }

    #[test]
    fn charges_merge_and_shrink() {
        let account = Account::new(100);
        let mut charge = account.charge(60).expect("there is room");
        charge.merge(account.charge(40).expect("there is room"));
        assert_eq!((charge.amount(), account.used()), (100, 100));
        charge.shrink(30);
        assert_eq!((charge.amount(), account.used()), (30, 30));
        charge.shrink(50);
        drop(charge);
        assert_eq!(account.used(), 0);
    }
}
