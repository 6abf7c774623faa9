//! What names outside Docker stand for, as last looked up.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Addresses by name. A name that is missing has not been looked up yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(pub BTreeMap<String, Lookup>);

/// What became of looking up a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// At least one address; sorted, without duplicates.
    Found(Vec<IpAddr>),
    /// It failed the last time.
    Failed {
        why: String,
        /// What it had before; may be empty.
        before: Vec<IpAddr>,
    },
}

impl Lookup {
    /// The last addresses known.
    pub fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Found(addresses)
            | Self::Failed {
                before: addresses, ..
            } => addresses,
        }
    }
}
