//! The admin listener: health, status and metrics, read-only but for what the cache is to forget.
//!
//! `app` gives it a [`Source`] and a listener; it knows nothing of where the answers come from.
//! The other end is here too: [`fetch`] asks a running Wharf and [`render`] shows its [`Status`],
//! for `wharf status` and `wharf healthcheck`.

mod cache;
mod certs;
mod explained;
mod explanation;
mod fetch;
mod layout;
mod routes;
mod serve;
mod status;
mod table;

pub use cache::{CacheReport, CachedRoute, Forget, render_cache};
pub use certs::{CertificateLine, day, render_certificates};
pub use explained::render_explanation;
pub use explanation::{Dialled, Explanation, Step};
pub use fetch::{FetchError, delete, fetch, reachable};
pub use routes::{RouteLine, render_routes};
pub use serve::{Explaining, Purging, Source, serve};
pub use status::{
    AskedPattern, Certificate, Container, Endpoint, Engine, Listener, OnDemand, ProblemLine, Route,
    Status, Store, Upstream,
};
pub use table::render;

#[cfg(test)]
mod tests;
