//! What is known of one answered request, and its line as text.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::RequestId;
use super::encode::{endpoint, ip, number, seconds, text_word};
use super::stamp::Stamp;
use crate::model::{Address, HiddenQuery};

/// One answered request.
#[derive(Clone, Copy)]
pub struct AccessLine<'a> {
    /// When the request head had been read.
    pub time: SystemTime,
    /// From the request head to the last byte of the response.
    pub duration: Duration,
    /// The client, behind trusted proxies. IPv4 in IPv6 is logged as IPv4.
    pub client: IpAddr,
    /// Who is at the other end of the connection.
    pub peer: SocketAddr,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Of a connection over TLS.
    pub tls: Option<TlsSession<'a>>,
    /// Empty when the request had none that could be used.
    pub host: &'a str,
    pub method: &'a str,
    /// Path and query as received.
    pub path: &'a str,
    /// What stood before the path in the request line: scheme and authority of an absolute target.
    pub absolute: Option<(&'a str, &'a str)>,
    /// `HTTP/1.1`, `HTTP/2.0` ...
    pub protocol: &'a str,
    /// What the client has sent that is no request; then method, path and protocol are empty.
    pub garbage: Option<&'a [u8]>,
    pub fields: &'a dyn RequestFields,
    /// Bytes of the request's head.
    pub head_bytes: u64,
    /// Bytes of its body that went to an app.
    pub bytes_in: u64,
    pub status: u16,
    /// Body bytes sent to the client.
    pub bytes: u64,
    /// The route's key; empty when none matched.
    pub route: &'a str,
    /// Endpoints that were tried in vain, in turn.
    pub failed: &'a [FailedTry],
    /// The one the response came from, if it came from an upstream.
    pub answered: Option<Try<'a>>,
    /// What the cache has made of it, where there is one.
    pub cache: Option<&'a str>,
    pub request_id: RequestId<'a>,
}

/// The fields of a request, by name.
pub trait RequestFields {
    /// Shows the value of each field of that name, in lower case, in order.
    fn each<'s>(&'s self, name: &str, show: &mut dyn FnMut(&'s [u8]));
}

/// What a client's TLS has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsSession<'a> {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// By OpenSSL's name.
    pub cipher: &'static str,
    /// The name in the handshake.
    pub name: Option<&'a str>,
}

/// One endpoint that was asked.
#[derive(Debug, Clone, Copy)]
pub struct Try<'a> {
    pub endpoint: &'a Address,
    pub container: &'a str,
    /// What it has answered, or what that it has not comes to.
    pub status: u16,
    pub times: TryTimes,
}

/// One endpoint that was asked in vain.
#[derive(Debug, Clone)]
pub struct FailedTry {
    pub endpoint: Address,
    pub container: Arc<str>,
    pub status: u16,
    /// Whether the status is the endpoint's own.
    pub answered: bool,
    pub times: TryTimes,
}

/// How long the parts of a try took, each from its start; known only where a format asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TryTimes {
    /// Until there was a connection; nothing for one that was there.
    pub connect: Option<Duration>,
    /// Until the head of the response.
    pub first_byte: Option<Duration>,
    /// Until its last byte.
    pub total: Option<Duration>,
}

impl FailedTry {
    fn seen(&self) -> Try<'_> {
        Try {
            endpoint: &self.endpoint,
            container: &self.container,
            status: self.status,
            times: self.times,
        }
    }
}

impl<'a> AccessLine<'a> {
    /// When the response ended.
    pub(super) fn end(&self) -> SystemTime {
        self.time.checked_add(self.duration).unwrap_or(self.time)
    }

    pub(super) fn tries(&self) -> impl Iterator<Item = Try<'a>> + use<'a> {
        let failed = self.failed.iter().map(FailedTry::seen);
        failed.chain(self.answered)
    }

    /// The values of a field, one after the other. `None`: there is none.
    pub(super) fn field(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let mut found: Option<Cow<'a, [u8]>> = None;
        let fields: &'a dyn RequestFields = self.fields;
        fields.each(name, &mut |value| match &mut found {
            None => found = Some(Cow::Borrowed(value)),
            Some(found) => {
                let found = found.to_mut();
                found.extend_from_slice(b", ");
                found.extend_from_slice(value);
            }
        });
        found
    }

    /// `time client "method host path protocol" status bytes seconds route endpoint id`, with `-`
    /// for what there is not.
    pub(super) fn text(&self, hidden: &HiddenQuery, stamp: &mut Stamp, out: &mut Vec<u8>) {
        stamp.append(self.time, out);
        out.push(b' ');
        ip(out, self.client);
        out.extend_from_slice(b" \"");
        let path = hidden.hide(self.path.as_bytes());
        let words = [
            (self.method.as_bytes(), MAX_WORD),
            (self.host.as_bytes(), MAX_HOST),
            (&path, MAX_PATH),
            (self.protocol.as_bytes(), MAX_WORD),
        ];
        for (index, (word, limit)) in words.into_iter().enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            text_word(out, word, limit);
        }
        out.extend_from_slice(b"\" ");
        number(out, self.status.into());
        out.push(b' ');
        number(out, self.bytes);
        out.push(b' ');
        seconds(out, self.duration);
        out.push(b' ');
        text_word(out, self.route.as_bytes(), MAX_HOST);
        out.push(b' ');
        match self.answered {
            Some(answered) => endpoint(out, answered.endpoint),
            None => out.push(b'-'),
        }
        out.push(b' ');
        self.request_id.write(out);
        out.push(b'\n');
    }
}

/// Bytes of a path that are logged as text or in JSON, and of what else a client may make long.
pub const MAX_PATH: usize = 2048;
/// Of a host, a route's key.
pub(super) const MAX_HOST: usize = 256;
/// Of a method, a protocol.
pub(super) const MAX_WORD: usize = 32;
