//! What of a request concerns the cache: by which key it is looked up, and who is kept away.

use super::super::onward::Onward;
use crate::cache::rules::policy::Bypass;
use crate::cache::rules::{Refusal, Request, Source, vary};
use crate::cache::store::Select;
use crate::model::KeyPart;
use crate::proxy::fields::{Fields, Known};
use crate::proxy::headers;
use crate::route::{KeyOf, RouteCache};

/// A request, as the cache sees it.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) key: Vec<u8>,
    pub(super) bypass: Bypass,
}

impl Asked {
    pub(super) fn read(onward: &Onward<'_>, cache: &RouteCache) -> Self {
        let head = onward.head;
        let sent = head.request;
        let mut request = Request::read(sent.method.as_str().as_bytes(), &sent.fields());
        if sent.has_body() {
            request.refuse(Refusal::Content);
        }
        if sent.key().is_some() {
            request.refuse(Refusal::Upgrade);
        }
        request.authorization = is_personal(onward, request.authorization);
        let mut key = Vec::with_capacity(cache.prefix.len() + head.target.len() + 64);
        write_key(&mut key, onward, cache, head.rooted_target());
        let any = |matchers: &[_]| matchers.iter().any(|one| head.meets_as_seen(one));
        let bypass = Bypass {
            read: any(&cache.bypass_read),
            store: any(&cache.bypass_store),
        };
        Self {
            request,
            key,
            bypass,
        }
    }
}

/// Whether the app is told who asks, by whatever field.
fn is_personal(onward: &Onward<'_>, authorization: bool) -> bool {
    let route = onward.route;
    let basic = route.filters.as_ref().and_then(|all| all.basic.as_ref());
    let stripped = basic.is_some_and(|basic| basic.strip) && onward.user.is_some();
    // `wharf.auth.user_header` is among them.
    let named = route.reserved.is_some() && onward.user.is_some();
    authorization && !stripped
        || named
        || onward.passed.is_some_and(|pass| !pass.app.is_empty())
        || route.client.is_some()
}

/// Appends the key of a target on this request's host.
pub(super) fn write_key(key: &mut Vec<u8>, onward: &Onward<'_>, cache: &RouteCache, target: &str) {
    let head = onward.head;
    let fields = head.request.fields();
    let of = KeyOf {
        https: head.https,
        authority: head.authority,
        host: head.host.as_str(),
        target,
    };
    cache.write_key(key, of, |part, key| {
        let value = match part {
            KeyPart::Header(name) => headers::values(fields, head.authority, name).next(),
            KeyPart::Cookie(name) => headers::cookie(fields, name.as_bytes()),
            _ => None,
        };
        key.extend_from_slice(value.unwrap_or_default());
        true
    });
    // A trusted proxy may say to the app that it is asked for something else than Wharf sees.
    if head.client.trusted {
        told(key, fields, head.authority, head.port());
    }
}

fn told(key: &mut Vec<u8>, fields: Fields<'_>, authority: &str, port: u16) {
    let told = Known::set(&[
        Known::XForwardedHost,
        Known::XForwardedPort,
        Known::XForwardedPrefix,
        Known::Forwarded,
    ]);
    for field in fields.iter().filter(|field| field.known.is_in(told)) {
        let same = match field.known {
            Known::XForwardedHost => field.value.eq_ignore_ascii_case(authority.as_bytes()),
            Known::XForwardedPort => field.value == port.to_string().as_bytes(),
            // Says who asks, too: apps that go by it say so in `Vary`.
            Known::Forwarded => !has_host(field.value),
            _ => false,
        };
        if !same {
            key.push(b'\n');
            key.extend_from_slice(&[field.known as u8]);
            key.extend_from_slice(field.value);
        }
    }
}

fn has_host(forwarded: &[u8]) -> bool {
    let lower = forwarded.to_ascii_lowercase();
    memchr::memmem::find(&lower, b"host=").is_some()
}

/// Whether a `Vary` names a field that Wharf writes for each client: nothing that is stored would say for whom an
/// answer is.
pub(super) fn varies_by_client(onward: &Onward<'_>, head: &(impl Source + ?Sized)) -> bool {
    let route = onward.route;
    let names = head
        .values(b"vary")
        .flat_map(|line| line.split(|b| *b == b','));
    let own = Known::set(&[
        Known::XForwardedFor,
        Known::XRealIp,
        Known::XRequestId,
        Known::ClientCertificate,
        Known::Forwarded,
    ]);
    let mut names = names.map(<[u8]>::trim_ascii);
    names.any(|name| {
        Known::of(name).is_in(own)
            || route.reserved.as_ref().is_some_and(|all| all.covers(name))
            || (route.request_edits.as_ref()).is_some_and(|edits| edits.writes(name))
    })
}

/// What a request has in the fields that a `Vary` names.
pub(super) struct Chooser<'a> {
    fields: Fields<'a>,
    room: Vec<u8>,
}

impl<'a> Chooser<'a> {
    pub(super) fn new(fields: Fields<'a>) -> Self {
        Self {
            fields,
            room: Vec::new(),
        }
    }
}

impl Select for Chooser<'_> {
    fn variant(&mut self, rule: &[u8]) -> &[u8] {
        self.room.clear();
        vary::values(rule, &self.fields, &mut self.room);
        &self.room
    }
}
