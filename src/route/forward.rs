//! Servers that are asked about every request of a route, compiled.

use std::time::Duration;

use super::Route;
use crate::model::{AuthKind, FieldNames, ForwardSpec, RouteKey};

/// One of them, as one route asks it.
#[derive(Debug)]
pub struct ForwardAuth {
    /// As the label says, without a query.
    pub at: Box<str>,
    /// Path and query.
    pub target: Box<str>,
    /// Which route asks whom for what: a yes to one of these is none to another.
    pub what: Box<str>,
    /// What the app gets of its answer.
    pub copy: FieldNames,
    /// What it is not told by a client.
    pub untold: FieldNames,
    /// How long a yes holds; 0: not at all.
    pub cache: Duration,
    /// It holds for a visitor, not only for the request.
    pub session: bool,
    pub kind: Option<AuthKind>,
    /// How its requests are sent.
    pub route: Route,
}

impl ForwardAuth {
    pub(super) fn new(spec: &ForwardSpec, route: Route, owner: &RouteKey) -> Self {
        let copy = spec.copy.clone();
        let mut untold = copy.clone();
        // What somebody is asked to show is part of the question.
        untold.whole.retain(|name| name != "authorization");
        let owned = |name: &&str| (*name).to_owned();
        untold.whole.extend(UNTOLD.iter().map(owned));
        untold
            .beginnings
            .extend(UNTOLD_BEGINNINGS.iter().map(owned));
        let (upstream, target) = (&route.upstream.key, &spec.at.target);
        Self {
            what: format!("{owner} {upstream} {target} {copy}").into(),
            at: spec.at.to_string().into(),
            target: target.as_str().into(),
            copy,
            untold,
            cache: spec.cache,
            session: spec.session,
            kind: spec.at.kind,
            route,
        }
    }
}

/// Told by Wharf, or of no use to who sees no body: an answer 304 or 206 to the question would be none.
const UNTOLD: [&str; 8] = [
    "x-forwarded-method",
    "x-forwarded-uri",
    "x-original-url",
    "x-original-method",
    "x-original-uri",
    "range",
    "trailer",
    "x-wharf-asks",
];
const UNTOLD_BEGINNINGS: [&str; 2] = ["if-", "content-"];
