//! A route's own pages in place of Wharf's, and of the app's where a label says so (product.md B55): as nginx's
//! `error_page` and `proxy_intercept_errors`, but that status and what else the answer says stay.

use std::fmt::Write;
use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};

use super::Head;
use super::find::{find_host, find_route};
use super::forward_auth::{Bodiless, Nobody};
use super::page::{add_lines, dress};
use crate::access::RequestId;
use crate::model::FieldNames;
use crate::proxy::audience::Client;
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::{Chunks, Client as ClientSide, Response, ResponsePart};
use crate::proxy::fields::{Known, lines, write_field};
use crate::proxy::forward::{Answer, Forward, Refusal};
use crate::proxy::head::RequestHead;
use crate::proxy::headers::Origin;
use crate::proxy::local::Local;
use crate::proxy::page::{self, Form, Page, form};
use crate::proxy::state::ConnState;
use crate::proxy::tail::Record;
use crate::proxy::worker::Worker;
use crate::route::{ErrorPage, Errors, Route};

/// An error on its way to a client.
pub(super) struct Replacing<'a> {
    worker: &'a Rc<Worker>,
    conn: &'a ConnState,
    request_id: RequestId<'a>,
    errors: &'a Errors,
    /// In words for anybody; empty where it is the app's.
    cause: &'a str,
}

/// What a client sees.
struct Own {
    kind: HeaderValue,
    text: Bytes,
}

impl<'a> Replacing<'a> {
    pub(super) fn of(
        worker: &'a Rc<Worker>,
        conn: &'a ConnState,
        request_id: RequestId<'a>,
        errors: &'a Errors,
        cause: &'a str,
    ) -> Self {
        Self {
            worker,
            conn,
            request_id,
            errors,
            cause,
        }
    }

    /// Puts the route's own page in the place of Wharf's, if there is one for this client.
    pub(super) async fn page<C: ClientSide>(
        &self,
        request: &RequestHead,
        client: Client,
        page: &mut Page,
        side: &mut C,
    ) {
        let Ok(head) = Head::read(self.conn.tls, request, client) else {
            return;
        };
        if let Some(own) = self.own(&head, page.status(), side).await {
            page.headers_mut().insert(header::CONTENT_TYPE, own.kind);
            *page.body_mut() = own.text;
        }
    }

    /// The route's own page instead of the app's answer, or that.
    pub(super) async fn answer<C: ClientSide>(
        &self,
        request: &RequestHead,
        client: Client,
        response: Response,
        side: &mut C,
    ) -> Answer {
        let Ok(head) = Head::read(self.conn.tls, request, client) else {
            return Answer::Response(response);
        };
        let Some(own) = self.own(&head, response.status, side).await else {
            return Answer::Response(response);
        };
        let mut page = page::empty(response.status);
        let extra = response.extra();
        let rewritten = Known::NamesPath.is_in(extra.instead);
        if let Some((fields, _)) = response.head() {
            for field in fields.iter() {
                let kept = KEPT
                    .iter()
                    .any(|name| field.name.eq_ignore_ascii_case(name.as_bytes()))
                    && !(rewritten && field.known == Known::NamesPath)
                    && !(extra.edits.as_ref()).is_some_and(|edits| edits.without(field.name));
                let name = HeaderName::from_bytes(field.name);
                let value = HeaderValue::from_bytes(field.value);
                if let (true, Ok(name), Ok(value)) = (kept, name, value) {
                    page.headers_mut().append(name, value);
                }
            }
        }
        add_lines(&mut page, &extra.lines);
        for name in [header::LOCATION, header::CONTENT_LOCATION, header::REFRESH] {
            page.headers_mut().remove(name);
        }
        page.headers_mut().insert(header::CONTENT_TYPE, own.kind);
        *page.body_mut() = own.text;
        response.discard();
        Answer::Page(Box::new(page))
    }

    /// The same for an app's answer that is stored.
    pub(super) async fn local<C: ClientSide>(
        &self,
        request: &RequestHead,
        client: Client,
        local: Box<Local>,
        side: &mut C,
    ) -> Answer {
        let Ok(head) = Head::read(self.conn.tls, request, client) else {
            return Answer::Local(local);
        };
        let Some(own) = self.own(&head, local.status(), side).await else {
            return Answer::Local(local);
        };
        let mut page = page::empty(local.status());
        for (name, value) in lines(&local.lines) {
            let kept = { KEPT.iter().chain(&OF_THE_CACHE) }
                .any(|kept| name.eq_ignore_ascii_case(kept.as_bytes()));
            let (name, value) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value));
            if let (true, Ok(name), Ok(value)) = (kept, name, value) {
                page.headers_mut().append(name, value);
            }
        }
        let table = self.worker.table();
        let route = find_host(&table, &head).and_then(|entry| find_route(entry, &head));
        if let Ok(route) = route {
            dress(&mut page, &head, route);
        }
        page.headers_mut().insert(header::CONTENT_TYPE, own.kind);
        *page.body_mut() = own.text;
        Answer::Page(Box::new(page))
    }

    async fn own<C: ClientSide>(
        &self,
        head: &Head<'_>,
        status: StatusCode,
        side: &mut C,
    ) -> Option<Own> {
        let page = self.errors.page(status.as_u16())?;
        let fields = head.request.fields();
        // Its clients read no pages.
        let kind = fields
            .iter()
            .find(|f| f.name.eq_ignore_ascii_case(b"content-type"));
        if kind.is_some_and(|kind| kind.value.starts_with(b"application/grpc")) {
            return None;
        }
        let form = form(fields);
        match page {
            ErrorPage::File(name) => self.file(head, name, status, form).await,
            ErrorPage::Ask {
                route,
                target,
                at,
                own,
            } => {
                let target = target.replace("{status}", status.as_str());
                match self.asked(head, (route, *own), &target, status, side).await {
                    Ok(own) => own.filter(|own| form != Form::Json || is_json(own)),
                    Err(error) => {
                        if self.worker.auths.tells() {
                            let route = &*self.errors.route;
                            tracing::warn!(%error, route, at = &**at, "wharf.errors: no page from there");
                        }
                        None
                    }
                }
            }
        }
    }

    /// Clients that want JSON get the file's sibling, if there is one.
    async fn file(
        &self,
        head: &Head<'_>,
        name: &str,
        status: StatusCode,
        form: Form,
    ) -> Option<Own> {
        let name = name.replace("{status}", status.as_str());
        let (stem, ending) = name.rsplit_once('.')?;
        let directory = &self.worker.engine.errors;
        let files = &self.worker.error_files;
        let json = ending.eq_ignore_ascii_case("json");
        if form == Form::Json && !json {
            let sibling = format!("{stem}.json");
            let text = files.find(directory, &sibling).await.ok()?;
            return Some(self.filled(head, &text, "json", status));
        }
        match files.find(directory, &name).await {
            Ok(text) => Some(self.filled(head, &text, ending, status)),
            Err(missing) => {
                if missing.news {
                    let (route, why) = (&*self.errors.route, &*missing.why);
                    tracing::warn!(route, file = name, why, "wharf.errors: no page there");
                }
                None
            }
        }
    }

    /// A file's text with what its placeholders stand for.
    fn filled(&self, head: &Head<'_>, text: &Bytes, ending: &str, status: StatusCode) -> Own {
        let (kind, escape): (_, fn(&str) -> String) = match ending.to_ascii_lowercase().as_str() {
            "json" => ("application/json", json),
            "txt" => ("text/plain; charset=utf-8", str::to_owned),
            _ => ("text/html; charset=utf-8", page::escaped),
        };
        Own {
            kind: HeaderValue::from_static(kind),
            text: match std::str::from_utf8(text) {
                Ok(template) if template.contains('{') => fill(template, |name| {
                    Some(escape(&match name {
                        "status" => status.as_str().into(),
                        "reason" => status.canonical_reason().unwrap_or("Error").into(),
                        "request_id" => self.request_id.to_string(),
                        "host" => head.host.as_str().to_owned(),
                        "uri" => head.rooted_target().to_owned(),
                        "cause" => self.cause.to_owned(),
                        _ => return None,
                    }))
                })
                .into(),
                // What is no text has no placeholders.
                _ => text.clone(),
            },
        }
    }

    /// The page of a server, or of a path of the app's.
    async fn asked<C: ClientSide>(
        &self,
        head: &Head<'_>,
        (route, own): (&Route, bool),
        target: &str,
        status: StatusCode,
        side: &mut C,
    ) -> Result<Option<Own>, ProxyError> {
        let conn = self.conn;
        let question = head.request.question();
        let mut lines = Vec::new();
        write_field(&mut lines, b"x-code", status.as_str().as_bytes());
        let method = head.request.method.as_str();
        write_field(&mut lines, b"x-original-method", method.as_bytes());
        write_field(
            &mut lines,
            b"x-original-uri",
            head.rooted_target().as_bytes(),
        );
        let untold = FieldNames {
            whole: match own {
                true => UNTOLD.iter().map(|&name| name.to_owned()).collect(),
                // Who somebody is is the app's to know.
                false => UNTOLD
                    .iter()
                    .chain(&PERSONAL)
                    .map(|&name| name.to_owned())
                    .collect(),
            },
            beginnings: vec!["if-".to_owned(), "content-".to_owned()],
        };
        let forward = Forward {
            worker: self.worker,
            route,
            head: &question,
            target: [target, ""],
            origin: Origin {
                peer: conn.peer.ip(),
                client: head.client.address,
                trusted: head.client.trusted,
                request_id: self.request_id,
                scheme: if head.https { "https" } else { "http" },
                authority: head.authority,
                port: head.port(),
                lines: (!head.client.trusted).then(|| conn.lines()),
                certificate: None,
                login: None,
                prefix: None,
                forwarded: false,
                edited: None,
                reserved: Some((&untold, &lines)),
            },
            facts: head.facts(head.path, head.rooted_target()),
            websocket: false,
            cookies: &[],
        };
        let mut record = Record::default();
        let mut response = match forward.send(&mut Bodiless(side), &mut record).await {
            Ok(Answer::Response(response)) => response,
            Ok(Answer::Gone) => return Ok(None),
            Ok(Answer::Page(_) | Answer::Local(_) | Answer::Switched(_)) | Err(Refusal::Full) => {
                return Err(ProxyError::BadRequest("it has not answered"));
            }
            Err(Refusal::Final(error) | Refusal::ForNow(error) | Refusal::Cut(error, _)) => {
                return Err(error);
            }
        };
        // A page may come with the status it is for.
        if !response.status.is_success() && response.status != status {
            response.discard();
            return Err(ProxyError::BadRequest(
                "its answer is neither 2xx nor of that status",
            ));
        }
        let fields = response.head().map(|(fields, _)| fields);
        let kind = fields.and_then(|fields| {
            let mut fields = fields.iter();
            fields.find(|field| field.name.eq_ignore_ascii_case(b"content-type"))
        });
        let kind = kind.and_then(|kind| HeaderValue::from_bytes(kind.value).ok());
        let kind = kind.unwrap_or(HeaderValue::from_static("text/html; charset=utf-8"));
        response.take_head();
        let mut text = Vec::new();
        loop {
            let part =
                poll_fn(|cx| response.poll_body(cx, &mut Nobody, &mut text, Chunks::None, ROOM));
            match part.await {
                Ok(ResponsePart::Data(_)) if text.len() > MAX_ANSWER => {
                    return Err(ProxyError::BadRequest("its answer is longer than 1 MiB"));
                }
                Ok(ResponsePart::Data(_)) => {}
                Ok(ResponsePart::End | ResponsePart::Trailers(_)) => break,
                Err(_) => return Err(ProxyError::BadRequest("its answer broke off")),
            }
        }
        Ok(Some(Own {
            kind,
            text: text.into(),
        }))
    }
}

fn is_json(own: &Own) -> bool {
    memchr::memmem::find(own.kind.as_bytes(), b"json").is_some()
}

/// Within a string of JSON.
fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let inner = quoted
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or_default().to_owned()
}

/// Replaces `{name}` where `value` knows it; all else stays, be it braces.
fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, behind) = rest.split_at(at);
        out.push_str(before);
        let name = behind[1..].split('}').next().unwrap_or_default();
        let known = name.len() <= LONGEST_NAME && behind[1..].len() > name.len();
        match Some(name).filter(|_| known).and_then(&value) {
            Some(value) => {
                out.push_str(&value);
                rest = &behind[name.len() + 2..];
            }
            None => {
                out.push('{');
                rest = &behind[1..];
            }
        }
    }
    // Writing to a String cannot fail.
    let _ = out.write_str(rest);
    out
}

/// What an app's answer keeps when its page is another.
const KEPT: [&str; 6] = [
    "www-authenticate",
    "retry-after",
    "allow",
    "set-cookie",
    "cache-control",
    // Of a 416, which says how much there is (RFC 9110 section 15.5.17).
    "content-range",
];
/// Of what the cache says, beside those.
const OF_THE_CACHE: [&str; 3] = ["age", "x-cache-status", "cache-status"];
const UNTOLD: [&str; 6] = [
    "range",
    "trailer",
    "accept-encoding",
    "x-code",
    "x-original-uri",
    "x-original-method",
];
const PERSONAL: [&str; 2] = ["cookie", "authorization"];
/// Bytes of a page.
const MAX_ANSWER: usize = 1024 * 1024;
const ROOM: usize = 16 * 1024;
/// Of a placeholder.
const LONGEST_NAME: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_other_braces_stay() {
        let value = |name: &str| (name == "status").then(|| "502".to_owned());
        for (template, expected) in [
            ("a {status} b{status}", "a 502 b502"),
            ("p{color:red} {status}", "p{color:red} 502"),
            ("{{status}}", "{502}"),
            ("{status", "{status"),
            ("{", "{"),
            ("{é}", "{é}"),
            ("{stat us}", "{stat us}"),
        ] {
            assert_eq!(fill(template, value), expected);
        }
        assert_eq!(json("a\"b\\c\n<"), "a\\\"b\\\\c\\n<");
    }
}
