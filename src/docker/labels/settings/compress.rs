//! `compress` and its fields.

use crate::model::Compress;

use super::super::layers::{Layers, pick};
use super::super::read::Given;
use super::super::value::Value;

impl<'a> Layers<'a> {
    pub(in crate::docker::labels) fn compress(&self) -> Option<Compress> {
        let codings = pick!(self, "compress", Value::Codings)?;
        let default = Compress::default();
        (!codings.is_empty()).then(|| Compress {
            codings,
            types: pick!(self, "compress.types", Value::MediaTypes).unwrap_or(default.types),
            min: pick!(self, "compress.min", Value::Size).unwrap_or(default.min),
            levels: pick!(self, "compress.level", Value::Levels).unwrap_or(default.levels),
        })
    }

    /// Own labels of it that change nothing: they may be meant for named routes.
    pub(in crate::docker::labels) fn idle_compress(
        &self,
        on: bool,
    ) -> Vec<(&'a Given, &'static str)> {
        let heirs = self.heirs.values();
        if on || { heirs }.any(|heir| heir.values.contains_key("compress")) {
            return Vec::new();
        }
        let given = FIELDS
            .iter()
            .filter_map(|field| self.own.values.get(*field));
        let why = "without effect without wharf.compress";
        given.map(|given| (given, why)).collect()
    }
}

const FIELDS: [&str; 3] = ["compress.types", "compress.min", "compress.level"];
