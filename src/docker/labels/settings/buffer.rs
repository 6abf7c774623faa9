//! `buffer` and its fields.

use crate::model::{BufferSpec, Settings};

use super::super::layers::{Layers, pick};
use super::super::read::Given;
use super::super::value::Value;

impl<'a> Layers<'a> {
    pub(super) fn buffer(&self) -> BufferSpec {
        let default = BufferSpec::default();
        BufferSpec {
            response: pick!(self, "buffer", Value::Switch),
            request: pick!(self, "buffer.request", Value::Switch).unwrap_or(default.request),
            memory: pick!(self, "buffer.mem", Value::Size).unwrap_or(default.memory),
            disk: pick!(self, "buffer.disk", Value::Size).unwrap_or(default.disk),
        }
    }

    /// Labels of it that change nothing.
    pub(in crate::docker::labels) fn buffer_warnings(
        &self,
        settings: &Settings,
    ) -> Vec<(&'a Given, &'static str)> {
        let own = |option: &str| self.own.values.get(option);
        if settings.grpc && !settings.buffer.is_off() {
            let given = own("buffer").or_else(|| own("buffer.request"));
            let why = "without effect: calls of gRPC are never held";
            return given.map(|given| (given, why)).into_iter().collect();
        }
        let given = own("buffer.mem").or_else(|| own("buffer.disk"));
        // Named routes may mean them, and presets all who use them.
        let given = given.filter(|given| !given.label.ends_with(".use") && self.heirs.is_empty());
        let why = "without effect: neither wharf.buffer nor wharf.buffer.request is on";
        let idle = given.filter(|_| settings.buffer.is_off());
        idle.map(|given| (given, why)).into_iter().collect()
    }
}
