//! Looks at the directory every two seconds, because mounts from elsewhere send no notice of changes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{FileProblem, Own, Stamp, scan, stamp};
use crate::tls::book::Shared;

/// Follows the files until dropped.
pub(in crate::tls) async fn watch(shared: Arc<Shared>, mut known: Stamp) {
    let mut reminders = Reminders::default();
    loop {
        reminders.tell(&shared);
        tokio::time::sleep(POLL).await;
        let Some(now) = look(&shared).await else {
            continue;
        };
        if now == known {
            continue;
        }
        known = settled(&shared, now).await;
        let reloaded = tokio::task::spawn_blocking({
            let shared = Arc::clone(&shared);
            move || reload(&shared)
        });
        if reloaded.await.is_err() {
            tracing::error!("reading the certificate files ended in a panic");
        }
    }
}

/// Waits while files are being written, as far as that shows.
async fn settled(shared: &Arc<Shared>, mut last: Stamp) -> Stamp {
    for _ in 0..SETTLE_MOST {
        tokio::time::sleep(SETTLE).await;
        match look(shared).await {
            Some(now) if now != last => last = now,
            _ => break,
        }
    }
    last
}

async fn look(shared: &Arc<Shared>) -> Option<Stamp> {
    let shared = Arc::clone(shared);
    let looked = tokio::task::spawn_blocking(move || {
        stamp(shared.config.own.as_deref(), shared.policy_files())
    });
    looked.await.ok()
}

fn reload(shared: &Shared) {
    shared.renew_policies();
    shared.renew_trusts();
    let Some(directory) = &shared.config.own else {
        return;
    };
    let before = shared.own.load_full();
    let own = Own::assemble(scan(directory), &shared.parts, &before);
    tell(&before, &own);
    shared.replace_own(own, SystemTime::now());
}

/// Logs what is new and what is over.
pub(in crate::tls) fn tell(before: &Own, now: &Own) {
    for problem in now.problems() {
        if before.problems().contains(problem) {
            continue;
        }
        let FileProblem {
            path,
            reason,
            is_error,
        } = problem;
        let path = path.display();
        match is_error {
            true => tracing::error!(%path, "a certificate file cannot be used: {reason}"),
            false => tracing::warn!(%path, "a certificate file deserves a look: {reason}"),
        }
    }
    for problem in before.problems() {
        if !now.problems().contains(problem) {
            tracing::info!(path = %problem.path.display(), "gone: {}", problem.reason);
        }
    }
    for one in now.certificates() {
        let mut old = before.certificates().iter();
        if !old.any(|old| old.served.hash == one.served.hash) {
            tracing::info!(
                path = %one.path.display(), names = one.facts.names.join(", "),
                not_after = %httpdate::fmt_http_date(one.facts.not_after), "certificate file"
            );
        }
    }
}

/// When the coming end of each file was last logged.
#[derive(Default)]
struct Reminders(HashMap<PathBuf, Instant>);

impl Reminders {
    /// Of certificates in use alone: others may lie there as long as they like.
    fn tell(&mut self, shared: &Shared) {
        let own = shared.own.load();
        let now = SystemTime::now();
        let mut ending = own
            .certificates()
            .iter()
            .filter_map(|one| Some((one, one.expiry(now)?)));
        let Some(first) = ending.next() else {
            return;
        };
        let in_use = shared.in_use();
        for (one, text) in std::iter::once(first).chain(ending) {
            let hosts = in_use
                .iter()
                .filter(|(_, served)| Arc::ptr_eq(served, &one.served));
            let hosts: Vec<String> = hosts.map(|(pattern, _)| pattern.to_string()).collect();
            let due = self
                .0
                .get(&one.path)
                .is_none_or(|told| told.elapsed() >= REMIND);
            if due && !hosts.is_empty() {
                self.0.insert(one.path.clone(), Instant::now());
                tracing::warn!(path = %one.path.display(), hosts = hosts.join(", "), "a certificate file {text}");
            }
        }
        self.0.retain(|_, told| told.elapsed() < 2 * REMIND);
    }
}

const POLL: Duration = Duration::from_secs(2);
const SETTLE: Duration = Duration::from_millis(200);
/// A file that is written for longer is read as it is, and again later.
const SETTLE_MOST: usize = 25;
const REMIND: Duration = Duration::from_secs(24 * 60 * 60);
