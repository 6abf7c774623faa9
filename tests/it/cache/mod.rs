//! `wharf.cache`: what is given again, to whom, for how long, and what never is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::origin::Served;
use crate::support::peer::{Message, Peer};
use crate::support::site::{Site, app};
use crate::support::wharf::Builder;
use crate::support::{eventually, http};

mod basics;
mod beside;
mod crash;
mod deployed;
mod full;
mod labels;
mod purge;
mod refused;
mod stale;
mod suite;

/// An app that counts who asks it, behind a Wharf.
struct Stage {
    site: Site,
    /// Requests the app has had.
    asked: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Message>>>,
    app: Option<Served>,
}

impl Stage {
    /// `answer` gets the number of the request, from 1, and the request.
    fn new(
        labels: &str,
        answer: impl Fn(usize, &Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::with(labels, |builder| builder, answer)
    }

    fn with(
        labels: &str,
        configure: impl FnOnce(Builder) -> Builder,
        answer: impl Fn(usize, &Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let (asked, requests) = (
            Arc::<AtomicUsize>::default(),
            Arc::<Mutex<Vec<Message>>>::default(),
        );
        let (count, list) = (Arc::clone(&asked), Arc::clone(&requests));
        let app_ = Served::by(move |request| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            list.lock().unwrap().push(request.clone());
            answer(number, request)
        });
        let labels = format!("wharf.host: a.test\nwharf.tls: off\n{labels}");
        let site = Site::with([app("app", app_.port(), &labels)], configure);
        wait_disk(&site);
        Self {
            site,
            asked,
            requests,
            app: Some(app_),
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The last request the app has had.
    fn last(&self) -> Message {
        self.requests.lock().unwrap().last().expect("one").clone()
    }

    fn get(&self, path: &str) -> Message {
        self.ask("GET", path, &[])
    }

    fn ask(&self, method: &str, path: &str, fields: &[&str]) -> Message {
        self.ask_as(method, path, "a.test", fields)
    }

    fn ask_as(&self, method: &str, path: &str, host: &str, fields: &[&str]) -> Message {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        for field in fields {
            request += field;
            request += "\r\n";
        }
        request += "\r\n";
        let mut peer = Peer::connect(self.site.http());
        peer.send(request);
        match method {
            "HEAD" => Message {
                head: peer.head(),
                body: Vec::new(),
                trailers: String::new(),
            },
            _ => peer.message(),
        }
    }

    /// From here on nobody listens where the app was.
    fn kill(&mut self) {
        self.app = None;
    }
}

/// Until the directory has been opened and looked through, which is done beside the first requests: before, what memory does
/// not take is not stored, and what is in it not found.
fn wait_disk(site: &Site) {
    eventually("the cache's directory", Duration::from_secs(20), || {
        let told = http::get(site.wharf.admin, "localhost", "/cache");
        let report = told.map_err(|error| error.to_string())?.json();
        let there = report["directory"].is_null() || report["scanned"] == true;
        there.then_some(()).ok_or_else(|| report.to_string())
    });
}

/// A response with these lines and this body.
fn with(lines: &str, body: &str) -> Vec<u8> {
    status(200, lines, body)
}

fn status(status: u16, lines: &str, body: &str) -> Vec<u8> {
    let lines = lines.trim();
    let lines = match lines {
        "" => String::new(),
        lines => lines.replace('\n', "\r\n").replace("\r\r", "\r") + "\r\n",
    };
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{lines}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// What the cache says it did.
fn word(message: &Message) -> &str {
    message.field("x-cache-status").unwrap_or("none")
}
