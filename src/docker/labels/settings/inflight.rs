//! `inflight` and its fields.

use crate::model::InFlightLimits;

use super::super::layers::Layers;
use super::super::read::Given;
use super::super::value::Value;
use super::super::value::inflight::of_fields;

impl<'a> Layers<'a> {
    pub(in crate::docker::labels) fn in_flight(&self) -> InFlightLimits {
        let Some((draft, shared)) = self.together(&LIMIT) else {
            return InFlightLimits::default();
        };
        let given = |name: &&'static str| Some((*name, draft.values.get(*name)?.value.clone()));
        let limits = match draft.values.get("inflight").map(|given| &given.value) {
            Some(Value::InFlightLimits(limits)) => limits.clone(),
            Some(Value::Count(1..)) => {
                let fields: Vec<_> = LIMIT.iter().filter_map(given).collect();
                vec![of_fields(&fields)]
            }
            _ => Vec::new(),
        };
        InFlightLimits { limits, shared }
    }

    /// Own labels that change nothing, and why.
    pub(in crate::docker::labels) fn idle_in_flight(&self) -> Option<(&'a Given, &'static str)> {
        let own = |option: &str| self.own.values.get(option);
        let fields = || LIMIT.into_iter().skip(1).find_map(own);
        match own("inflight").map(|given| &given.value) {
            None => Some((fields()?, "without effect: wharf.inflight says how many")),
            Some(Value::Count(0)) => Some((fields()?, "without effect: wharf.inflight is off")),
            Some(_) => {
                let given = own("inflight.wait").filter(|_| own("inflight.queue").is_none())?;
                let why = "without effect: nobody waits; wharf.inflight.queue says how many do";
                // Of several each has its own.
                matches!(own("inflight")?.value, Value::Count(_)).then_some((given, why))
            }
        }
    }
}

/// `inflight` and its fields.
const LIMIT: [&str; 4] = [
    "inflight",
    "inflight.key",
    "inflight.queue",
    "inflight.wait",
];
