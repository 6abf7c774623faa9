//! What `/explain` says of one URL: the way a request for it would take, step by step. Read like
//! [`Status`](super::Status) by other versions.

use serde::{Deserialize, Serialize};

use super::{Container, Endpoint};

/// The whole answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    pub method: String,
    pub url: String,
    /// The client's address.
    pub from: String,
    /// In the order in which a request takes them, up to the one that ends it.
    pub steps: Vec<Step>,
    /// Where the route leads, each asked for a connection just now.
    pub endpoints: Vec<Dialled>,
    /// Containers that ask for the host, or belong to the route, and get nothing.
    pub containers: Vec<Container>,
    /// Whether a container would get the request.
    pub served: bool,
    /// Of Wharf's own answer, where there is one.
    pub status: Option<u16>,
    /// One line.
    pub verdict: String,
    /// What to do, a sentence each.
    pub hints: Vec<String>,
}

/// One step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// `listener`, `host`, `path` ...
    pub name: String,
    /// `ok`, `note` for what is not as usual, `stop` for what ends the request here.
    pub state: String,
    pub told: String,
}

/// An endpoint, and what came of connecting to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dialled {
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// Whether this one, or one of several like it, would get the request.
    pub chosen: bool,
    /// `connects`, or why not.
    pub dial: String,
}
