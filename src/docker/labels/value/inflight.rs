//! Values of `inflight`.

use super::limits::{count, fields, queue};
use super::ratelimit::key_of;
use super::{Parsed, Value, duration, items, note};
use crate::docker::labels::text::quote;
use crate::model::InFlightLimit;

/// One limit, or several in a list; `off`.
pub(super) fn inflight(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut limits = Vec::new();
    for item in items(text) {
        let one = limit(item);
        for reason in one.errors {
            note(&mut parsed.errors, reason);
        }
        match one.value {
            Some(Value::Fields(_)) if limits.len() == MAX_LIMITS => {
                let reason = format!("a route has at most {MAX_LIMITS} of them");
                note(&mut parsed.errors, reason);
            }
            Some(Value::Fields(fields)) => limits.push(fields),
            _ => {}
        }
    }
    let is_off = |fields: &Fields| fields.contains(&("inflight", Value::Count(0)));
    if limits.len() > 1 && limits.iter().any(is_off) {
        note(&mut parsed.errors, "`off` stands alone".to_owned());
    }
    parsed.value = match limits.len() {
        0 if parsed.errors.is_empty() => {
            parsed.errors.push(FORM.to_owned());
            None
        }
        0 => None,
        // The parts, each of which another label may set, too.
        1 => Some(Value::Fields(limits.remove(0))),
        _ => {
            let whole = limits.iter().map(|fields| of_fields(fields)).collect();
            Some(Value::InFlightLimits(whole))
        }
    };
    parsed
}

type Fields = Vec<(&'static str, Value)>;

/// `100 key=ip queue=50 wait=2s`, in any order.
fn limit(item: &str) -> Parsed {
    let mut parsed = fields(item, FORM, |key, value| match key {
        "" => match count(value) {
            Ok(most) => Ok(("inflight", Value::Count(most))),
            Err(_) => Err(format!("{}: {FORM}", quote(value))),
        },
        "key" => Ok(("inflight.key", Value::LimitKey(key_of(value)?))),
        "queue" => match queue(value) {
            Ok(queue) => Ok(("inflight.queue", Value::Count(queue))),
            Err(reason) => Err(format!("{key}: {reason}")),
        },
        "wait" => match duration(value) {
            Ok(wait) => Ok(("inflight.wait", Value::Duration(wait))),
            Err(reason) => Err(format!("{key}: {reason}")),
        },
        key => Err(format!("there is no {} here: {FORM}", quote(key))),
    });
    if let Some(Value::Fields(fields)) = &parsed.value
        && !fields.iter().any(|(name, _)| *name == "inflight")
    {
        let reason = format!("{}: there is no number in it; {FORM}", quote(item));
        note(&mut parsed.errors, reason);
        parsed.value = None;
    }
    parsed
}

/// What fields say together; what is not among them is the default.
pub(in crate::docker::labels) fn of_fields(fields: &[(&'static str, Value)]) -> InFlightLimit {
    let mut limit = InFlightLimit::new(1);
    for (name, value) in fields {
        match (*name, value) {
            ("inflight", Value::Count(count)) => limit.count = *count,
            ("inflight.queue", Value::Count(queue)) => limit.queue = *queue,
            ("inflight.wait", Value::Duration(wait)) => limit.wait = *wait,
            ("inflight.key", Value::LimitKey(key)) => limit.key = key.clone(),
            _ => {}
        }
    }
    limit
}

const FORM: &str = "it looks like 100 key=ip queue=50 wait=2s, or off";
/// Each is looked at for each request.
const MAX_LIMITS: usize = 8;
