//! Asks the server of `wharf.auth.forward` whether a request may go on (product.md B51): as Traefik's ForwardAuth,
//! Caddy's `forward_auth` and nginx's `auth_request` do, over the same pools, with the same waits, as an app
//! is asked.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::Head;
use super::page::dress;
use crate::access::RequestId;
use crate::proxy::auths::{Pass, Question};
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::{Chunks, Client, ExchangeError, Part, Response, ResponsePart};
use crate::proxy::fields::{Field, Fields, Known, write_field};
use crate::proxy::forward::{Answer, Forward, Refusal};
use crate::proxy::h1::ResponseHead;
use crate::proxy::headers::{self, Origin};
use crate::proxy::hold::Stop;
use crate::proxy::page;
use crate::proxy::state::ConnState;
use crate::proxy::tail::Record;
use crate::proxy::worker::Worker;
use crate::route::{ForwardAuth, Route};

/// What its word is.
pub(super) enum Word {
    /// The request goes on, with what this says of who sends it.
    Yes(Rc<Pass>),
    /// The client gets this.
    No(Answer),
}

/// Who asks about what.
pub(super) struct Asking<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) conn: &'a ConnState,
    pub(super) head: &'a Head<'a>,
    pub(super) route: &'a Route,
    pub(super) auth: &'a ForwardAuth,
    pub(super) request_id: RequestId<'a>,
}

impl Asking<'_> {
    /// Asks, unless it has said yes to the same a moment ago; `before` is what it has said to this very request,
    /// which has waited since.
    pub(super) async fn word<C: Client>(
        &self,
        side: &mut C,
        before: Option<&Rc<Pass>>,
    ) -> Result<Word, Stop> {
        let fields = self.head.request.fields();
        if let Some(pass) = before.filter(|pass| *pass.what == *self.auth.what) {
            return Ok(Word::Yes(Rc::clone(pass)));
        }
        if fields.iter().any(|field| is(field, MARK)) {
            return Err(ProxyError::AuthLoop.into());
        }
        let key = self.key();
        if let Some(key) = &key
            && let Some(pass) = self.worker.auths.find(key)
        {
            return Ok(Word::Yes(pass));
        }
        let mut record = Record::default();
        match self.ask(side, &mut record).await {
            Ok(Answer::Response(response)) if response.status.is_success() => {
                let pass = Rc::new(self.pass(response));
                if let Some(key) = key.filter(|_| pass.client.is_empty()) {
                    self.worker.auths.keep(key, &pass, self.auth.cache);
                }
                Ok(Word::Yes(pass))
            }
            Ok(Answer::Response(response)) => {
                let no = self.no(response, &record).await;
                let page = no.map_err(|cause| self.failed(cause))?;
                Ok(Word::No(Answer::Page(Box::new(page))))
            }
            Ok(Answer::Gone) => Ok(Word::No(Answer::Gone)),
            Ok(Answer::Page(_) | Answer::Local(_) | Answer::Switched(_)) => {
                Err(self.failed(ProxyError::BadRequest(NO_ANSWER)).into())
            }
            Err(Refusal::Final(error)) => Err(self.failed(error).into()),
            Err(Refusal::Full) => Err(Stop::Full(self.auth.route.upstream.clone())),
            Err(Refusal::ForNow(error)) => {
                let error = self.failed(error);
                Err(Stop::held(error, &self.auth.route, None, None))
            }
            Err(Refusal::Cut(error, endpoint)) => {
                let error = self.failed(error);
                Err(Stop::held(error, &self.auth.route, Some(endpoint), None))
            }
        }
    }

    async fn ask<C: Client>(&self, side: &mut C, record: &mut Record) -> Result<Answer, Refusal> {
        let (head, conn) = (self.head, self.conn);
        let question = head.request.question();
        let lines = self.lines();
        let forward = Forward {
            worker: self.worker,
            route: &self.auth.route,
            head: &question,
            target: [&self.auth.target, ""],
            origin: Origin {
                peer: conn.peer.ip(),
                client: head.client.address,
                trusted: head.client.trusted,
                request_id: self.request_id,
                scheme: scheme(head),
                authority: head.authority,
                port: head.port(),
                lines: (!head.client.trusted).then(|| conn.lines()),
                certificate: self.route.client.as_ref().map(|_| conn.certificate()),
                login: None,
                prefix: None,
                forwarded: false,
                edited: None,
                reserved: Some((&self.auth.untold, &lines)),
            },
            facts: head.facts(head.path, head.rooted_target()),
            websocket: false,
            cookies: &[],
        };
        forward.send(&mut Bodiless(side), record).await
    }

    /// What it is told of the request beside its fields. nginx's users call it by other names than Traefik's.
    fn lines(&self) -> Vec<u8> {
        let head = self.head;
        let (method, uri) = (
            head.request.method.as_str().as_bytes(),
            head.rooted_target(),
        );
        let mut lines = Vec::with_capacity(256 + 3 * uri.len());
        write_field(&mut lines, b"x-forwarded-method", method);
        write_field(&mut lines, b"x-forwarded-uri", uri.as_bytes());
        write_field(&mut lines, b"x-original-method", method);
        write_field(&mut lines, b"x-original-uri", uri.as_bytes());
        lines.extend_from_slice(b"x-original-url: ");
        for part in [scheme(head), "://", head.authority, uri, "\r\n"] {
            lines.extend_from_slice(part.as_bytes());
        }
        write_field(&mut lines, MARK, b"1");
        lines
    }

    /// What a yes is remembered by, if it is.
    fn key(&self) -> Option<[u8; 32]> {
        if self.auth.cache.is_zero() {
            return None;
        }
        let (head, fields) = (self.head, self.head.request.fields());
        let mut question = Question::new(&self.auth.what);
        question.part(scheme(head).as_bytes());
        question.part(head.authority.as_bytes());
        question.part(head.client.address.to_string().as_bytes());
        if self.auth.session {
            let shown = Known::set(&[Known::Cookie, Known::Authorization]);
            let mut any = false;
            for field in fields.iter().filter(|field| field.known.is_in(shown)) {
                any = true;
                question.part(&[field.known as u8]);
                question.part(field.value);
            }
            // Who shows nothing is nobody in particular.
            return any.then(|| question.key());
        }
        question.part(head.request.method.as_str().as_bytes());
        question.part(head.target.as_bytes());
        let other = Known::set(&[Known::XRequestId, Known::Connection, Known::KeepAlive]);
        for field in fields.iter().filter(|field| !field.known.is_in(other)) {
            question.part(field.name);
            question.part(field.value);
        }
        Some(question.key())
    }

    /// A yes: what the app gets of it, and what the client does.
    fn pass(&self, response: Response) -> Pass {
        let mut pass = Pass {
            what: self.auth.what.clone(),
            app: Vec::new(),
            client: Vec::new(),
        };
        let edits = self.route.request_edits.as_deref();
        let fields = response.head().map(|(fields, _)| fields);
        for field in fields.into_iter().flat_map(Fields::iter) {
            if is(field, b"set-cookie") {
                write_field(&mut pass.client, b"set-cookie", field.value);
            } else if self.auth.copy.covers(field.name)
                && !edits.is_some_and(|edits| edits.without(field.name))
            {
                write_field(&mut pass.app, field.name, field.value);
            }
        }
        response.discard();
        pass
    }

    /// A no, as the client gets it.
    async fn no(&self, mut response: Response, record: &Record) -> Result<page::Page, ProxyError> {
        let status = response.status;
        let mut page = page::empty(status);
        if let Some((fields, _)) = response.head() {
            let kept = headers::Kept::of(fields, response.extra(), false);
            for field in fields.iter().filter(|field| kept.holds(*field)) {
                let name = HeaderName::from_bytes(field.name);
                let value = HeaderValue::from_bytes(field.value);
                if let (Ok(name), Ok(value)) = (name, value) {
                    page.headers_mut().append(name, value);
                }
            }
        }
        response.take_head();
        let mut body = Vec::new();
        loop {
            let part =
                poll_fn(|cx| response.poll_body(cx, &mut Nobody, &mut body, Chunks::None, ROOM));
            match part.await {
                Ok(ResponsePart::Data(_)) if body.len() > MAX_ANSWER => {
                    return Err(ProxyError::BadRequest(TOO_LONG));
                }
                Ok(ResponsePart::Data(_)) => {}
                Ok(ResponsePart::End | ResponsePart::Trailers(_)) => break,
                Err(cause) => return Err(self.broken(cause, record)),
            }
        }
        *page.body_mut() = Bytes::from(body);
        if status == StatusCode::UNAUTHORIZED
            && let Some(to) = self.sign_in()
        {
            let cookies: Vec<_> = page
                .headers()
                .get_all(header::SET_COOKIE)
                .iter()
                .cloned()
                .collect();
            page = page::redirect(StatusCode::FOUND, &to).unwrap_or(page);
            for cookie in cookies {
                page.headers_mut().append(header::SET_COOKIE, cookie);
            }
        }
        // Who is let in may change from one moment to the next.
        page.headers_mut()
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        dress(&mut page, self.head, self.route);
        Ok(page)
    }

    /// Where a browser logs in, if the server leaves that to who asks it, and this is one that goes somewhere.
    fn sign_in(&self) -> Option<String> {
        let to = self.auth.kind?.sign_in()?;
        let request = self.head.request;
        let fields = request.fields();
        let value = |name: &[u8]| {
            fields
                .iter()
                .find(|field| is(*field, name))
                .map(|f| f.value)
        };
        let goes = match value(b"sec-fetch-mode") {
            Some(mode) => mode == b"navigate",
            None => {
                let accept = fields.get(Known::Accept).unwrap_or(b"");
                memchr::memmem::find(accept, b"text/html").is_some()
                    && value(b"x-requested-with").is_none()
            }
        };
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        (goes && reads).then(|| format!("{to}{}", encoded(self.head.rooted_target())))
    }

    fn failed(&self, cause: ProxyError) -> ProxyError {
        ProxyError::Auth {
            route: self.route.key.0.as_str().into(),
            at: self.auth.at.clone(),
            cause: Box::new(cause),
        }
    }

    /// It broke off in the middle.
    fn broken(&self, cause: ExchangeError, record: &Record) -> ProxyError {
        let upstream = &self.auth.route.upstream;
        let asked = record.tries.endpoint(upstream);
        match asked.or_else(|| upstream.endpoints.first()) {
            Some(endpoint) => ProxyError::Exchange {
                container: (&*endpoint.container).into(),
                endpoint: endpoint.addr.clone(),
                cause,
            },
            None => ProxyError::BadRequest(NO_ANSWER),
        }
    }
}

/// The client's side of a question: its body is for the app.
pub(super) struct Bodiless<'a, C>(pub(super) &'a mut C);

impl<C: Client> Client for Bodiless<'_, C> {
    fn body_ended(&self) -> bool {
        true
    }

    fn has_much(&self) -> bool {
        false
    }

    fn poll_body(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Vec<u8>,
        _: usize,
    ) -> Poll<Result<Part, ExchangeError>> {
        Poll::Ready(Ok(Part::End))
    }

    fn send_interim(&mut self, _: &ResponseHead, _: &[u8]) {}

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_gone(cx)
    }
}

/// Nobody to be asked for anything, while an answer is read.
pub(super) struct Nobody;

impl Client for Nobody {
    fn body_ended(&self) -> bool {
        true
    }

    fn has_much(&self) -> bool {
        false
    }

    fn poll_body(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Vec<u8>,
        _: usize,
    ) -> Poll<Result<Part, ExchangeError>> {
        Poll::Ready(Ok(Part::End))
    }

    fn send_interim(&mut self, _: &ResponseHead, _: &[u8]) {}

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

fn scheme(head: &Head<'_>) -> &'static str {
    if head.https { "https" } else { "http" }
}

fn is(field: Field<'_>, name: &[u8]) -> bool {
    field.name.eq_ignore_ascii_case(name)
}

/// As the value of a query parameter.
fn encoded(uri: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(uri.len() + 16);
    for byte in uri.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            byte => {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// A question of Wharf's, which is not to be asked about in turn.
const MARK: &[u8] = b"x-wharf-asks";
/// Bytes of a no: a page to log in, not a download.
const MAX_ANSWER: usize = 1024 * 1024;
const ROOM: usize = 16 * 1024;
const TOO_LONG: &str = "its answer is longer than 1 MiB";
const NO_ANSWER: &str = "it has not answered";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_somebody_wanted_to_go_stays_one_parameter() {
        assert_eq!(
            encoded("/a-b/c?d=e&f=%20#é"),
            "/a-b/c%3Fd%3De%26f%3D%2520%23%C3%A9"
        );
    }
}
