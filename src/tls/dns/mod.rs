//! DNS-01 (RFC 8555 section 8.4): the TXT record that proves a name, set and taken away by a provider's
//! API or a program. The only way to wildcards.

mod exec;
mod provider;
mod query;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::CertsConfig;
use crate::config::{DnsRule, DnsSolver};
use query::Resolvers;

/// Everybody who may be asked to set a record.
pub(super) struct Dns {
    rules: Vec<DnsRule>,
    resolvers: Resolvers,
    wait: Duration,
    /// Records that are set, or may be: a start takes away what the one before left. The lock is also
    /// what keeps two changes of one zone apart, which some APIs would lose.
    left: Mutex<Left>,
}

/// Where a record belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// Without the final dot, aliases followed.
    name: String,
    zone: String,
}

/// A record that is to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Leftover {
    /// What it was set for; decides who takes it away.
    host: String,
    #[serde(flatten)]
    place: Place,
    value: String,
}

struct Left {
    records: Vec<Leftover>,
    file: Option<PathBuf>,
}

/// A record that is set. It is taken away, by a task of its own, when this is dropped.
pub(super) struct Answer {
    dns: Arc<Dns>,
    leftover: Leftover,
}

impl Dns {
    /// `None` where nobody is to set records. The data directory keeps the list of records that are set.
    pub(super) fn open(config: &CertsConfig) -> Option<Arc<Self>> {
        if config.dns.is_empty() {
            return None;
        }
        let file = config.data.as_ref().map(|data| data.join(FILE));
        let text = file.as_ref().and_then(|file| std::fs::read(file).ok());
        let records = text.and_then(|text| serde_json::from_slice(&text).ok());
        let left = Left {
            records: records.unwrap_or_default(),
            file,
        };
        Some(Arc::new(Self {
            rules: config.dns.clone(),
            resolvers: Resolvers::new(&config.dns_resolvers),
            wait: config.dns_wait,
            left: Mutex::new(left),
        }))
    }

    /// Whether names below this one are proven by records that a person sets.
    pub(super) fn is_standing(&self, host: &str) -> bool {
        matches!(self.solver(host, host), Some(DnsSolver::Persist))
    }

    /// The TXT records of a name, aliases followed: those of each of its zone's servers that answers.
    pub(super) async fn texts(&self, name: &str) -> Result<Vec<Vec<String>>, String> {
        let place = self.resolvers.place(name).await?;
        self.resolvers.texts(&place).await
    }

    /// Whether a record for this host can be set, or is there already.
    pub(super) fn serves(&self, host: &str) -> bool {
        self.solver(host, host).is_some()
    }

    /// Sets the record for `host` (a name without `*.`) and waits until the zone's servers have it.
    pub(super) async fn answer(
        self: &Arc<Self>,
        host: &str,
        value: &str,
    ) -> Result<Answer, String> {
        let challenge = format!("_acme-challenge.{host}");
        let leftover = Leftover {
            host: host.to_owned(),
            place: self.resolvers.place(&challenge).await?,
            value: value.to_owned(),
        };
        let answer = Answer {
            dns: Arc::clone(self),
            leftover,
        };
        let Leftover { place, value, .. } = &answer.leftover;
        let set = {
            let mut left = self.left.lock().await;
            left.records.push(answer.leftover.clone());
            left.save();
            self.change(&answer.leftover, true).await
        };
        let set = match set {
            Ok(()) => self.resolvers.wait(place, value, self.wait).await,
            Err(fault) => Err(fault),
        };
        set.map(|()| answer)
    }

    /// Takes away what an earlier process, or a failure, has left.
    pub(super) async fn clean(&self) {
        let mut left = self.left.lock().await;
        for record in std::mem::take(&mut left.records) {
            match self.change(&record, false).await {
                Ok(()) => tracing::info!(
                    name = record.place.name,
                    "removed a challenge's record that was left"
                ),
                Err(error) => {
                    tracing::warn!(name = record.place.name, %error, "a challenge's record is left in the zone");
                    if left.records.len() < LEFT_MOST {
                        left.records.push(record);
                    }
                }
            }
        }
        left.save();
    }

    /// Takes a record away. What fails is tried again at the next start.
    async fn remove(&self, record: &Leftover) {
        let mut left = self.left.lock().await;
        match self.change(record, false).await {
            Ok(()) => left.records.retain(|one| one != record),
            Err(error) => {
                let name = &record.place.name;
                tracing::warn!(name, %error, "a challenge's record is left in the zone");
                let surplus = left.records.len().saturating_sub(LEFT_MOST);
                left.records.drain(..surplus);
            }
        }
        left.save();
    }

    async fn change(&self, record: &Leftover, set: bool) -> Result<(), String> {
        let Leftover { host, place, value } = record;
        let solver = self.solver(host, &place.name);
        match solver.ok_or_else(|| format!("WHARF_DNS has no provider for {}", place.name))? {
            DnsSolver::Exec(program) => {
                let action = if set { "present" } else { "cleanup" };
                exec::run(program, action, place, value).await
            }
            DnsSolver::Persist => Err(format!(
                "WHARF_DNS says `persist` for {}, so nobody sets records",
                place.name
            )),
            DnsSolver::Provider { name, fields } => {
                let updater = provider::updater(name, fields);
                let told = |fault| provider::told(name, fields, fault);
                let updater = updater.map_err(told)?;
                let changed = async {
                    match set {
                        true => provider::add(&updater, place, value).await,
                        false => provider::remove(&updater, place, value).await,
                    }
                };
                let limited = tokio::time::timeout(CHANGE_MOST, changed).await;
                let limited = limited.unwrap_or_else(|_| Err("no answer in time".to_owned()));
                limited.map_err(told)
            }
        }
    }

    /// By the longest zone that the record's own name, or else the host, is in.
    fn solver(&self, host: &str, name: &str) -> Option<&DnsSolver> {
        let below = |name: &str, zone: &str| {
            name.strip_suffix(zone)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let best = |name: &str| {
            let rules = self.rules.iter().filter_map(|rule| {
                let zone = rule.zone.as_ref()?.as_str();
                below(name, zone).then_some((zone.len(), &rule.solver))
            });
            rules.max_by_key(|(length, _)| *length)
        };
        let any = || self.rules.iter().find(|rule| rule.zone.is_none());
        best(name)
            .or_else(|| best(host))
            .map(|(_, solver)| solver)
            .or_else(|| any().map(|rule| &rule.solver))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // Outside a runtime the process is about to end: the next one takes the record away.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (dns, leftover) = (Arc::clone(&self.dns), self.leftover.clone());
        runtime.spawn(async move { dns.remove(&leftover).await });
    }
}

impl Left {
    /// Where it cannot be written, a record may stay in the zone after a crash: harmless, so not told.
    fn save(&self) {
        let Some(file) = &self.file else { return };
        if self.records.is_empty() {
            let _ = std::fs::remove_file(file);
        } else if let Ok(text) = serde_json::to_vec(&self.records) {
            let new = file.with_extension("new");
            let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, file));
            if let Err(error) = written {
                tracing::debug!(%error, "the list of DNS records cannot be kept");
            }
        }
    }
}

const FILE: &str = "dns-records.json";
/// Leftovers that are remembered.
const LEFT_MOST: usize = 100;
/// One change at a provider, all its requests together.
const CHANGE_MOST: Duration = Duration::from_secs(60);
