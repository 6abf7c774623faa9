//! What the app is asked for.

use super::Head;
use crate::model::{behind, seen};
use crate::proxy::error::ProxyError;
use crate::route::{Route, climbs};

/// The target for the upstream, byte for byte but for a prefix that is taken off or put on, and the one that
/// is taken off.
pub(super) fn target<'a>(head: &Head<'a>, route: &'a Route) -> ([&'a str; 2], Option<&'a str>) {
    let target = head.target;
    if target == "*" {
        return (["*", ""], None);
    }
    if let Some(stripped) = &route.stripped
        && let Some(rest) = behind(target, &stripped.prefix)
    {
        let base = match &*stripped.base {
            "" if !rest.starts_with('/') => "/",
            base => base,
        };
        return ([base, rest], stripped.told.as_deref());
    }
    // An absolute target may have a query and no path.
    let lead = if target.starts_with('/') { "" } else { "/" };
    ([lead, target], None)
}

/// What the app is asked for, where that is not what the client asks for.
pub(in crate::proxy) fn changed_target(
    head: &Head<'_>,
    route: &Route,
) -> Result<Option<String>, ProxyError> {
    let (target, _) = target(head, route);
    let rewritten = rewritten(head, route, target)?;
    let own = || route.changes_paths().then(|| target.concat());
    Ok(rewritten.or_else(own))
}

/// What the route's rules make of a target. A path with `..` in it is refused where paths change: what was put
/// in front could be climbed out of.
pub(super) fn rewritten(
    head: &Head<'_>,
    route: &Route,
    target: [&str; 2],
) -> Result<Option<String>, ProxyError> {
    if !route.changes_paths() || target[0] == "*" {
        return Ok(None);
    }
    if climbs(head.path) {
        return Err(ProxyError::BadRequest(CLIMBS));
    }
    if route.rules.is_empty() {
        return Ok(None);
    }
    let uri = target.concat();
    let path = seen(uri.split('?').next().unwrap_or(&uri));
    let facts = head.facts(&path, &uri);
    Ok(route.rules.iter().find_map(|rule| {
        let found = rule.from.pattern().regex().captures(&path)?;
        Some(rule.to.fill(&facts, &found))
    }))
}

const CLIMBS: &str = "`..` has no place in the path: this route changes it for the app";
