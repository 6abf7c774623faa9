//! Real things to test against, each cleaned up on drop.
#![allow(dead_code, reason = "a toolbox: not every topic uses every tool")]

// The real Chromium.
pub(crate) mod chromium;
// APIs of DNS providers.
pub(crate) mod dns_api;
// Services of a compose file.
pub(crate) mod compose;
// Replicas of one site that tell who they are.
pub(crate) mod crew;
// The real `curl`.
pub(crate) mod curl;
// A second engine, to be stopped.
pub(crate) mod daemon;
// Real containers, through the `docker` command.
pub(crate) mod docker;
// An engine that does what it is told.
pub(crate) mod engine;
// HTTP/2 as bytes.
pub(crate) mod frames;
// An HTTP/2 client below the level of messages.
pub(crate) mod h2;
// Debian's haproxy, in front of Wharf.
pub(crate) mod haproxy;
// The smallest HTTP/1.1 client.
pub(crate) mod http;
// Clients that ask all the time.
pub(crate) mod load;
// A real name server.
pub(crate) mod named;
// Debian's nginx, beside Wharf.
pub(crate) mod nginx;
// A real ACME server.
pub(crate) mod pebble;
// Upstreams on loopback.
pub(crate) mod origin;
// One end of a connection, in bytes.
pub(crate) mod peer;
pub(crate) mod podman;
// The server under test where only certificates matter.
pub(crate) mod responder;
// An ACME server that gives bad answers.
pub(crate) mod scripted_ca;
// An ACME server that gives other answers than Pebble where asked to.
pub(crate) mod shim;
// A `wharf` with routes to a test's own servers.
pub(crate) mod site;
// A running `wharf socket-proxy`.
pub(crate) mod socket_proxy;
// TLS clients with wishes.
pub(crate) mod tls;
pub(crate) mod varnish;
// A running `wharf`.
pub(crate) mod wharf;

use std::time::{Duration, Instant};

/// Asks `attempt` every few milliseconds until it gives a value; for states nothing announces.
///
/// # Panics
///
/// After `limit`, with `what` and the last error.
pub(crate) fn eventually<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) if Instant::now() >= deadline => {
                panic!("{what}: not within {limit:?}: {error}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
