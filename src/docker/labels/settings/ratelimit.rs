//! `ratelimit` and its fields.

use crate::model::RateLimits;

use super::super::layers::Layers;
use super::super::read::Draft;
use super::super::value::Value;
use super::super::value::ratelimit::of_fields;

impl<'a> Layers<'a> {
    /// A named route's own replace those it inherits as a whole: it would be another limit that has the burst of one
    /// and the rate of the other.
    pub(in crate::docker::labels) fn rate_limits(&self) -> RateLimits {
        let has = |draft: &Draft| LIMIT.iter().any(|name| draft.values.contains_key(*name));
        let (draft, shared) = match self.base {
            Some(base) if !has(self.own) => (base, true),
            _ => (self.own, false),
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
