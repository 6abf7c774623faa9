//! Answers from files (product.md S70).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};

use super::Head;
use super::page::{add_lines, dress};
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::Client;
use crate::proxy::forward::Answer;
use crate::proxy::hold::Stop;
use crate::proxy::local::{Body, Length, Local};
use crate::proxy::page::{self, FILE_METHODS, Page};
use crate::proxy::worker::Worker;
use crate::route::Route;
use crate::webroot::{Asked, Fault, Hit, WebRoot};

/// Answers with a file. `cookies` are lines of the server that has let the request through.
pub(super) async fn serve<C: Client>(
    worker: &Worker,
    head: &Head<'_>,
    route: &Route,
    files: &WebRoot,
    cookies: &[u8],
    side: &mut C,
) -> Result<Answer, Stop> {
    let request = head.request;
    let done = |mut page: Page| {
        dress(&mut page, head, route);
        add_lines(&mut page, cookies);
        page
    };
    let method = match request.method {
        Method::HEAD => Method::HEAD,
        Method::GET => Method::GET,
        Method::OPTIONS => {
            let mut page = page::empty(StatusCode::NO_CONTENT);
            let allow = HeaderValue::from_static(FILE_METHODS);
            page.headers_mut().insert(header::ALLOW, allow);
            return Ok(Answer::Page(Box::new(done(page))));
        }
        _ => return Err(ProxyError::File(Fault::Method).into()),
    };
    let mut asked = Asked::default();
    for field in request.fields().iter() {
        asked.add(field.name, field.value);
    }
    let mut finding = pin!(files.find(&worker.files, head.path, &asked));
    let found = poll_fn(|cx| match finding.as_mut().poll(cx) {
        Poll::Ready(found) => Poll::Ready(Some(found)),
        Poll::Pending => side.poll_gone(cx).map(|()| None),
    });
    let Some(found) = found.await else {
        return Ok(Answer::Gone);
    };
    let found = match found.map_err(ProxyError::File)? {
        Hit::File(found) => found,
        Hit::Folder(path) => {
            let query = head.target.split_once('?').map(|(_, query)| query);
            let location = match query {
                Some(query) => format!("{path}?{query}"),
                None => path,
            };
            let page = page::redirect(StatusCode::MOVED_PERMANENTLY, &location);
            let page = page.ok_or(ProxyError::File(Fault::None))?;
            return Ok(Answer::Page(Box::new(done(page))));
        }
    };
    let reply = files.reply(&found, head.path, &asked, &method, SystemTime::now());
    let reply = reply.map_err(ProxyError::File)?;
    let mut page = Response::new(Bytes::new());
    *page.status_mut() = reply.status;
    *page.headers_mut() = reply.fields;
    Ok(Answer::Local(Box::new(Local {
        head: done(page),
        lines: Vec::new(),
        length: match reply.status {
            StatusCode::NOT_MODIFIED => Length::None,
            _ => Length::Known(reply.length),
        },
        body: Body::File(reply.body),
    })))
}
