//! Cases by section.

mod answered;
mod fields;
mod lifetime;
mod parse;
mod select;
mod stale;
mod store;
mod used;
