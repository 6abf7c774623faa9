//! What happens to containers all day, on the real engine, under a load of every kind: requests on kept and
//! new connections, HTTP/2 and POSTs, 300 a second, beside WebSockets, slow downloads and event streams.
//!
//! What may fail is what was under way at a container that died, and of that only what nobody may repeat or
//! resume: its WebSockets, its half-sent answers, and a POST it was given and has not answered.

mod history;
// `docker-compose up -d` of a service with one container, over and over.
mod recreates;
// One of three replicas, or the only one, is stopped, killed, paused, renamed, out of memory.
mod replicas;
// More and fewer containers of a service, and a rolling replacement.
mod scale;
// Many WebSockets while other containers come and go.
mod unrelated;

use std::collections::BTreeSet;

use crate::support::load::{Cut, Failure, Kind};

/// Streams of these containers, by id, were cut with them.
fn of(dead: &[String]) -> impl Fn(Kind, &Cut) -> bool {
    let hosts: BTreeSet<String> = dead.iter().map(|id| id[..12].to_owned()).collect();
    move |_, cut| hosts.contains(&cut.host)
}

/// A POST whose container has died without an answer: it may have been acted on, so that nobody sends it
/// again, and the client is told.
fn unanswered_post(kind: Kind, failure: &Failure) -> bool {
    kind == Kind::Post && failure.status == Some(502)
}
