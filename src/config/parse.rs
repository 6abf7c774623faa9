//! Text to values.

use super::{Config, Fault, Raw};

pub(super) fn resolve(_raw: &Raw) -> Result<Config, Vec<Fault>> {
    Err(Vec::new())
}
