//! Answers are compressed for clients that take it (product.md S68, B58); after all else has been done to them.

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

use crate::filter::compress::{Seen, Verdict, forbids, judge, names_weakly, vary, weak};
use crate::model::{Coding, Compress};
use crate::proxy::encoder::CodedBody;
use crate::proxy::exchange::Response;
use crate::proxy::fields::Fields;
use crate::proxy::forward::Answer;
use crate::proxy::h1::Framing;
use crate::proxy::head::RequestHead;
use crate::proxy::headers;
use crate::proxy::local::{Body, Length, Local};
use crate::proxy::worker::Worker;

/// What a request says that matters.
#[derive(Default)]
struct Wish<'a> {
    /// Its Accept-Encoding.
    accepted: Cow<'a, [u8]>,
    if_none_match: Cow<'a, [u8]>,
    /// `no-transform`.
    fixed: bool,
}

/// The answer, compressed where it should be. Wharf's own pages are not: they are short.
pub(super) fn compressed(
    worker: &Worker,
    request: &RequestHead,
    rules: &Compress,
    answer: Answer,
) -> Answer {
    let wish = Wish::of(request.fields());
    if wish.fixed {
        return answer;
    }
    let head_only = request.method == Method::HEAD;
    match answer {
        Answer::Response(mut response) => {
            of_app(worker, rules, &wish, head_only, &mut response);
            Answer::Response(response)
        }
        Answer::Local(local) => Answer::Local(own(worker, rules, &wish, head_only, local)),
        answer => answer,
    }
}

/// Whether that is clear without another look: the answer is an app's and too short, as most are.
pub(super) fn is_short(rules: &Compress, answer: &Answer) -> bool {
    match answer {
        Answer::Response(response) => {
            let short =
                matches!(response.framing, Framing::Length(length) if length < rules.min.max(1));
            short && response.status != StatusCode::NOT_MODIFIED
        }
        _ => false,
    }
}

/// The app's.
fn of_app(
    worker: &Worker,
    rules: &Compress,
    wish: &Wish<'_>,
    head_only: bool,
    response: &mut Response,
) {
    if response.status == StatusCode::NOT_MODIFIED {
        return response.edit(|fields, extra| headers::weaken(fields, extra, &wish.if_none_match));
    }
    let Some((fields, _)) = response.head() else {
        return;
    };
    let length = match response.framing {
        Framing::Length(length) => Some(length),
        Framing::Empty if head_only => headers::content_length(fields).ok().flatten(),
        // There is nothing to compress.
        Framing::Empty => return,
        Framing::Chunked | Framing::Close => None,
    };
    let seen = headers::seen(fields, response.extra());
    let status = response.status.as_u16();
    match judge(rules, status, length, &seen, &wish.accepted) {
        Verdict::Leave => {}
        Verdict::Plain => response.edit(headers::add_vary),
        Verdict::Code(coding) if head_only => {
            response.edit(|fields, extra| headers::set_coding(fields, extra, coding));
        }
        Verdict::Code(coding) => {
            let level = rules.levels.of(coding);
            match worker.encoders.encoder(coding, level, length) {
                Some(encoder) => {
                    response.edit(|fields, extra| headers::set_coding(fields, extra, coding));
                    response.compress(encoder);
                }
                None => response.edit(headers::add_vary),
            }
        }
    }
}

/// Wharf's own: files, and what is stored.
fn own(
    worker: &Worker,
    rules: &Compress,
    wish: &Wish<'_>,
    head_only: bool,
    mut local: Box<Local>,
) -> Box<Local> {
    let status = local.status();
    let fields = local.head.headers_mut();
    if status == StatusCode::NOT_MODIFIED {
        weaken(fields, &wish.if_none_match);
        return local;
    }
    let mut seen = Seen::default();
    for (name, value) in &*fields {
        seen.add(name.as_str().as_bytes(), value.as_bytes());
    }
    let length = match local.length {
        Length::None => return local,
        Length::Known(length) => Some(length),
        Length::Open => None,
    };
    match judge(rules, status.as_u16(), length, &seen, &wish.accepted) {
        Verdict::Leave => {}
        Verdict::Plain => add_vary(fields),
        Verdict::Code(coding) => {
            let level = rules.levels.of(coding);
            if head_only {
                set_coding(fields, coding);
                local.length = Length::Open;
            } else if let Some(encoder) = worker.encoders.encoder(coding, level, length) {
                set_coding(fields, coding);
                local.length = Length::Open;
                let Local {
                    head,
                    lines,
                    length,
                    body,
                } = *local;
                let body = Body::Pieces(Box::new(CodedBody::new(body, encoder)));
                return Box::new(Local {
                    head,
                    lines,
                    length,
                    body,
                });
            } else {
                add_vary(fields);
            }
        }
    }
    local
}

impl<'a> Wish<'a> {
    fn of(fields: Fields<'a>) -> Self {
        let mut wish = Self::default();
        for field in fields.iter() {
            let is = |known: &str| field.name.eq_ignore_ascii_case(known.as_bytes());
            match field.name.len() {
                13 if is("cache-control") => wish.fixed |= forbids(field.value),
                13 if is("if-none-match") => join(&mut wish.if_none_match, field.value),
                15 if is("accept-encoding") => join(&mut wish.accepted, field.value),
                _ => {}
            }
        }
        wish
    }
}

/// A list may come in several lines.
fn join<'a>(list: &mut Cow<'a, [u8]>, value: &'a [u8]) {
    if list.is_empty() {
        *list = value.into();
    } else {
        let list = list.to_mut();
        list.extend_from_slice(b", ");
        list.extend_from_slice(value);
    }
}

fn set_coding(fields: &mut HeaderMap, coding: Coding) {
    add_vary(fields);
    fields.remove(header::ACCEPT_RANGES);
    fields.insert(
        header::CONTENT_ENCODING,
        HeaderValue::from_static(coding.name()),
    );
    if let Some(etag) = fields.remove(header::ETAG)
        && let Some(weak) = weak(etag.as_bytes())
        && let Ok(weak) = HeaderValue::from_bytes(&weak)
    {
        fields.insert(header::ETAG, weak);
    }
}

fn add_vary(fields: &mut HeaderMap) {
    let values = fields.get_all(header::VARY);
    let vary = vary(values.iter().map(HeaderValue::as_bytes));
    if let Some(Ok(vary)) = vary.map(|vary| HeaderValue::from_bytes(&vary)) {
        fields.insert(header::VARY, vary);
    }
}

fn weaken(fields: &mut HeaderMap, if_none_match: &[u8]) {
    let etag = fields.get(header::ETAG).map(HeaderValue::as_bytes);
    let known = etag.filter(|etag| names_weakly(if_none_match, etag));
    if let Some(Ok(weak)) = known
        .and_then(weak)
        .map(|weak| HeaderValue::from_bytes(&weak))
    {
        fields.insert(header::ETAG, weak);
        add_vary(fields);
    }
}
