//! `cors` and its fields.

use crate::model::{CorsSpec, Origins, Settings};

use super::super::layers::{Layers, pick};
use super::super::read::Given;
use super::super::value::Value;

impl<'a> Layers<'a> {
    pub(in crate::docker::labels) fn cors(&self) -> Option<CorsSpec> {
        let origins = pick!(self, "cors", Value::Origins)?;
        if origins == Origins::These(Vec::new()) {
            return None;
        }
        let credentials = pick!(self, "cors.credentials", Value::Switch).unwrap_or(false);
        Some(CorsSpec {
            methods: pick!(self, "cors.methods", Value::Names).unwrap_or_default(),
            headers: pick!(self, "cors.headers", Value::Names).unwrap_or_default(),
            credentials: credentials && origins != Origins::Any,
            max_age: pick!(self, "cors.max_age", Value::Duration).unwrap_or(CorsSpec::MAX_AGE),
            origins,
        })
    }

    /// What is settled among the options of `cors`, but deserves a look.
    pub(in crate::docker::labels) fn cors_warnings(
        &self,
        settings: &Settings,
    ) -> Vec<(&'a Given, &'static str)> {
        let own = |option: &str| self.own.values.get(option);
        let mut warnings = Vec::new();
        let fields = [
            "cors.methods",
            "cors.headers",
            "cors.credentials",
            "cors.max_age",
        ];
        let Some(cors) = &settings.cors else {
            let given = fields.into_iter().find_map(own);
            if let Some(given) = given.filter(|_| self.get("cors").is_none()) {
                warnings.push((given, "without effect: wharf.cors names no origins"));
            }
            return warnings;
        };
        if let Some(given) = own("cors.credentials")
            && given.value == Value::Switch(true)
            && cors.origins == Origins::Any
        {
            warnings.push((
                given,
                "no credentials with `*`: any page could act as its visitor; name the origins",
            ));
        }
        if let Some(given) = own("headers.response")
            && let Value::Edits(edits) = &given.value
            && edits
                .iter()
                .any(|edit| CorsSpec::FIELDS.contains(&&*edit.name))
        {
            warnings.push((
                given,
                "without effect on the fields of wharf.cors, which has them to itself",
            ));
        }
        warnings
    }
}
