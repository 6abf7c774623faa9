//! Whose an entry is: a route, by name, with its quota. And the `Vary` rules that entries were stored under.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::account::take;

/// A route that caches. Held by the route's compiled form; entries name it by number.
#[derive(Debug)]
pub struct Owner {
    id: u16,
    name: Box<str>,
    /// Bytes in each tier.
    quota: AtomicU64,
    /// Seconds.
    inactive: AtomicU32,
    memory: AtomicU64,
    disk: AtomicU64,
}

/// What an owner may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Bytes in each tier, metadata included (nginx: `max_size`).
    pub max_size: u64,
    /// What has not been asked for so long goes, fresh or not. To the second.
    pub inactive: Duration,
}

impl Default for Quota {
    /// No limit but the store's; ten minutes, as nginx.
    fn default() -> Self {
        Self {
            max_size: u64::MAX,
            inactive: Duration::from_secs(600),
        }
    }
}

impl Owner {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of memory and of disk that it holds.
    pub fn used(&self) -> (u64, u64) {
        (self.memory.load(Relaxed), self.disk.load(Relaxed))
    }

    pub(super) fn id(&self) -> u16 {
        self.id
    }

    pub(super) fn inactive(&self) -> u32 {
        self.inactive.load(Relaxed)
    }

    pub(super) fn take_memory(&self, bytes: u64) -> bool {
        take(&self.memory, bytes, self.quota.load(Relaxed))
    }

    pub(super) fn give_memory(&self, bytes: u64) {
        self.memory.fetch_sub(bytes, Relaxed);
    }

    pub(super) fn take_disk(&self, bytes: u64) -> bool {
        take(&self.disk, bytes, self.quota.load(Relaxed))
    }

    pub(super) fn give_disk(&self, bytes: u64) {
        self.disk.fetch_sub(bytes, Relaxed);
    }

    pub(super) fn quota(&self) -> u64 {
        self.quota.load(Relaxed)
    }

    fn set(&self, quota: Quota) {
        let inactive = u32::try_from(quota.inactive.as_secs()).unwrap_or(u32::MAX);
        self.quota.store(quota.max_size, Relaxed);
        self.inactive.store(inactive.max(1), Relaxed);
    }
}

/// Owners by name. One that nobody holds, and that holds nothing, gives its number back.
#[derive(Debug, Default)]
pub(super) struct Owners(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    named: HashMap<Box<str>, Arc<Owner>>,
    next: u16,
}

impl Owners {
    /// The owner of that name; a quota replaces the one it has. Nothing where there are 65,535 of them.
    pub(super) fn named(&self, name: &str, quota: Option<Quota>) -> Option<Arc<Owner>> {
        let mut numbers = self.lock();
        if let Some(owner) = numbers.named.get(name) {
            if let Some(quota) = quota {
                owner.set(quota);
            }
            return Some(Arc::clone(owner));
        }
        let owner = Owner {
            id: numbers.number()?,
            name: name.into(),
            quota: AtomicU64::new(0),
            inactive: AtomicU32::new(0),
            memory: AtomicU64::new(0),
            disk: AtomicU64::new(0),
        };
        owner.set(quota.unwrap_or_default());
        let owner = Arc::new(owner);
        numbers.named.insert(name.into(), Arc::clone(&owner));
        Some(owner)
    }

    pub(super) fn all(&self) -> Vec<Arc<Owner>> {
        self.lock().named.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        // Nothing in here panics half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Numbers {
    fn number(&mut self) -> Option<u16> {
        if self.named.len() >= usize::from(u16::MAX) {
            self.named.retain(|_, owner| Arc::strong_count(owner) > 1);
        }
        if self.named.len() >= usize::from(u16::MAX) {
            return None;
        }
        loop {
            self.next = self.next.wrapping_add(1);
            if self.named.values().all(|owner| owner.id != self.next) {
                return Some(self.next);
            }
        }
    }
}

/// `Vary` rules by number, so that an entry holds two bytes. There are few: they are in what apps send, not clients.
#[derive(Debug)]
pub(super) struct Rules {
    list: ArcSwap<Vec<Arc<[u8]>>>,
    adding: Mutex<()>,
}

impl Rules {
    pub(super) fn new() -> Self {
        Self {
            list: ArcSwap::from_pointee(Vec::new()),
            adding: Mutex::new(()),
        }
    }

    /// Numbers begin with 1; 0 is "does not vary".
    pub(super) fn get(&self, number: u16) -> Option<Arc<[u8]>> {
        let at = usize::from(number).checked_sub(1)?;
        self.list.load().get(at).cloned()
    }

    /// Nothing once there are [`RULES`], or if it is longer than [`RULE_LEN`].
    pub(super) fn number(&self, rule: &[u8]) -> Option<u16> {
        if let Some(at) = position(&self.list.load(), rule) {
            return Some(at);
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let list = self.list.load_full();
        if let Some(at) = position(&list, rule) {
            return Some(at);
        }
        if list.len() >= RULES || rule.len() > RULE_LEN {
            return None;
        }
        let mut list = Vec::clone(&list);
        list.push(rule.into());
        let number = u16::try_from(list.len()).ok();
        self.list.store(Arc::new(list));
        number
    }
}

fn position(list: &[Arc<[u8]>], rule: &[u8]) -> Option<u16> {
    let at = list.iter().position(|known| **known == *rule)?;
    u16::try_from(at + 1).ok()
}

/// Different `Vary` rules in one store.
const RULES: usize = 256;
/// The longest of them, in bytes.
const RULE_LEN: usize = 512;
