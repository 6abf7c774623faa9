//! Who gets in.

use crate::model::{
    AccessSpec, AuthKind, BasicSpec, ForwardAt, ForwardSpec, Maintenance, Settings,
};

use super::super::layers::{Layers, pick};
use super::super::read::Given;
use super::super::value::Value;

impl<'a> Layers<'a> {
    pub(in crate::docker::labels) fn access(&self) -> AccessSpec {
        let on = pick!(self, "maintenance", Value::Switch).unwrap_or(false);
        let retry = pick!(self, "maintenance.retry", Value::Duration);
        AccessSpec {
            allow: pick!(self, "allow", Value::Networks),
            basic: pick!(self, "auth.basic", Value::Basic).map(|basic| BasicSpec {
                user_header: pick!(self, "auth.user_header", Value::Name),
                ..basic
            }),
            forward: self.forward_auth(),
            satisfy_any: pick!(self, "satisfy", Value::Switch).unwrap_or(false),
            deny: pick!(self, "deny", Value::Networks),
            block: pick!(self, "block", Value::Block).unwrap_or_default(),
            maintenance: on.then(|| Maintenance {
                allow: pick!(self, "maintenance.allow", Value::Networks),
                message: pick!(self, "maintenance.message", Value::Name),
                retry: retry.unwrap_or(Maintenance::RETRY),
            }),
        }
    }

    fn forward_auth(&self) -> Option<ForwardSpec> {
        let at: ForwardAt = pick!(self, "auth.forward", Value::Forward)?;
        let known = || at.kind.map(AuthKind::copy);
        Some(ForwardSpec {
            copy: pick!(self, "auth.forward.copy", Value::Copy)
                .or_else(known)
                .unwrap_or_default(),
            timeout: pick!(self, "auth.forward.timeout", Value::Duration)
                .unwrap_or(ForwardSpec::TIMEOUT),
            cache: pick!(self, "auth.forward.cache", Value::Duration).unwrap_or_default(),
            session: pick!(self, "auth.forward.session", Value::Switch).unwrap_or(false),
            at,
        })
    }

    /// Fields of `auth.forward` and `errors` that change nothing.
    pub(in crate::docker::labels) fn idle_fields(
        &self,
        settings: &Settings,
    ) -> Vec<(&'a Given, &'static str)> {
        let own = |option: &str| self.own.values.get(option);
        let given = own("errors.intercept").filter(|_| self.get("errors").is_none());
        if let Some(given) = given {
            return vec![(given, "without effect: wharf.errors names no pages")];
        }
        let Some(forward) = &settings.access.forward else {
            let fields = ["copy", "timeout", "cache", "session"];
            let given = fields
                .into_iter()
                .find_map(|field| own(&format!("auth.forward.{field}")));
            let given = given.filter(|_| self.get("auth.forward").is_none());
            let why = "without effect: wharf.auth.forward names no server";
            return given.map(|given| (given, why)).into_iter().collect();
        };
        let given = own("auth.forward.session");
        let idle = given.filter(|_| forward.session && forward.cache.is_zero());
        let why = "without effect: wharf.auth.forward.cache says for how long";
        idle.map(|given| (given, why)).into_iter().collect()
    }
}
