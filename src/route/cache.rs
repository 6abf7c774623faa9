//! What a route keeps of its app's answers, compiled.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::RouteTable;
use crate::cache::Shelf;
use crate::cache::rules::key::Url;
use crate::cache::rules::policy::{Cookies, Policy, Stale, Valid};
use crate::cache::store::{Owner, Quota, Store};
use crate::model::{CacheKey, CacheSpec, KeyPart, Matcher, RouteSpec, seen, unescape};

/// Words of [`CacheCounts`].
const WORDS: usize = 7;

/// `wharf.cache` of a route.
#[derive(Debug)]
pub struct RouteCache {
    pub store: Store,
    /// Who the entries belong to: the route, in this version of its app where a label says so.
    pub owner: Arc<Owner>,
    /// Stands before each of its keys: routes of one URL are told apart.
    pub prefix: Box<[u8]>,
    pub policy: Policy,
    pub bypass_read: Vec<Matcher>,
    pub bypass_store: Vec<Matcher>,
    pub key: Option<CacheKey>,
    /// Clients are told.
    pub header: bool,
    /// See `model::CacheSpec::purge_on_deploy`.
    pub versioned: bool,
    pub counts: Arc<CacheCounts>,
}

/// Requests of a route by what the cache did for them: any worker adds to them.
#[derive(Debug, Default)]
pub struct CacheCounts([AtomicU64; WORDS]);

impl CacheCounts {
    /// As in `X-Cache-Status`.
    pub const WORDS: [&str; WORDS] = [
        "HIT",
        "MISS",
        "BYPASS",
        "EXPIRED",
        "STALE",
        "UPDATING",
        "REVALIDATED",
    ];

    pub fn count(&self, word: &str) {
        let at = Self::WORDS.iter().position(|other| *other == word);
        if let Some(count) = at.and_then(|at| self.0.get(at)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Each word with its number.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let words = Self::WORDS.iter().copied();
        words.zip(self.0.iter().map(|count| count.load(Relaxed)))
    }
}

/// Of what request a key is.
#[derive(Debug, Clone, Copy)]
pub struct KeyOf<'a> {
    pub https: bool,
    /// `Host` as the client sent it.
    pub authority: &'a str,
    /// The same without a port, in lower case.
    pub host: &'a str,
    /// Path and query as the client wrote them.
    pub target: &'a str,
}

impl RouteCache {
    /// Appends the key of a request. `field` appends what it has of a field or a cookie, and says whether that is
    /// known; false: it is not, and neither is the key.
    pub fn write_key(
        &self,
        key: &mut Vec<u8>,
        of: KeyOf<'_>,
        mut field: impl FnMut(&KeyPart, &mut Vec<u8>) -> bool,
    ) -> bool {
        key.extend_from_slice(&self.prefix);
        let Some(own) = &self.key else {
            let url = Url {
                https: of.https,
                host: of.authority.as_bytes(),
                target: of.target.as_bytes(),
            };
            url.write(key);
            return true;
        };
        let (path, query) = of.target.split_once('?').unwrap_or((of.target, ""));
        for part in own.parts() {
            match part {
                KeyPart::Text(text) => key.extend_from_slice(text.as_bytes()),
                KeyPart::Scheme => {
                    key.extend_from_slice(if of.https { b"https" } else { b"http" });
                }
                KeyPart::Host => key.extend_from_slice(of.host.as_bytes()),
                KeyPart::Path => key.extend_from_slice(seen(path).as_bytes()),
                KeyPart::Uri => key.extend_from_slice(of.target.as_bytes()),
                KeyPart::Query => key.extend_from_slice(query.as_bytes()),
                KeyPart::Arg(name) => argument(key, query, name),
                KeyPart::Header(_) | KeyPart::Cookie(_) => {
                    if !field(part, key) {
                        return false;
                    }
                }
            }
            // No part runs into the next: none has a line feed.
            key.push(b'\n');
        }
        true
    }

    /// `before` is what the route had in the table before.
    pub(super) fn compile(
        spec: &RouteSpec,
        shelf: &Shelf,
        before: Option<&Self>,
    ) -> Option<Box<Self>> {
        let cache = spec.settings.cache.as_ref()?;
        let store = shelf.store()?;
        let name = match (&spec.version, cache.purge_on_deploy) {
            (Some(version), true) => format!("{}@{version}", spec.key),
            // Nothing runs: what is kept is all there is.
            (None, true) => match before.filter(|before| before.versioned) {
                Some(before) => before.owner.name().to_owned(),
                None => spec.key.0.clone(),
            },
            (_, false) => spec.key.0.clone(),
        };
        let quota = Quota {
            max_size: match cache.max_size {
                0 => u64::MAX,
                size => size,
            },
            inactive: match cache.inactive {
                time if time.is_zero() => std::time::Duration::MAX,
                time => time,
            },
        };
        let Some(owner) = store.owner(&name, quota) else {
            tracing::warn!(route = %spec.key, "no cache: there are too many routes that have one");
            return None;
        };
        let mut prefix = name.into_bytes();
        prefix.push(b'\n');
        Some(Box::new(Self {
            store: store.clone(),
            owner,
            prefix: prefix.into(),
            policy: policy(cache),
            bypass_read: cache.bypass_read.clone(),
            bypass_store: cache.bypass_store.clone(),
            key: cache.key.clone(),
            header: cache.header,
            versioned: cache.purge_on_deploy,
            counts: before.map_or_else(Arc::default, |before| Arc::clone(&before.counts)),
        }))
    }
}

/// Whose entries are of use to nobody in the next table: those of routes whose app is another version now.
pub(crate) fn outdated(previous: &RouteTable, next: &RouteTable) -> Vec<(Store, Arc<Owner>)> {
    let caches = |table: &RouteTable| {
        let routes = table.hosts().flat_map(|entry| &entry.routes);
        let caches = routes.filter_map(|route| {
            let cache = route.cache.as_deref()?;
            Some((
                route.key.clone(),
                cache.store.clone(),
                Arc::clone(&cache.owner),
            ))
        });
        caches.collect::<Vec<_>>()
    };
    let now: HashMap<_, _> = caches(next)
        .into_iter()
        .map(|(key, _, owner)| (key, owner))
        .collect();
    let mut gone = Vec::new();
    for (key, store, owner) in caches(previous) {
        let changed = now
            .get(&key)
            .is_some_and(|other| !Arc::ptr_eq(other, &owner));
        let known = |(_, other): &(Store, Arc<Owner>)| Arc::ptr_eq(other, &owner);
        if changed && !gone.iter().any(known) {
            gone.push((store, owner));
        }
    }
    gone
}

/// A request's first argument of that name, decoded.
fn argument(key: &mut Vec<u8>, query: &str, name: &str) {
    let decoded = |text: &str| unescape(text).unwrap_or_else(|| text.into());
    for pair in query.split('&') {
        let (own, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decoded(own) == name.as_bytes() {
            key.push(b'=');
            // Decoded, it may have a line feed.
            let plain = |byte: &u8| if *byte == b'\n' { b'\r' } else { *byte };
            key.extend(decoded(value).iter().map(plain));
            return;
        }
    }
}

fn policy(cache: &CacheSpec) -> Policy {
    let stale = &cache.stale;
    Policy {
        valid: Valid {
            by_status: cache.valid.by_status.clone(),
            any: cache.valid.any,
        },
        stale: Stale {
            error: stale.error,
            timeout: stale.timeout,
            invalid: stale.invalid,
            deploy: stale.error,
            updating: stale.updating,
            statuses: stale.statuses.clone(),
            limit: stale.limit,
            background: stale.background,
        },
        cookies: Cookies::Refuse,
        heuristic: cache.heuristic,
        wishes: true,
        convert_head: true,
        inactive: u32::try_from(cache.inactive.as_secs()).unwrap_or(u32::MAX),
    }
}
