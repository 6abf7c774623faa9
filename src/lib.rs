//! Wharf: a Docker-aware reverse proxy. Label a container, get HTTPS.
//!
//! Modules stand bottom-up: each uses only those above it. See ARCHITECTURE.md for the two lines of
//! flow, one request's way and one Docker event's way; they meet only at the routing table and the
//! certificate index.

// Plain values: what labels ask for.
pub mod model;

// Connections to endpoints, over TCP or a Unix socket.
pub mod dial;
// Failed dials: workers tell, the control thread listens.
pub mod alarm;

// Which encodings and pages clients take.
pub(crate) mod accept;
// The access log: lines from workers to one writer thread.
pub mod access;
// Process settings from flags and environment.
pub mod config;
// Per-core counters, summed on read.
pub mod metrics;
// The stop signal and its stages.
pub mod shutdown;

// Who waits for a place, in what order.
pub mod line;
// What a route asks of a request; pure.
pub mod filter;
// Stored responses: what may be kept, and when it may be used again.
pub mod cache;

// Files of a directory as HTTP answers.
pub mod webroot;
// Bodies held between one who gives them and one who takes them.
pub mod spool;

// Docker engine -> [`model::Plan`].
pub mod docker;
// What `env:` and `file:` in labels stand for.
pub mod values;
// The operator's files: presets, and routes whose apps are no containers.
pub mod files;
// Compose files -> what is wrong with their labels, before anything runs.
pub mod check;
// A filter in front of the engine's socket; a process of its own.
pub mod socket_proxy;

// The engine; knows nothing of Docker.
pub mod proxy;
// The routing table.
pub mod route;
// Certificates by name: store, built-in CA, ACME.
pub mod tls;
// Where requests go: upstreams, endpoints, balancing.
pub mod upstream;

// The admin listener: health, status, metrics.
pub mod admin;
// Wiring.
pub mod app;
// Plan -> table; the only writer of the table.
pub mod control;
// Asks apps which names may have a certificate.
pub mod ask;
// Hosts that `wharf maintenance` has put to rest.
pub mod resting;
// Names outside Docker -> addresses.
pub mod names;
// When new endpoints start to listen.
pub mod probe;
