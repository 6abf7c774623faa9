//! The operator's files (`WHARF_CONFIG`): presets, and routes whose apps are no containers.
//!
//! A route of a file becomes a container of no network that has the same words as labels, and so goes the way
//! of all others: one parser, one plan, one set of rules for who keeps a host. [`Follower`] is asked by `control`
//! every second; a file that cannot be read leaves what it said last in force.

mod follow;
mod parse;
// YAML with places; `check` reads compose files with it.
pub(crate) mod yaml;

pub use follow::{Files, Follower};
pub(crate) use parse::{Content, Written, containers, is_wharf_file, read};
