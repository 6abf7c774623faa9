//! Tests of the whole, against the real things: one binary, a module per topic.

/// Helpers that start and stop what the tests need.
mod support;

/// Certificates from Pebble: what works.
mod tls;
/// Certificates from Pebble: what fails, and comes back.
mod tls_faults;
