//! A browser's question whether a page of another origin may send a request (product.md B53).

use http::StatusCode;

use super::Head;
use super::page::dress;
use crate::filter;
use crate::proxy::error::ProxyError;
use crate::proxy::forward::Answer;
use crate::proxy::headers::Preflight;
use crate::proxy::page;
use crate::route::Route;

/// A browser's question whether a page may send a request, where it is Wharf's to answer. It shows nobody's login
/// or certificate and follows no redirect, so that no other rule of the route is asked.
pub(in crate::proxy) fn preflight<'a>(
    head: &Head<'a>,
    route: &Route,
) -> Result<Option<Preflight<'a>>, ProxyError> {
    let Some(cors) = &route.cors else {
        return Ok(None);
    };
    match Preflight::of(head.request) {
        Some(preflight) if !cors.admits(preflight.origin) => {
            let origin = String::from_utf8_lossy(preflight.origin);
            Err(ProxyError::Refused(filter::Refusal::Origin {
                origin: origin.chars().take(MAX_ORIGIN).collect(),
            }))
        }
        asked => Ok(asked),
    }
}

/// What it is told.
pub(super) fn preflighted(head: &Head<'_>, route: &Route, preflight: Preflight<'_>) -> Answer {
    let mut page = page::empty(StatusCode::NO_CONTENT);
    dress(&mut page, head, route);
    if let Some(cors) = &route.cors {
        preflight.answer(&mut page, cors);
    }
    Answer::Page(Box::new(page))
}

/// Characters of an origin in a message.
const MAX_ORIGIN: usize = 200;
