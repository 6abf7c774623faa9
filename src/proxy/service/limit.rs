//! How often a client asks, and how many requests there are at a time.

use std::time::Instant;

use super::Head;
use crate::filter;
use crate::filter::inflight::InFlight;
use crate::filter::ratelimit::{Limiter, Whose};
use crate::model::LimitKey;
use crate::proxy::error::ProxyError;
use crate::proxy::headers;
use crate::proxy::hold::Stop;
use crate::proxy::tail::Record;
use crate::proxy::worker::Worker;

/// Counts a request, once however often it is tried.
pub(super) fn within_rate(
    worker: &Worker,
    limiter: &Limiter,
    head: &Head<'_>,
    record: &mut Record,
) -> Result<(), Stop> {
    if std::mem::replace(&mut record.counted, true) {
        return Ok(());
    }
    let now = Instant::now();
    let passed = limiter
        .admit(now, |key| whose(head, key))
        .map_err(|exceeded| ProxyError::Refused(filter::Refusal::RateLimit(Box::new(exceeded))))?;
    if passed.counted {
        worker.metrics.rate_dry_run.inc();
        if limiter.tells(now) {
            let (host, client) = (head.host.as_str(), head.client.address);
            tracing::info!(host, path = head.path, %client, "wharf.ratelimit would refuse this: dryrun");
        }
    }
    match passed.wait.is_zero() {
        true => Ok(()),
        false => {
            worker.metrics.rate_delayed.inc();
            Err(Stop::Early(passed.wait))
        }
    }
}

/// Takes a place for a request, for as long as it lasts. A route that has lost its limits while the request waited
/// has none to give.
pub(super) fn in_flight(
    limits: Option<&InFlight>,
    head: &Head<'_>,
    record: &mut Record,
) -> Result<(), Stop> {
    match limits {
        None => record.waiting = None,
        Some(limits) => limits
            .enter(&mut record.places, &mut record.waiting, |key| {
                whose(head, key)
            })
            .map_err(|full| Stop::InFlight(Box::new(full)))?,
    }
    Ok(())
}

/// What tells a client apart.
pub(in crate::proxy) fn whose<'h>(head: &'h Head<'_>, key: &LimitKey) -> Whose<'h> {
    let fields = head.request.fields();
    let found = match key {
        LimitKey::Client => None,
        LimitKey::Header(name) => headers::values(fields, head.authority, name).next(),
        LimitKey::Cookie(name) => headers::cookie(fields, name.as_bytes()),
        LimitKey::Host => return Whose::Bytes(head.host.as_str().as_bytes()),
        LimitKey::Global => return Whose::All,
    };
    found.map_or_else(
        || Whose::Client(filter::network(head.client.address)),
        Whose::Bytes,
    )
}
