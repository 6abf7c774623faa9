//! `ratelimit` and its fields.

use crate::model::RateLimits;

use super::super::layers::Layers;
use super::super::value::Value;
use super::super::value::ratelimit::of_fields;

impl<'a> Layers<'a> {
    pub(in crate::docker::labels) fn rate_limits(&self) -> RateLimits {
        let Some((draft, shared)) = self.together(&LIMIT) else {
            return RateLimits::default();
        };
        let given = |name: &&'static str| Some((*name, draft.values.get(*name)?.value.clone()));
        let fields: Vec<_> = LIMIT.iter().filter_map(given).collect();
        let limits = match draft.values.get("ratelimit").map(|given| &given.value) {
            Some(Value::RateLimits(limits)) => limits.clone(),
            Some(Value::Switch(false)) => Vec::new(),
            _ if !draft.values.contains_key("ratelimit.rate") => Vec::new(),
            _ => vec![of_fields(&fields)],
        };
        RateLimits { limits, shared }
    }
}

/// `ratelimit` and its fields.
const LIMIT: [&str; 6] = [
    "ratelimit",
    "ratelimit.rate",
    "ratelimit.burst",
    "ratelimit.delay",
    "ratelimit.key",
    "ratelimit.dryrun",
];
