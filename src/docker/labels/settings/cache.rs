//! Drafts -> what a route keeps of its app's answers.

use crate::docker::labels::layers::Layers;
use crate::docker::labels::read::Given;
use crate::docker::labels::value::Value;
use crate::model::CacheSpec;

impl Layers<'_> {
    /// Only `cache` itself switches it on: what is said beside it may be for named routes.
    pub(super) fn cache(&self) -> Option<CacheSpec> {
        match self.value("cache") {
            Some(Value::Switch(true)) => {}
            _ => return None,
        }
        let default = CacheSpec::default();
        let of = |field: &str| self.value(&format!("cache.{field}"));
        let switch = |field, default| match of(field) {
            Some(Value::Switch(on)) => *on,
            _ => default,
        };
        let matchers = |field: &str| match of(field).or_else(|| self.value("cache.bypass")) {
            Some(Value::Matchers(matchers)) => matchers.clone(),
            _ => Vec::new(),
        };
        Some(CacheSpec {
            valid: match of("valid") {
                Some(Value::CacheValid(valid)) => valid.clone(),
                _ => default.valid,
            },
            stale: match of("stale") {
                Some(Value::CacheStale(stale)) => stale.clone(),
                _ => default.stale,
            },
            bypass_read: matchers("bypass.read"),
            bypass_store: matchers("bypass.store"),
            key: match of("key") {
                Some(Value::CacheKey(key)) => Some(key.clone()),
                _ => None,
            },
            max_size: match of("max_size") {
                Some(Value::Size(size)) => *size,
                _ => default.max_size,
            },
            inactive: match of("inactive") {
                Some(Value::Duration(time)) => *time,
                _ => default.inactive,
            },
            header: switch("header", default.header),
            purge_on_deploy: switch("purge_on_deploy", default.purge_on_deploy),
            heuristic: switch("heuristic", default.heuristic),
        })
    }

    /// Fields of `cache` that change nothing.
    pub(in crate::docker::labels) fn cache_warnings(&self) -> Vec<(&Given, &'static str)> {
        // Another label may have switched it off, or named routes on.
        let known = self.value("cache").is_some() || self.broken("cache");
        if known || !self.heirs.is_empty() {
            return Vec::new();
        }
        let own = self.own.values.iter();
        let mut given = own
            .filter(|(option, _)| option.starts_with("cache."))
            .map(|(_, given)| given);
        let why = "without effect: set wharf.cache: on";
        given.next().map(|given| (given, why)).into_iter().collect()
    }
}
