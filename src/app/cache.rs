//! What is told of the cache, and what of it is forgotten when somebody asks for that.

use crate::admin::{CacheReport, CachedRoute, Forget};
use crate::cache::Shelf;
use crate::cache::store::{Cause, Purge, Stats};
use crate::control::Published;
use crate::metrics::CacheGauges;
use crate::model::Host;
use crate::route::RouteCache;

/// Routes that have a cache, each once, by key.
fn caches(published: &Published) -> Vec<(&str, &RouteCache)> {
    let routes = published.table.hosts().flat_map(|entry| &entry.routes);
    let caches = routes.filter_map(|route| Some((&*route.key.0, route.cache.as_deref()?)));
    let mut caches: Vec<_> = caches.collect();
    caches.sort_by_key(|(key, _)| *key);
    caches.dedup_by_key(|(key, _)| *key);
    caches
}

pub(super) fn report(published: &Published) -> CacheReport {
    let Some(shelf) = &published.table.shelf else {
        return CacheReport::default();
    };
    let stats = shelf
        .opened()
        .map(|store| store.stats())
        .unwrap_or_default();
    let gone = CAUSES.map(|(cause, word)| (word.to_owned(), stats.counts.of(cause)));
    CacheReport {
        directory: directory(shelf),
        memory: stats.memory,
        memory_limit: shelf.limits().memory,
        disk: stats.disk,
        disk_limit: shelf.limits().disk,
        entries: stats.entries,
        in_memory: stats.in_memory,
        on_disk: stats.on_disk,
        fills: stats.fills,
        memory_hits: stats.counts.memory_hits,
        disk_hits: stats.counts.disk_hits,
        misses: stats.counts.misses,
        gone: gone.into(),
        faults: stats.faults,
        scanned: stats.scanned,
        routes: { caches(published).into_iter() }
            .map(|(route, cache)| {
                let (memory, disk) = cache.owner.used();
                let requests = cache.counts.all();
                CachedRoute {
                    route: route.to_owned(),
                    owner: cache.owner.name().to_owned(),
                    memory,
                    disk,
                    requests: requests.map(|(word, n)| (word.to_owned(), n)).collect(),
                }
            })
            .collect(),
    }
}

fn directory(shelf: &Shelf) -> Option<String> {
    let directory = shelf.directory().filter(|_| shelf.opened().is_some());
    directory.map(|directory| directory.display().to_string())
}

/// For metrics; nothing while no route has a cache.
pub(super) fn gauges(published: &Published) -> Option<CacheGauges> {
    let store = published.table.shelf.as_ref()?.opened()?;
    let Stats {
        memory,
        disk,
        in_memory,
        on_disk,
        fills,
        faults,
        counts,
        ..
    } = store.stats();
    Some(CacheGauges {
        memory,
        disk,
        in_memory,
        on_disk,
        fills,
        faults,
        gone: CAUSES.map(|(cause, word)| (word, counts.of(cause))).into(),
        routes: { caches(published).into_iter() }
            .map(|(route, cache)| (route.to_owned(), cache.counts.all().collect()))
            .collect(),
    })
}

/// Forgets; says how many entries there were.
pub(super) async fn purge(published: &Published, what: Forget) -> Result<u64, String> {
    let Some(store) = published
        .table
        .shelf
        .as_ref()
        .and_then(|shelf| shelf.opened())
    else {
        return Err("no route has wharf.cache".to_owned());
    };
    match what {
        Forget::All => Ok(store.purge(Purge::All).await),
        Forget::Name(name) => {
            let lower = name.to_ascii_lowercase();
            let of_host = store.purge(Purge::Host(lower.as_bytes().into())).await;
            let of_tag = store.purge(Purge::Tag(name.as_bytes().into())).await;
            Ok(of_host + of_tag)
        }
        Forget::Url(url) => {
            let mut gone = 0;
            for key in keys(published, &url)? {
                gone += store.purge(Purge::Key(key.into())).await;
            }
            Ok(gone)
        }
    }
}

/// What a URL may be stored under.
fn keys(published: &Published, url: &str) -> Result<Vec<Vec<u8>>, String> {
    let (schemes, rest) = match url.split_once("://") {
        Some(("http", rest)) => (&[false][..], rest),
        Some(("https", rest)) => (&[true][..], rest),
        Some((other, _)) => return Err(format!("{other}:// is neither http:// nor https://")),
        None => (&[false, true][..], url),
    };
    let (authority, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let target = if target.is_empty() { "/" } else { target };
    let name = authority
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let name = name.map_or(authority, |(name, _)| name);
    let host = Host::parse(name).map_err(|_| format!("`{name}` is no host"))?;
    let entry = published.table.find_host(host.as_str());
    let entry = entry.ok_or_else(|| format!("no route names {host}"))?;
    let mut keys = Vec::new();
    for cache in entry
        .routes
        .iter()
        .filter_map(|route| route.cache.as_deref())
    {
        for https in schemes {
            let mut key = Vec::new();
            let asked = crate::route::KeyOf {
                https: *https,
                authority,
                host: host.as_str(),
                target,
            };
            if !cache.write_key(&mut key, asked, |_, _| false) {
                return Err(
                    "wharf.cache.key names a field or a cookie, which a URL does not say: purge the host, or a tag"
                        .to_owned(),
                );
            }
            keys.push(key);
        }
    }
    match keys.is_empty() {
        true => Err(format!("no route of {host} has wharf.cache")),
        false => Ok(keys),
    }
}

/// Why entries go, in words.
const CAUSES: [(Cause, &str); 8] = [
    (Cause::Memory, "memory"),
    (Cause::Disk, "disk"),
    (Cause::Quota, "quota"),
    (Cause::Inactive, "inactive"),
    (Cause::Purged, "purged"),
    (Cause::Replaced, "replaced"),
    (Cause::Variants, "variants"),
    (Cause::Broken, "broken"),
];
