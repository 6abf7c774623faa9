//! Fields by which browsers let pages of other origins call an app (product.md B53).

use http::Method;
use http::header::{HeaderName, HeaderValue};

use super::super::fields::{Fields, write_field};
use super::super::head::RequestHead;
use super::super::page::Page;
use crate::filter::cors::{Cors, VARY};
use crate::route::Edits;

/// A browser's question before it sends what a page asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Preflight<'a> {
    pub(crate) origin: &'a [u8],
    method: &'a [u8],
    headers: Option<&'a [u8]>,
}

impl<'a> Preflight<'a> {
    /// Any other `OPTIONS` is the app's to answer.
    pub(crate) fn of(head: &'a RequestHead) -> Option<Self> {
        if head.method != Method::OPTIONS {
            return None;
        }
        let fields = head.fields();
        Some(Self {
            origin: value(fields, ORIGIN)?,
            method: value(fields, "access-control-request-method")?,
            headers: value(fields, "access-control-request-headers"),
        })
    }

    /// What it is told besides [`allow_page`].
    pub(crate) fn answer(self, page: &mut Page, cors: &Cors) {
        cors.preflight(self.method, self.headers, |name, value| {
            add(page, name, value);
        });
    }
}

/// Appends the fields for an app's answer, whose own do not count. `edits` is what becomes of them.
pub(crate) fn write_cors(
    out: &mut Vec<u8>,
    cors: &Cors,
    request: Fields<'_>,
    response: Fields<'_>,
    edits: Option<&Edits>,
) {
    let kept = edits.is_none_or(|edits| !edits.without(VARY.as_bytes()));
    let varies = kept && varies(response);
    cors.answer(value(request, ORIGIN), |name, value| {
        if name != VARY || !varies {
            write_field(out, name.as_bytes(), value);
        }
    });
}

/// The same for an answer of Wharf's own: a page's script can then read it.
pub(crate) fn allow_page(page: &mut Page, cors: &Cors, request: Fields<'_>) {
    cors.answer(value(request, ORIGIN), |name, value| add(page, name, value));
}

fn add(page: &mut Page, name: &'static str, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        page.headers_mut()
            .append(HeaderName::from_static(name), value);
    }
}

/// Whether caches know already.
fn varies(response: Fields<'_>) -> bool {
    let named = response.iter().filter(|field| is(field.name, VARY));
    let mut names = named.flat_map(|field| field.value.split(|b| *b == b','));
    names.any(|name| is(name.trim_ascii(), ORIGIN))
}

fn value<'a>(fields: Fields<'a>, name: &str) -> Option<&'a [u8]> {
    let mut fields = fields.iter();
    let field = fields.find(|field| is(field.name, name))?;
    Some(field.value)
}

fn is(name: &[u8], other: &str) -> bool {
    name.eq_ignore_ascii_case(other.as_bytes())
}

const ORIGIN: &str = "origin";
