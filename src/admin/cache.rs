//! What `wharf cache stats` shows, and what `wharf cache purge` asks for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// What the cache holds and has done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheReport {
    /// Where its files are; none: it is in memory alone, or no route has a cache.
    pub directory: Option<String>,
    /// Bytes, and at most how many.
    pub memory: u64,
    pub memory_limit: u64,
    pub disk: u64,
    pub disk_limit: u64,
    pub entries: u64,
    pub in_memory: u64,
    pub on_disk: u64,
    /// Answers that are being fetched.
    pub fills: u64,
    pub memory_hits: u64,
    pub disk_hits: u64,
    pub misses: u64,
    /// Entries that have gone, by cause.
    pub gone: BTreeMap<String, u64>,
    /// Files that were broken, or not Wharf's.
    pub faults: u64,
    /// Whether the directory has been looked through since the start.
    pub scanned: bool,
    /// Sorted by route.
    pub routes: Vec<CachedRoute>,
}

/// The part of one route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CachedRoute {
    pub route: String,
    /// What its entries are kept under: with `purge_on_deploy` the route in this version of its app.
    pub owner: String,
    pub memory: u64,
    pub disk: u64,
    /// Requests by what the cache did for them, as in `X-Cache-Status`.
    pub requests: BTreeMap<String, u64>,
}

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forget {
    /// `https://host/path?query`, or without a scheme: both.
    Url(String),
    /// A host, or a tag: it may be either.
    Name(String),
    All,
}

impl Forget {
    /// A URL has a slash.
    pub fn of(what: &str) -> Self {
        match what.contains('/') {
            true => Self::Url(what.to_owned()),
            false => Self::Name(what.to_owned()),
        }
    }
}

/// For people.
pub fn render_cache(report: &CacheReport) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "memory  {} of {} in {} entries",
        size(report.memory),
        size(report.memory_limit),
        report.in_memory
    );
    match &report.directory {
        Some(directory) => {
            let scan = if report.scanned {
                ""
            } else {
                "; still being read"
            };
            let _ = writeln!(
                out,
                "disk    {} of {} in {} entries, {directory}{scan}",
                size(report.disk),
                size(report.disk_limit),
                report.on_disk
            );
        }
        None => out.push_str("disk    none\n"),
    }
    let _ = writeln!(
        out,
        "hits    {} in memory, {} on disk; {} misses",
        report.memory_hits, report.disk_hits, report.misses
    );
    let gone: Vec<String> = { report.gone.iter() }
        .filter(|(_, count)| **count > 0)
        .map(|(cause, count)| format!("{count} {cause}"))
        .collect();
    if !gone.is_empty() {
        let _ = writeln!(out, "gone    {}", gone.join(", "));
    }
    if report.faults > 0 {
        let _ = writeln!(out, "faults  {} files broken or not Wharf's", report.faults);
    }
    for route in &report.routes {
        let requests: u64 = route.requests.values().sum();
        let words: Vec<String> = { route.requests.iter() }
            .filter(|(_, count)| **count > 0)
            .map(|(word, count)| format!("{word} {count}"))
            .collect();
        let hits = route.requests.get("HIT").copied().unwrap_or(0);
        let share = (hits * 100).checked_div(requests).unwrap_or(0);
        let _ = writeln!(
            out,
            "\n{}\n  {} in memory, {} on disk; {share} % of {requests} requests were hits\n  {}",
            route.route,
            size(route.memory),
            size(route.disk),
            match words.is_empty() {
                true => "no request yet".to_owned(),
                false => words.join("  "),
            }
        );
    }
    out
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_is_told_by_its_form() {
        for url in ["https://a.test/", "a.test/x?y"] {
            assert_eq!(Forget::of(url), Forget::Url(url.to_owned()));
        }
        assert_eq!(Forget::of("a.test"), Forget::Name("a.test".into()));
    }

    #[test]
    fn people_see_what_there_is() {
        let report = CacheReport {
            memory: 3 << 20,
            memory_limit: 64 << 20,
            in_memory: 2,
            memory_hits: 3,
            misses: 1,
            routes: vec![CachedRoute {
                route: "shop".into(),
                memory: 2048,
                requests: [("HIT".to_owned(), 3), ("MISS".to_owned(), 1)].into(),
                ..CachedRoute::default()
            }],
            ..CacheReport::default()
        };
        assert_eq!(
            render_cache(&report),
            "memory  3 MiB of 64 MiB in 2 entries\ndisk    none\nhits    3 in memory, 0 on disk; 1 misses\n\
             \nshop\n  2 KiB in memory, 0 B on disk; 75 % of 4 requests were hits\n  HIT 3  MISS 1\n"
        );
    }
}
