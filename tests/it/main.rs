//! Tests of the whole, against the real things: one binary, a module per topic. They need a Docker
//! engine and Pebble; `tests/run` sees to both.

// Helpers that start and stop what the tests need.
mod support;

// What a client or an upstream must not bring about, whatever it sends or leaves.
mod abuse;
// The access log: one line for each request.
mod access;
// Addresses that change, or that other containers get.
mod addresses;
// Apps that speak HTTPS themselves, and what hosts apps are told.
mod app_tls;
// What is kept of an app's answers, and given again.
mod cache;
// Which replica gets a request: shares over thousands of them, over workers and table swaps.
mod balance;
// Large bodies, both ways: whole, slow, cut.
mod bodies;
// Bodies that are held for a slower side.
mod buffers;
// A route that is left alone while too much fails on it.
mod breaker;
// Compose files that people get wrong, and what they are told.
mod broken;
// Compose files looked at before they run, and the table as it is.
mod check;
// Presets, defaults, files, and several Wharfs on one engine.
mod configuration;
// Apps that speak HTTP/2, gRPC among them.
mod grpc;
// Clients that show certificates, and other rules of connections.
mod client_certificates;
// Load balancers that say whose a connection is.
mod proxied;
// Files that Wharf serves itself.
mod statics;
// Apps behind Unix sockets.
mod sockets;
// Hundreds of containers at once.
mod burst;
// Compressed answers.
mod compress;
// Answers that are both held and compressed.
mod combined;
// Wharf in a container.
mod container;
// Deploys, crashes and other changes under a load of every kind: what may fail, and what may not.
mod churn;
// Compose recreates a service while requests go on.
mod deploys;
// Labels of real containers -> who answers; Wharf on the host.
mod discovery;
// DNS-01 with a real name server: wildcards, siblings, aliases, hooks.
mod dns01;
// TLS handshakes: names, tickets, challenges.
mod handshakes;
// DNS-01 by the APIs of providers.
mod dns_providers;
// Stopping: what is finished, what is closed at once, and the exit code.
mod drain;
// A route's own pages for errors.
mod error_pages;
// Requests that come before the first list of containers.
mod early;
// What would become of a request, by `wharf explain`.
mod explain;
// From a container's start to its first answer over HTTPS, with Pebble.
mod filters;
mod first_light;
// What the upstream is told of the client, and which fields stay behind.
mod forwarding;
// `wharf.health`: who is asked what, how often, and what follows.
mod health;
// Requests that wait for a replica.
mod hold;
// `Strict-Transport-Security`.
mod hsts;
// HTTP/1 from clients, in bytes: what is refused, and when connections end.
mod http1;
// HTTP/2 from clients, beside HTTP/1 on the same listeners.
mod http2;
// Bodies on HTTP/2: flow control both ways, who waits for whom, and what ends in the middle.
mod http2_bodies;
// HTTP/2 frame by frame: what is an error and of what, and what floods cost.
mod http2_frames;
// Connections to apps that are used again, and the time limits of a route.
mod keepalive;
// Containers that stop, pause, restart or fall ill: who gets requests, and what is said.
mod leaving;
// The built-in CA.
mod local_ca;
// The access log in full: formats, files, losses.
mod logging;
// The operator's own certificates, as files that change.
mod own_certificates;
// Which hosts, paths and other requests a route is for, and what it makes of them: beside nginx, and for
// clients of real containers.
mod matching;
// What clients may take of Wharf before anybody knows what for, and how bodies are framed for them.
mod limits;
// How many requests a replica has at once, and who waits for a place.
mod max_conns;
// Where apps are: published ports, addresses outside Docker, networks of all kinds.
mod outside;
// Containers that are gone under a request.
mod lost;
// Certificates for names nobody lists: who is asked, and what floods of them cost.
mod on_demand;
// What goes on while something else happens.
mod resilience;
// Responses of upstreams, in bytes: what clients get of the good, the cut and the unusable.
mod responses;
// Podman by its compatible socket.
mod podman;
// Labels under another prefix.
mod prefix;
// Requests that are sent again: what of them, to whom, how often.
mod retry;
// Which route takes a request, and what those get that none takes.
mod routing;
// Compose files people can start from.
mod scenarios;
// Clients that take their time, and those that take too much of it.
mod slow;
// What a start that cannot succeed says, and what it survives.
mod startup;
// One host and path, several services: their shares, canaries, and who stays.
mod shares;
// The filter in front of the engine's socket, and Wharf behind it with as few rights as it gets.
mod socket_proxy;
// The certificate store: several processes on it, and processes that are killed.
mod store;
// Clients that stay with one replica by a cookie.
mod sticky;
// Time limits: who is waited for how long, and who is not.
mod stalls;
// Request targets and hosts: the bytes the upstream gets, and paths that could mean two routes.
mod targets;
// Certificates from Pebble: what works.
mod tls;
// What a CA may answer, and what each answer means for the next attempt.
mod tls_answers;
// What keeps a name from being locked out by its CA.
mod tls_budgets;
// Certificates from Pebble: what fails, and comes back.
mod tls_faults;
// When certificates are renewed, and of which profile.
mod tls_renewal;
// What testssl.sh finds, and Mozilla's intermediate profile.
mod tls_scan;
// Request bodies: framing, `Expect`, trailers, and bodies nobody reads.
mod uploads;
// Whose word counts: trusted proxies, strangers, and who is told of containers.
mod trust;
// Connections to upstreams: reuse, retries, limits, and what happens when somebody leaves.
mod upstream;
// Engine -> snapshot: what the watcher sees, and how soon; what it does when the engine fails.
mod watcher;
// WebSocket: through both listeners, and what is refused.
mod websocket;
// WebSocket on HTTP/2.
mod websocket_h2;
