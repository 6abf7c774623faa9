//! A line as one JSON object.

use super::encode::{endpoint, ip, json_string, number, seconds};
use super::line::{AccessLine, MAX_HOST, MAX_PATH, MAX_WORD, TryTimes};
use super::login::login;
use super::stamp::Stamp;
use crate::model::HiddenQuery;

impl AccessLine<'_> {
    /// One object with all that is known. Times are in seconds, what there is not is null.
    pub(super) fn json(&self, hidden: &HiddenQuery, stamp: &mut Stamp, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        stamp.append(self.time, out);
        out.extend_from_slice(b"\",\"client\":\"");
        ip(out, self.client);
        out.push(b'"');
        let path = hidden.hide(self.path.as_bytes());
        for (name, value, limit) in [
            ("host", self.host.as_bytes(), MAX_HOST),
            ("method", self.method.as_bytes(), MAX_WORD),
            ("path", &path, MAX_PATH),
            ("protocol", self.protocol.as_bytes(), MAX_WORD),
            ("scheme", self.scheme.as_bytes(), MAX_WORD),
            ("route", self.route.as_bytes(), MAX_HOST),
        ] {
            text(out, name, Some(value), limit);
        }
        let version = self.tls.map(|tls| tls.version.as_bytes());
        text(out, "tls", version, MAX_WORD);
        key(out, "status");
        number(out, self.status.into());
        key(out, "bytes");
        number(out, self.bytes);
        key(out, "bytes_in");
        number(out, self.bytes_in);
        key(out, "duration");
        seconds(out, self.duration);
        let container = self.answered.map(|one| one.container.as_bytes());
        text(out, "container", container, MAX_HOST);
        key(out, "endpoint");
        match self.answered {
            Some(one) => quoted(out, |out| endpoint(out, one.endpoint)),
            None => out.extend_from_slice(b"null"),
        }
        key(out, "tries");
        number(out, self.tries().count() as u64);
        self.times(out);
        if !self.failed.is_empty() {
            self.failures(out);
        }
        let cache = self.cache.map(str::as_bytes);
        text(out, "cache", cache, MAX_WORD);
        text(out, "user", login(self.fields).as_deref(), MAX_HOST);
        let referer = self.field("referer");
        let referer = referer.as_deref().map(|referer| hidden.hide(referer));
        text(out, "referer", referer.as_deref(), MAX_PATH);
        text(
            out,
            "user_agent",
            self.field("user-agent").as_deref(),
            MAX_PATH,
        );
        if let Some(garbage) = self.garbage {
            text(out, "garbage", Some(garbage), MAX_HOST);
        }
        key(out, "request_id");
        quoted(out, |out| self.request_id.write(out));
        out.extend_from_slice(b"}\n");
    }

    /// Of the endpoint that has answered.
    fn times(&self, out: &mut Vec<u8>) {
        let status = self.answered.map(|one| one.status);
        key(out, "upstream_status");
        match status {
            Some(status) => number(out, status.into()),
            None => out.extend_from_slice(b"null"),
        }
        let TryTimes {
            connect,
            first_byte,
            total,
        } = self.answered.map(|one| one.times).unwrap_or_default();
        for (name, time) in [
            ("upstream_connect", connect),
            ("upstream_first_byte", first_byte),
            ("upstream_total", total),
        ] {
            key(out, name);
            match time {
                Some(time) => seconds(out, time),
                None => out.extend_from_slice(b"null"),
            }
        }
    }

    /// Of the others: where it was, and what came of it.
    fn failures(&self, out: &mut Vec<u8>) {
        key(out, "failed");
        out.push(b'[');
        for (index, one) in self.failed.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"endpoint\":");
            quoted(out, |out| endpoint(out, &one.endpoint));
            text(out, "container", Some(one.container.as_bytes()), MAX_HOST);
            key(out, "status");
            match one.answered {
                true => number(out, one.status.into()),
                false => out.extend_from_slice(b"null"),
            }
            key(out, "total");
            match one.times.total {
                Some(total) => seconds(out, total),
                None => out.extend_from_slice(b"null"),
            }
            out.push(b'}');
        }
        out.push(b']');
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn text(out: &mut Vec<u8>, name: &str, value: Option<&[u8]>, limit: usize) {
    key(out, name);
    match value {
        Some(value) => quoted(out, |out| json_string(out, value, limit)),
        None => out.extend_from_slice(b"null"),
    }
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}
