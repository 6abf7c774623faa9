//! Snapshot -> plan -> table -> certificates wanted. The only writer of the routing table.
//!
//! Runs on the control thread. A snapshot that changes nothing ends after the comparison; workers
//! never notice.

/// Endpoints that are gone with all that is under way to them.
mod lost;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use self::lost::{Departed, lost};
use crate::cache::store::Purge;
use crate::docker::labels::references;
use crate::docker::plan::{KEPT, PlanOptions, notes, plan};
use crate::docker::{Container, Position, Snapshot};
use crate::files::{Files, Follower};
use crate::model::{ContainerNote, LabelPrefix, Names, Plan, Problem, Severity, TlsMode, Verify};
use crate::resting::Resting;
use crate::route::{self, RouteTable, SharedTable};
use crate::tls::{Certs, Wanted};
use crate::upstream::Secret;
use crate::values::Source;

/// What control last made of the engine's state; for status.
#[derive(Debug, Clone, Default)]
pub struct Published {
    pub plan: Plan,
    pub problems: Vec<Problem>,
    /// What has become of each container.
    pub notes: Arc<Vec<ContainerNote>>,
    pub table: Arc<RouteTable>,
}

/// Settings of control.
#[derive(Debug)]
pub struct ControlConfig {
    pub plan: PlanOptions,
    /// The operator's files.
    pub files: Follower,
    /// Where `env:` and `file:` in labels are read from.
    pub values: Source,
    /// Port of the TLS listener, if there is one.
    pub https_port: Option<u16>,
    /// Key of what sticky clients carry.
    pub secret: Secret,
}

/// Where control writes.
#[derive(Debug)]
pub struct Outputs {
    pub published: watch::Sender<Arc<Published>>,
    /// Names outside Docker that upstreams lead to.
    pub names: watch::Sender<BTreeSet<String>>,
}

/// Follows the snapshots until their sender is gone.
pub async fn run(
    config: ControlConfig,
    mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    mut names: watch::Receiver<Arc<Names>>,
    mut resting: watch::Receiver<Arc<Resting>>,
    table: Arc<SharedTable>,
    certs: Certs,
    out: Outputs,
) {
    let mut control = Control {
        config,
        files: Files::default(),
        table,
        certs,
        out,
        departed: Departed::default(),
    };
    control.config.plan.values = control.config.values.values();
    control.config.files.look();
    control.take_files();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Cancel safe, all.
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() {
                return;
            },
            Ok(()) = names.changed() => {
                control.config.plan.names = Arc::clone(&names.borrow_and_update());
            }
            Ok(()) = resting.changed() => {
                control.config.plan.resting = Arc::clone(&resting.borrow_and_update());
            }
            _ = looks.tick() => {
                let values = control.config.values.look_again();
                if values {
                    control.config.plan.values = control.config.values.values();
                }
                if !control.config.files.look() && !values {
                    continue;
                }
                control.take_files();
            }
            () = control.forgetting() => {}
        }
        let snapshot = snapshots.borrow_and_update().clone();
        if let Some(snapshot) = snapshot {
            control.apply(&snapshot);
        }
    }
}

struct Control {
    config: ControlConfig,
    /// What they said at the last look.
    files: Files,
    table: Arc<SharedTable>,
    certs: Certs,
    out: Outputs,
    departed: Departed,
}

impl Control {
    fn take_files(&mut self) {
        self.files = self.config.files.files(&self.config.plan.values);
        self.config.plan.presets = Arc::clone(&self.files.presets);
        self.config.plan.problems = Arc::clone(&self.files.problems);
    }

    /// Reads what labels name that has not been read yet.
    fn take_values(&mut self, snapshot: &Snapshot) {
        let mut wanted = self.config.files.references();
        for container in &snapshot.containers {
            let ours = container.labels.iter();
            let ours = ours.filter(|(label, _)| self.config.plan.prefix.owns(label));
            wanted.extend(ours.flat_map(|(_, value)| references(value)));
        }
        if self.config.values.look(&wanted) {
            self.config.plan.values = self.config.values.values();
            self.take_files();
        }
    }

    /// Ends when the first of the routes whose containers are gone is to be forgotten.
    fn forgetting(&self) -> impl Future<Output = ()> + use<> {
        let first = self
            .out
            .published
            .borrow()
            .plan
            .gone
            .values()
            .min()
            .copied();
        async move {
            match first {
                Some(since) => tokio::time::sleep_until((since + KEPT).into()).await,
                None => std::future::pending().await,
            }
        }
    }

    fn apply(&mut self, snapshot: &Snapshot) {
        self.take_values(snapshot);
        let before = Arc::clone(&self.out.published.borrow());
        let now = Instant::now();
        let with_files;
        let snapshot = if self.files.containers.is_empty() {
            snapshot
        } else {
            let mut both = snapshot.clone();
            both.containers
                .extend(self.files.containers.iter().cloned());
            with_files = both;
            &with_files
        };
        let (plan, mut problems) = plan(snapshot, &self.config.plan, &before.plan, now);
        self.files.place(&mut problems, &self.config.plan.prefix);
        let https_port = self
            .config
            .https_port
            .map(|port| public_port(snapshot, port));
        let first = before.table.generation == 0;
        let gateways = gateways(snapshot);
        let mut gone = self.departed.take_gone(snapshot);
        let same = plan == before.plan
            && https_port == before.table.https_port
            && gateways == before.table.gateways
            && gone.is_empty();
        let told = same && problems == before.problems && !first;
        if told {
            let notes = notes(snapshot, &self.config.plan, &plan, &problems);
            if notes != *before.notes {
                let notes = Arc::new(notes);
                self.table.note(Arc::clone(&notes));
                let published = Published {
                    notes,
                    ..Published::clone(&before)
                };
                self.out.published.send_replace(Arc::new(published));
            }
            return;
        }
        tell_problems(&before.problems, &problems, &self.config.plan.prefix);
        self.out.names.send_if_modified(|names| {
            let news = *names != plan.names;
            if news {
                names.clone_from(&plan.names);
            }
            news
        });
        let table = if same && !first {
            Arc::clone(&before.table)
        } else {
            tell_routes(&before.plan, &plan);
            let mut compiled = route::compile(&plan, &before.table, &self.config.secret, now);
            compiled.https_port = https_port;
            compiled.gateways = gateways;
            self.departed.note(&before, &compiled);
            gone.extend(self.departed.take_gone(snapshot));
            compiled.lost = lost(&before.table.lost, gone);
            let table = Arc::new(compiled);
            self.certs.trust(&believed(&table));
            // Declared first: a request that finds the new route may want its certificate at once.
            self.certs.declare(match https_port {
                Some(_) => wanted(&table),
                None => Vec::new(),
            });
            self.table.store(Arc::clone(&table));
            let (generation, took) = (table.generation, now.elapsed());
            tracing::debug!(generation, ?took, "table swapped");
            forget(&before.table, &table);
            table
        };
        // After the table: nobody waits for these.
        let notes = Arc::new(notes(snapshot, &self.config.plan, &plan, &problems));
        self.table.note(Arc::clone(&notes));
        self.out.published.send_replace(Arc::new(Published {
            plan,
            problems,
            notes,
            table,
        }));
    }
}

/// Has the cache forget what apps have said that are another version now (`wharf.cache.purge_on_deploy`). Nobody finds
/// it any more from the swap on.
fn forget(before: &RouteTable, table: &RouteTable) {
    for (store, owner) in route::outdated(before, table) {
        tokio::spawn(async move {
            let route = owner.name().to_owned();
            let gone = store.purge(Purge::Owner(owner)).await;
            tracing::info!(
                route,
                gone,
                "another version of the app: what it had said is forgotten"
            );
        });
    }
}

/// How often files are looked at: mounts from elsewhere send no notice.
const LOOK: Duration = Duration::from_secs(1);

/// The names routes want certificates for.
fn wanted(table: &RouteTable) -> Vec<Wanted> {
    table
        .hosts()
        .filter(|entry| entry.tls != TlsMode::Off)
        .map(|entry| Wanted {
            pattern: entry.certificate.clone(),
            mode: entry.tls,
            file: entry.file.clone(),
            policy: entry.policy.clone(),
            ask: entry.ask.as_ref().map(|ask| ask.to_string().into()),
        })
        .collect()
}

/// How apps that speak TLS are believed.
fn believed(table: &RouteTable) -> BTreeSet<Verify> {
    let endpoints = table.upstreams.iter().flat_map(|up| &up.endpoints);
    let tls = endpoints.filter_map(|endpoint| endpoint.tls.as_ref());
    tls.map(|tls| tls.verify.clone()).collect()
}

/// Where clients reach our TLS port: the port it is published on, when Wharf runs in a container
/// that publishes it.
fn public_port(snapshot: &Snapshot, port: u16) -> u16 {
    let published = own(snapshot).into_iter().flat_map(|own| &own.published);
    published
        .filter(|entry| entry.private == port)
        .map(|entry| entry.public)
        .min()
        .unwrap_or(port)
}

/// Sorted.
fn gateways(snapshot: &Snapshot) -> Vec<IpAddr> {
    let networks = own(snapshot).into_iter().flat_map(|own| &own.networks);
    let mut gateways: Vec<IpAddr> = networks.filter_map(|network| network.gateway).collect();
    gateways.sort_unstable();
    gateways
}

/// The container Wharf runs in.
fn own(snapshot: &Snapshot) -> Option<&Container> {
    let Position::Container { id } = &snapshot.position else {
        return None;
    };
    snapshot
        .containers
        .iter()
        .find(|container| container.id == *id)
}

fn tell_problems(before: &[Problem], now: &[Problem], prefix: &LabelPrefix) {
    let old: BTreeSet<&Problem> = before.iter().collect();
    let new: BTreeSet<&Problem> = now.iter().collect();
    // A container at fault as a whole has no label to show.
    let shown = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    for problem in new.difference(&old) {
        let (container, reason) = (&problem.container, prefix.in_words(&problem.reason));
        let (label, value) = (shown(&problem.label), shown(&problem.value));
        match problem.severity {
            Severity::Error => tracing::error!(container, label, value, "{reason}"),
            Severity::Warning => tracing::warn!(container, label, value, "{reason}"),
        }
    }
    for problem in old.difference(&new) {
        let (container, reason) = (&problem.container, prefix.in_words(&problem.reason));
        tracing::info!(container, label = shown(&problem.label), "gone: {reason}");
    }
}

fn tell_routes(before: &Plan, now: &Plan) {
    for route in &now.routes {
        if !before
            .routes
            .iter()
            .any(|old| old.key == route.key && old.hosts == route.hosts)
        {
            let hosts: Vec<String> = route.hosts.iter().map(ToString::to_string).collect();
            let (path, upstream) = (&route.path, &route.upstream);
            tracing::info!(host = hosts.join(", "), %path, %upstream, "route");
        }
    }
    for route in &before.routes {
        if !now.routes.iter().any(|new| new.key == route.key) {
            tracing::info!(route = %route.key, "route gone");
        }
    }
    for upstream in &now.upstreams {
        let old = before.upstreams.iter().find(|old| old.key == upstream.key);
        if old.map(|old| &old.endpoints) != Some(&upstream.endpoints) {
            let endpoints: Vec<String> = upstream
                .endpoints
                .iter()
                .map(|endpoint| format!("{} {}", endpoint.container, endpoint.addr))
                .collect();
            tracing::info!(upstream = %upstream.key, endpoints = endpoints.join(", "), "endpoints");
        }
    }
}
