//! Lines of a format that an operator has written.

use std::borrow::Cow;

use super::encode::{endpoint, ip, json_string, millis, nginx_text, number, three};
use super::line::{AccessLine, Try};
use super::login::login;
use super::stamp::Stamp;
use crate::model::{Escape, HiddenQuery, LineFormat, LinePiece, Variable};

/// Appends a line with its end.
pub(super) fn write(
    format: &LineFormat,
    line: &AccessLine<'_>,
    hidden: &HiddenQuery,
    stamp: &mut Stamp,
    out: &mut Vec<u8>,
) {
    for piece in &format.pieces {
        match piece {
            LinePiece::Text(text) => out.extend_from_slice(text.as_bytes()),
            LinePiece::Variable(variable) => {
                let mut value = Value {
                    escape: format.escape,
                    line,
                    hidden,
                    stamp,
                    out,
                };
                value.write(variable);
            }
        }
    }
    out.push(b'\n');
}

/// Where one variable's value goes.
struct Value<'v, 'a> {
    escape: Escape,
    line: &'v AccessLine<'a>,
    hidden: &'v HiddenQuery,
    stamp: &'v mut Stamp,
    out: &'v mut Vec<u8>,
}

impl Value<'_, '_> {
    fn write(&mut self, variable: &Variable) {
        let line = self.line;
        match variable {
            // An empty one is none, as in nginx.
            Variable::Args => match query(line.path).filter(|query| !query.is_empty()) {
                Some(query) => self.text(&self.hidden.hide_args(query.as_bytes())),
                None => self.nothing(),
            },
            Variable::BodyBytesSent => number(self.out, line.bytes),
            Variable::BytesIn => number(self.out, line.bytes_in),
            Variable::Container => self.may(line.answered.map(|one| one.container)),
            Variable::Host => self.some(plain_host(line.host).to_ascii_lowercase().as_str()),
            Variable::Https => {
                if line.scheme == "https" {
                    self.out.extend_from_slice(b"on");
                }
            }
            Variable::Msec => {
                let since = line.end().duration_since(std::time::UNIX_EPOCH);
                millis(self.out, since.unwrap_or_default());
            }
            Variable::QueryMark => {
                if query(line.path).is_some_and(|query| !query.is_empty()) {
                    self.out.push(b'?');
                }
            }
            Variable::RealipRemoteAddr => ip(self.out, line.peer.ip()),
            Variable::RemoteAddr => ip(self.out, line.client),
            Variable::RemotePort => number(self.out, line.peer.port().into()),
            Variable::RemoteUser => match login(line.fields) {
                Some(name) => self.text(&name),
                None => self.nothing(),
            },
            Variable::Request => self.request(),
            Variable::RequestId => line.request_id.write(self.out),
            Variable::RequestLength => number(self.out, line.head_bytes + line.bytes_in),
            Variable::RequestMethod => self.some(line.method),
            Variable::RequestTime => millis(self.out, line.duration),
            Variable::RequestUri => match line.path {
                "" => self.nothing(),
                path => self.text(&self.hidden.hide(path.as_bytes())),
            },
            Variable::Route => self.some(line.route),
            Variable::Scheme => self.some(line.scheme),
            Variable::ServerProtocol => self.some(line.protocol),
            Variable::SslCipher => self.may(line.tls.map(|tls| tls.cipher)),
            Variable::SslProtocol => self.may(line.tls.map(|tls| tls.version)),
            Variable::SslServerName => self.may(line.tls.and_then(|tls| tls.name)),
            Variable::Status => three(self.out, line.status.into()),
            Variable::TimeIso8601 => self.stamp.append_iso8601(line.end(), self.out),
            Variable::TimeLocal => self.stamp.append_common(line.end(), self.out),
            Variable::Tries => number(self.out, line.tries().count() as u64),
            Variable::UpstreamAddr => self.tries(|out, one| {
                endpoint(out, one.endpoint);
                true
            }),
            Variable::UpstreamCacheStatus => self.may(line.cache),
            Variable::UpstreamConnectTime => {
                self.tries(|out, one| one.times.connect.map(|time| millis(out, time)).is_some());
            }
            Variable::UpstreamHeaderTime => {
                self.tries(|out, one| one.times.first_byte.map(|time| millis(out, time)).is_some());
            }
            Variable::UpstreamResponseTime => {
                self.tries(|out, one| one.times.total.map(|time| millis(out, time)).is_some());
            }
            Variable::UpstreamStatus => self.tries(|out, one| {
                three(out, one.status.into());
                true
            }),
            Variable::Uri => self.some(line.path.split('?').next().unwrap_or("")),
            Variable::Header(name) => match line.field(name) {
                // It names a page with its query.
                Some(value) if name == "referer" => self.text(&self.hidden.hide(&value)),
                Some(value) => self.text(&value),
                // HTTP/2 has it elsewhere.
                None if name == "host" => self.some(line.host),
                None => self.nothing(),
            },
            Variable::Cookie(name) => match cookie(line, name) {
                Some(value) => self.text(&value),
                None => self.nothing(),
            },
            Variable::Arg(name) => match argument(line.path, name) {
                Some(_) if self.hidden.hides(name) => self.text(b"***"),
                Some(value) => self.text(value.as_bytes()),
                None => self.nothing(),
            },
        }
    }

    /// The request line, without what was in it of a password.
    fn request(&mut self) {
        let line = self.line;
        if let Some(garbage) = line.garbage {
            return match garbage {
                [] => self.nothing(),
                garbage => self.text(garbage),
            };
        }
        self.text(line.method.as_bytes());
        self.out.push(b' ');
        if let Some((scheme, authority)) = line.absolute {
            self.text(scheme.as_bytes());
            self.out.extend_from_slice(b"://");
            let host = authority.rsplit('@').next().unwrap_or("");
            self.text(host.as_bytes());
        }
        self.text(&self.hidden.hide(line.path.as_bytes()));
        self.out.push(b' ');
        self.text(line.protocol.as_bytes());
    }

    /// One value for each endpoint that was tried; `write` says whether there is one.
    fn tries(&mut self, write: impl Fn(&mut Vec<u8>, Try<'_>) -> bool) {
        let mut first = true;
        for one in self.line.tries() {
            if !std::mem::take(&mut first) {
                self.out.extend_from_slice(b", ");
            }
            if !write(self.out, one) {
                self.out.push(b'-');
            }
        }
        if first {
            self.nothing();
        }
    }

    fn may(&mut self, value: Option<&str>) {
        self.some(value.unwrap_or(""));
    }

    /// An empty one is none.
    fn some(&mut self, value: &str) {
        match value {
            "" => self.nothing(),
            value => self.text(value.as_bytes()),
        }
    }

    fn text(&mut self, value: &[u8]) {
        match self.escape {
            Escape::Default => nginx_text(self.out, value, MAX_VALUE),
            Escape::Json => json_string(self.out, value, MAX_VALUE),
        }
    }

    fn nothing(&mut self) {
        if self.escape == Escape::Default {
            self.out.push(b'-');
        }
    }
}

fn query(path: &str) -> Option<&str> {
    Some(path.split_once('?')?.1)
}

/// The value of the first parameter of that name, as it was written.
fn argument<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query(path)?
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    Some(pairs.find(|(key, _)| key.eq_ignore_ascii_case(name))?.1)
}

fn cookie(line: &AccessLine<'_>, name: &str) -> Option<Vec<u8>> {
    let fields: Cow<'_, [u8]> = line.field("cookie")?;
    let mut pairs = fields.split(|byte| matches!(byte, b';' | b','));
    pairs.find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let is = pair[..at]
            .trim_ascii()
            .eq_ignore_ascii_case(name.as_bytes());
        is.then(|| pair[at + 1..].trim_ascii().to_vec())
    })
}

/// Without a port.
fn plain_host(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if !host[at..].contains(']') => &host[..at],
        _ => host,
    }
}

/// Bytes of one value: as much as nginx takes of a line of a request (`large_client_header_buffers`).
const MAX_VALUE: usize = 8 * 1024;
