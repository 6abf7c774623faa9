//! What is known of a stored response without looking at its fields again: how old it is, how long it is fresh, for
//! what it may be used afterwards.

use super::Time;
use super::scan::FOREVER;

/// The facts about one stored response. Small and plain: a store keeps it beside the head and the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub status: u16,
    /// When it was received, or confirmed last.
    pub received: Time,
    /// What it says itself, or when it was received: the latest of several is used (RFC 9111 section 4.1).
    pub date: Time,
    /// How old it was then (section 4.2.3).
    pub initial_age: u32,
    /// The age up to which it is fresh (section 4.2.1).
    pub lifetime: u32,
    /// Seconds past the lifetime in which anybody gets it at once while it is fetched (RFC 5861 section 3).
    pub while_revalidate: u32,
    /// Seconds past the lifetime in which it stands in for an error (RFC 5861 section 4).
    pub if_error: u32,
    pub marks: Marks,
}

/// What a stored response demands or permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(u8);

impl Marks {
    /// Not to be used without asking the app (no-cache).
    pub const ASK: Self = Self(1);
    /// Never to be used stale, whatever the app says besides (must-revalidate, proxy-revalidate).
    pub const NEVER_STALE: Self = Self(1 << 1);
    /// To be used stale only where the app names the time (s-maxage, which implies proxy-revalidate).
    pub const STALE_IF_NAMED: Self = Self(1 << 2);
    /// Others than those who ask without Authorization may have it, too (RFC 9111 section 3.5).
    pub const FOR_AUTHORIZED: Self = Self(1 << 3);
    /// Has an entity tag or a date of its last change.
    pub const VALIDATOR: Self = Self(1 << 4);
    /// Does not change while it is fresh (RFC 8246).
    pub const IMMUTABLE: Self = Self(1 << 5);
    /// Answers a request that had [`UNKEYED`](super::vary::UNKEYED) fields, and is for such requests only.
    pub const UNKEYED: Self = Self(1 << 6);

    pub fn has(self, mark: Self) -> bool {
        self.0 & mark.0 != 0
    }

    #[must_use]
    pub fn with(self, mark: Self, on: bool) -> Self {
        Self(if on { self.0 | mark.0 } else { self.0 })
    }
}

/// A clock may be set back by so many seconds without anything stored since then being doubted.
const CLOCK_SLACK: u64 = 5;

impl Stored {
    /// How many bytes [`Self::to_bytes`] makes.
    pub const SIZE: usize = 36;

    /// Seconds since the app, or a cache before this one, made or confirmed it (section 4.2.3). Never negative,
    /// however the clock jumps.
    pub fn age(&self, now: Time) -> u32 {
        let here = now.saturating_sub(self.received).min(u64::from(FOREVER));
        self.initial_age.saturating_add(here as u32).min(FOREVER)
    }

    /// Whether it was received later than now, so that nobody knows how old it is: the clock has been set back.
    fn is_from_the_future(&self, now: Time) -> bool {
        self.received > now.saturating_add(CLOCK_SLACK)
    }

    /// Whether it is within its lifetime (section 4.2).
    pub fn is_fresh(&self, now: Time) -> bool {
        self.lifetime > self.age(now) && !self.is_from_the_future(now)
    }

    /// Whether it was within its lifetime when it was received or confirmed.
    pub fn was_fresh(&self) -> bool {
        self.lifetime > self.initial_age
    }

    /// Seconds for which it will be fresh; 0 where it is not.
    pub fn fresh_for(&self, now: Time) -> u32 {
        if self.is_from_the_future(now) {
            return 0;
        }
        self.lifetime.saturating_sub(self.age(now))
    }

    /// Seconds past its lifetime, as Cache-Status counts them: below 0 where it is fresh no more (RFC 9211 section
    /// 2.4).
    pub fn ttl(&self, now: Time) -> i64 {
        i64::from(self.lifetime) - i64::from(self.age(now))
    }

    /// Seconds since it ceased to be fresh; `u32::MAX` where nobody knows.
    pub fn stale_for(&self, now: Time) -> u32 {
        if self.is_from_the_future(now) {
            return u32::MAX;
        }
        self.age(now).saturating_sub(self.lifetime)
    }

    /// Whether it is for a request that has waited while it was fetched for another one. It is newer than the
    /// request, so that what a client says of its age does not matter.
    pub fn is_shared(&self, unkeyed: bool, authorization: bool, now: Time) -> bool {
        let others = authorization && !self.marks.has(Marks::FOR_AUTHORIZED);
        let used = self.is_fresh(now) || self.may_be_stale(now, self.while_revalidate, None);
        !others && unkeyed == self.marks.has(Marks::UNKEYED) && !self.marks.has(Marks::ASK) && used
    }

    /// Whether it may be used that long after its lifetime: as the app allows, or as somebody else does (section
    /// 4.2.4).
    pub(super) fn may_be_stale(&self, now: Time, app: u32, other: Option<u32>) -> bool {
        if self.marks.has(Marks::ASK) || self.marks.has(Marks::NEVER_STALE) {
            return false;
        }
        let named = !self.marks.has(Marks::STALE_IF_NAMED);
        let limit = app.max(other.filter(|_| named).unwrap_or(0));
        let stale = self.stale_for(now);
        stale < limit || limit == u32::MAX
    }

    /// When nothing is gained by keeping it any longer: it cannot be used any more, nor asked about. `None`: as long
    /// as there is room.
    pub fn useless_after(&self, limit: u32) -> Option<Time> {
        if self.marks.has(Marks::VALIDATOR) {
            return None;
        }
        let stale = self.while_revalidate.max(self.if_error).max(limit);
        let left = self.lifetime.saturating_sub(self.initial_age);
        let left = u64::from(left).saturating_add(u64::from(stale));
        Some(self.received.saturating_add(left))
    }

    /// The same, not to be used again without asking the app: it is not what is there now.
    #[must_use]
    pub fn outdated(self) -> Self {
        let marks = self.marks.with(Marks::ASK, true);
        Self { marks, ..self }
    }

    /// For a store that outlives the process.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[0..2].copy_from_slice(&self.status.to_le_bytes());
        bytes[2] = self.marks.0;
        bytes[4..12].copy_from_slice(&self.received.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.date.to_le_bytes());
        let numbers = [
            self.initial_age,
            self.lifetime,
            self.while_revalidate,
            self.if_error,
        ];
        for (place, number) in bytes[20..].chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// What [`Self::to_bytes`] made; whoever kept it answers for its being whole.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let long = |at: usize| u64::from_le_bytes(take(bytes, at));
        let number = |at: usize| u32::from_le_bytes(take(bytes, at));
        Self {
            status: u16::from_le_bytes(take(bytes, 0)),
            marks: Marks(bytes[2]),
            received: long(4),
            date: long(12),
            initial_age: number(20),
            lifetime: number(24),
            while_revalidate: number(28),
            if_error: number(32),
        }
    }
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut taken = [0; N];
    taken.copy_from_slice(&bytes[at..at + N]);
    taken
}
