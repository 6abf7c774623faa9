//! `wharf.health`: who gets requests by what the checks say, and what a check is.

// Real apps in real containers.
mod apps;
// Apps that speak HTTP/2.
mod http2;
// Many endpoints, many services, and checks that change.
mod many;
// Checks that the test answers one by one.
mod scripted;
// What counts as a success, and how each failure is told.
mod verdicts;

use std::time::Duration;

use crate::support::wharf::Wharf;

/// The endpoint of a container, once it is in this state.
fn wait_state(wharf: &Wharf, container: &str, state: &str) -> serde_json::Value {
    let endpoint = |status: &serde_json::Value| {
        let upstreams = status["upstreams"].as_array().unwrap().iter();
        let mut endpoints = upstreams.flat_map(|up| up["endpoints"].as_array().unwrap().clone());
        endpoints.find(|one| one["container"] == container && one["state"] == state)
    };
    let what = format!("{container} to be {state}");
    let status = wharf.wait_status(&what, |status| endpoint(status).is_some());
    endpoint(&status).unwrap()
}

const LIMIT: Duration = Duration::from_secs(20);
