//! Integration tests: one binary, one module per topic. They need a Docker engine.

mod support;

/// Engine -> snapshot: what the watcher sees, and how soon; what it does when the engine fails.
mod watcher;
