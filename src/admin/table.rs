//! A [`Status`] for people: problems first, then what is served.

use std::fmt::Write;

use super::layout::{Cell, Page, Tone};
use super::{Certificate, Container, OnDemand, ProblemLine, Status, Store};

/// The text of `wharf status`. `now` is Unix time, for days left; `colour` and `width` are for terminals.
///
/// Names and reasons come from labels and peers: control characters are shown escaped.
pub fn render(status: &Status, now: i64, colour: bool, width: Option<usize>) -> String {
    let mut page = Page::new(colour, width);
    head(&mut page, status);
    page.table("Problems", &[], problems(status, now));
    containers(&mut page, &status.containers, &status.problems);

    let routes = status.routes.iter().map(|route| {
        let state = match route.fault {
            Some(_) => Cell(Tone::Bad, "answers 503".to_owned()),
            None => match route.breaker.as_deref().filter(|state| *state != "closed") {
                Some(breaker) => Cell(Tone::Warn, format!("breaker {breaker}")),
                None if route.files => Cell(Tone::Good, "files".to_owned()),
                None => answered(status, &route.upstream),
            },
        };
        vec![
            Cell::of(route.hosts.join(", ")),
            Cell::of(&route.path),
            Cell::of(&route.upstream),
            Cell::of(&route.container),
            Cell::of(&route.tls),
            Cell::of(&route.https),
            state,
        ]
    });
    page.table(
        "Routes",
        &[
            "HOST",
            "PATH",
            "UPSTREAM",
            "CONTAINER",
            "TLS",
            "HTTPS",
            "STATE",
        ],
        routes.collect(),
    );

    let mut endpoints = Vec::new();
    for upstream in &status.upstreams {
        for endpoint in &upstream.endpoints {
            let tone = match endpoint.state.as_str() {
                "ok" => Tone::Good,
                _ => Tone::Warn,
            };
            let last = endpoint.check.as_ref().or(endpoint.last_failure.as_ref());
            let failure = last.filter(|_| tone != Tone::Good);
            let mut state = match failure {
                Some(failure) => format!("{}: {failure}", endpoint.state),
                None => endpoint.state.clone(),
            };
            state += &endpoint.load();
            if endpoint.max_conns > 0 && upstream.queued > 0 {
                state += &format!(", {} wait", upstream.queued);
            }
            endpoints.push(vec![
                Cell::of(&upstream.name),
                Cell::of(&endpoint.container),
                Cell::of(&endpoint.address),
                Cell::of(endpoint.weight.to_string()),
                Cell(tone, state),
            ]);
        }
    }
    page.table(
        "Endpoints",
        &["UPSTREAM", "CONTAINER", "ADDRESS", "WEIGHT", "STATE"],
        endpoints,
    );

    let certificates = status.certificates.iter().map(|certificate| {
        let (tone, left) = time_left(certificate, now);
        vec![
            Cell::of(&certificate.host),
            Cell::of(&certificate.source),
            Cell(tone, left),
            Cell::of(&certificate.state),
            Cell::of(certificate.next.as_deref().unwrap_or_default()),
            Cell::of(&certificate.issuer),
        ]
    });
    page.table(
        "Certificates",
        &["HOST", "SOURCE", "LEFT", "STATE", "NEXT", "ISSUER"],
        certificates.collect(),
    );
    if let Some(on_demand) = &status.on_demand {
        asked(&mut page, on_demand);
    }
    page.finish()
}

/// Names nobody lists: who is asked, and what was answered.
fn asked(page: &mut Page, on_demand: &OnDemand) {
    let rows = on_demand.patterns.iter().map(|one| {
        vec![
            Cell::of(&one.host),
            Cell::of(&one.asked),
            Cell::of(one.names.to_string()),
        ]
    });
    page.table("On demand", &["HOST", "ASKED", "NAMES"], rows.collect());
    let told = format!(
        "  answers since the start: {} yes, {} no, {} neither; {} names held back",
        on_demand.yes, on_demand.no, on_demand.unknown, on_demand.held_back
    );
    let tone = match on_demand.unknown + on_demand.held_back {
        0 => Tone::Plain,
        _ => Tone::Warn,
    };
    page.line(&[Cell(tone, told)]);
    if let Some(trouble) = &on_demand.trouble {
        page.line(&[Cell(Tone::Bad, format!("  no answer: {trouble}"))]);
    }
}

/// Whether anybody answers a route that leads to this upstream.
fn answered(status: &Status, upstream: &str) -> Cell {
    let upstreams = status.upstreams.iter().filter(|one| one.name == upstream);
    let mut endpoints = upstreams.flat_map(|one| &one.endpoints).peekable();
    if endpoints.peek().is_none() {
        return Cell(Tone::Bad, "no container".to_owned());
    }
    let mut endpoints = endpoints.filter(|one| one.weight > 0).peekable();
    let Some(first) = endpoints.peek().copied() else {
        return Cell(Tone::Bad, "no new requests".to_owned());
    };
    let silent = |state: &str| matches!(state, "starting" | "does not listen" | "unhealthy");
    match endpoints.all(|one| silent(&one.state)) {
        true => Cell(Tone::Bad, first.state.clone()),
        false => Cell(Tone::Good, "served".to_owned()),
    }
}

/// Every container, those that get nothing first. What `told` says already is not told again.
pub(super) fn containers(page: &mut Page, containers: &[Container], told: &[ProblemLine]) {
    let mut rows: Vec<(Tone, Vec<Cell>)> = Vec::new();
    for container in containers {
        let tone = match container.standing.as_str() {
            "not routed" => Tone::Bad,
            "waiting" => Tone::Warn,
            "routed" => Tone::Good,
            _ => Tone::Plain,
        };
        let known = |reason: &&String| {
            let told = told.iter().filter(|line| line.container == container.name);
            !told
                .clone()
                .any(|line| reason.ends_with(line.reason.as_str()))
        };
        let mut why: Vec<&str> = container
            .reasons
            .iter()
            .filter(known)
            .map(String::as_str)
            .collect();
        if why.is_empty() && !container.reasons.is_empty() {
            why.push("see above");
        }
        rows.push((
            tone,
            vec![
                Cell::of(&container.name),
                Cell(tone, container.standing.clone()),
                Cell::of(container.asks.join(", ")),
                Cell::of(why.join("; ")),
            ],
        ));
    }
    rows.sort_by_key(|(tone, _)| std::cmp::Reverse(*tone));
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    page.table(
        "Containers",
        &["CONTAINER", "STATE", "ASKS FOR", "WHY"],
        rows,
    );
}

fn head(page: &mut Page, status: &Status) {
    let ready = if status.ready {
        Cell(Tone::Good, "ready".to_owned())
    } else {
        Cell(Tone::Bad, "not ready".to_owned())
    };
    let up = span(status.uptime_seconds);
    page.line(&[
        Cell::of(format!("Wharf {}, up {up},", status.version)),
        ready,
    ]);

    let engine = &status.engine;
    let mut line = if engine.connected {
        format!("Docker {} (API {}), connected", engine.version, engine.api)
    } else {
        "Docker: not connected".to_owned()
    };
    for (what, age) in [
        ("list", engine.last_list_seconds_ago),
        ("event", engine.last_event_seconds_ago),
    ] {
        if let Some(age) = age {
            let _ = write!(line, ", last {what} {} ago", span(age));
        }
    }
    page.line(&[Cell::of(line)]);

    let listeners: Vec<String> = status
        .listeners
        .iter()
        .map(|listener| format!("{} {}", listener.name, listener.address))
        .collect();
    if !listeners.is_empty() {
        page.line(&[Cell::of(format!("Listening: {}", listeners.join(", ")))]);
    }
}

/// Everything that keeps a request from its container, and what deserves a look; errors first.
fn problems(status: &Status, now: i64) -> Vec<Vec<Cell>> {
    let mut rows: Vec<(Tone, String, String)> = Vec::new();
    if let Some(trouble) = status.engine.trouble() {
        let told = format!("{trouble}; routes stay as they were last seen");
        rows.push((Tone::Bad, "Docker".to_owned(), told));
    }
    for problem in &status.problems {
        let tone = match problem.severity.as_str() {
            "error" => Tone::Bad,
            _ => Tone::Warn,
        };
        let told = match problem.label.as_str() {
            "" => problem.reason.clone(),
            label => format!("{label}: {}: {}", problem.value, problem.reason),
        };
        let whose = match problem.container.as_str() {
            "" => &problem.file,
            _ => &problem.container,
        };
        rows.push((tone, whose.clone(), told));
    }
    for route in &status.routes {
        // Most faults are a label problem, told above with its label.
        let told = status
            .problems
            .iter()
            .any(|problem| problem.severity == "error" && problem.container == route.container);
        if let Some(fault) = route.fault.as_ref().filter(|_| !told) {
            let hosts = route.hosts.join(", ");
            let told = format!("{hosts} answers 503: {fault}");
            rows.push((Tone::Bad, route.container.clone(), told));
        }
    }
    for upstream in &status.upstreams {
        let tone = if upstream.endpoints.is_empty() {
            Tone::Bad
        } else {
            Tone::Warn
        };
        // Most of them are told above, or beside their containers.
        let told = |reason: &&String| {
            let name = reason.split([' ', ':']).next();
            let mut containers = status.containers.iter();
            !containers.any(|one| Some(one.name.as_str()) == name && !one.reasons.is_empty())
                && !status
                    .problems
                    .iter()
                    .any(|p| **reason == format!("{}: {}", p.container, p.reason))
        };
        for reason in upstream.unreachable.iter().filter(told) {
            rows.push((tone, upstream.name.clone(), reason.clone()));
        }
        if upstream.endpoints.is_empty() && upstream.unreachable.is_empty() {
            let told = "no container to send requests to".to_owned();
            rows.push((tone, upstream.name.clone(), told));
        }
    }
    for certificate in &status.certificates {
        let (tone, left) = time_left(certificate, now);
        let told = match (&certificate.last_error, tone) {
            (Some(error), _) => match &certificate.link {
                Some(link) => format!("certificate: {error}: {link}"),
                None => format!("certificate: {error}"),
            },
            (None, Tone::Bad | Tone::Warn) if certificate.not_after.is_some() => {
                format!("certificate: {left}")
            }
            _ => continue,
        };
        let tone = if certificate.not_after.is_none() {
            Tone::Bad
        } else {
            tone.max(Tone::Warn)
        };
        rows.push((tone, certificate.host.clone(), told));
    }
    rows.extend(store(&status.store));
    let clock = status.clock.iter().cloned();
    rows.extend(clock.map(|told| (Tone::Bad, "clock".to_owned(), told)));
    rows.sort_by_key(|(tone, ..)| std::cmp::Reverse(*tone));
    rows.into_iter()
        .map(|(tone, whose, told)| {
            let word = if tone == Tone::Bad {
                "error"
            } else {
                "warning"
            };
            vec![Cell(tone, word.to_owned()), Cell::of(whose), Cell::of(told)]
        })
        .collect()
}

/// What is wrong with the place where certificates are kept.
fn store(store: &Store) -> impl Iterator<Item = (Tone, String, String)> {
    let place = || "certificate store".to_owned();
    let unwritten = store.error.as_ref().map(|error| {
        let told = format!("{} cannot be written: {error}", store.place);
        let lost = match store.unsaved.len() {
            0 => "a restart will lose what is issued now".to_owned(),
            _ => format!("a restart would lose {}", listed(&store.unsaved)),
        };
        (Tone::Bad, place(), format!("{told}; {lost}"))
    });
    let aside = store.aside.iter().cloned();
    let aside = aside.map(move |told| (Tone::Warn, place(), told));
    unwritten.into_iter().chain(aside)
}

/// The first few.
fn listed(names: &[String]) -> String {
    let shown = names.len().min(LISTED);
    match names.len() - shown {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..shown].join(", ")),
    }
}

pub(super) fn time_left(certificate: &Certificate, now: i64) -> (Tone, String) {
    let Some(end) = certificate.not_after else {
        return (Tone::Plain, String::new());
    };
    let left = end.saturating_sub(now);
    let text = span(left.unsigned_abs());
    // Some live for less than a week: what counts is that nothing is about to be done.
    let planned = certificate.next.as_deref();
    let planned = planned.is_some_and(|next| next.contains(" in "));
    match left {
        ..=0 => (Tone::Bad, format!("expired {text} ago")),
        _ if left < SOON && !planned => (Tone::Warn, format!("{text} left")),
        _ => (Tone::Good, format!("{text} left")),
    }
}

/// The largest unit that makes at least 2, so that nothing is far off: `90s`, `47h`, `60d`.
pub(super) fn span(seconds: u64) -> String {
    [(86_400, "d"), (3_600, "h"), (60, "m")]
        .into_iter()
        .find(|(unit, _)| seconds >= 2 * unit)
        .map_or_else(
            || format!("{seconds}s"),
            |(unit, letter)| format!("{}{letter}", seconds / unit),
        )
}

/// A certificate that should have been renewed by now, unless that is planned.
const SOON: i64 = 7 * 86_400;
/// Names shown of a list that may be long.
const LISTED: usize = 5;
