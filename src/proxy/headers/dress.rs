//! What a route's labels make of the fields of an app's answer.

use std::sync::Arc;

use super::super::fields::{Fields, Known};
use super::back::{Own, write_back};
use super::cors::write_cors;
use super::edit::write_edits;
use super::response::Extra;
use crate::model::Facts;
use crate::route::Route;

/// Of one request.
pub(crate) struct Dress<'a> {
    pub(crate) route: &'a Route,
    /// The request's fields.
    pub(crate) asked: Fields<'a>,
    /// As the client used it.
    pub(crate) https: bool,
    /// `Host` as the client sent it.
    pub(crate) authority: &'a str,
    pub(crate) facts: Facts<'a>,
    /// Lines of the server that has let the request through.
    pub(crate) cookies: &'a [u8],
}

impl Dress<'_> {
    /// Adds to `extra` what an answer with these fields gets and loses. `own` is what the app may call itself.
    pub(crate) fn write(&self, extra: &mut Extra, fields: Fields<'_>, own: Option<Own<'_>>) {
        let (route, lines) = (self.route, &mut extra.lines);
        if let Some(hsts) = &route.hsts
            && self.https
        {
            lines.extend_from_slice(hsts.as_bytes());
            // A label's word counts; browsers would take the first of two (RFC 6797 section 8.1).
            extra.instead |= Known::set(&[Known::StrictTransportSecurity]);
        }
        let edits = route.response_edits.as_deref();
        if let (Some(back), Some(own)) = (&route.back, own)
            && fields.has(Known::NamesPath)
            && write_back(lines, fields, back, self.authority, own, edits)
        {
            extra.instead |= Known::set(&[Known::NamesPath]);
        }
        if let Some(edits) = &route.response_edits {
            write_edits(lines, edits, fields, &self.facts);
            extra.edits = Some(Arc::clone(edits));
        }
        if let Some(cors) = &route.cors {
            write_cors(lines, cors, self.asked, fields, edits);
        }
        lines.extend_from_slice(self.cookies);
    }
}
