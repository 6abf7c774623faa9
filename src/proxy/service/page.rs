//! Wharf's own answers as a route's clients get them.

use http::header::{self, HeaderName, HeaderValue};

use super::Head;
use super::find::{find_host, find_route};
use crate::access::RequestId;
use crate::proxy::audience::{Client, may_see_details};
use crate::proxy::error::ProxyError;
use crate::proxy::fields::lines;
use crate::proxy::grpc;
use crate::proxy::head::RequestHead;
use crate::proxy::headers;
use crate::proxy::hints::hints;
use crate::proxy::page::{self, Page};
use crate::proxy::state::ConnState;
use crate::proxy::worker::Worker;
use crate::route::Route;

/// The page that tells of an error.
pub(super) fn refused(
    worker: &Worker,
    conn: &ConnState,
    head: &RequestHead,
    client: Client,
    request_id: RequestId<'_>,
    error: &ProxyError,
) -> Page {
    let table = worker.table();
    let detail = may_see_details(&table, head, client)
        .then(|| hints(error, &table, &worker.engine.table.notes(), head));
    let parsed = Head::read(conn.tls, head, client);
    let parsed = parsed.as_ref().ok();
    let route = parsed.and_then(|head| {
        let entry = find_host(&table, head).ok()?;
        find_route(entry, head).ok()
    });
    let call = grpc::content_type(head.fields());
    let mut page = match call.filter(|_| route.is_none_or(|route| route.grpc)) {
        Some(content_type) => {
            let cause = match detail {
                Some(_) => error.to_string(),
                None => error.public_cause(),
            };
            grpc::page(error, &worker.engine.prefix.in_words(&cause), content_type)
        }
        None => page::error(
            error,
            head.fields(),
            request_id,
            detail.as_deref(),
            &worker.engine.prefix,
        ),
    };
    if let (Some(head), Some(route)) = (parsed, route) {
        dress(&mut page, head, route);
    }
    page
}

/// Adds lines as `write_field` writes them.
pub(super) fn add_lines(page: &mut Page, text: &[u8]) {
    for (name, value) in lines(text) {
        let (name, value) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value));
        if let (Ok(name), Ok(value)) = (name, value) {
            page.headers_mut().append(name, value);
        }
    }
}

/// What a route's labels add to an answer of Wharf's own.
pub(super) fn dress(page: &mut Page, head: &Head<'_>, route: &Route) {
    if let Some(hsts) = hsts(route).filter(|_| head.https) {
        page.headers_mut()
            .insert(header::STRICT_TRANSPORT_SECURITY, hsts);
    }
    if let Some(edits) = &route.response_edits {
        headers::edit_page(page, edits, &head.facts(head.path, head.rooted_target()));
    }
    if let Some(cors) = &route.cors {
        headers::allow_page(page, cors, head.request.fields());
    }
}

/// What a route tells browsers of HTTPS.
fn hsts(route: &Route) -> Option<HeaderValue> {
    let (_, value) = route.hsts.as_deref()?.trim_end().split_once(": ")?;
    HeaderValue::from_str(value).ok()
}
