//! Drafts -> the settings of a route: inheritance, defaults. A file for each group of options that has rules of its own.

mod access;
mod buffer;
mod cache;
mod compress;
mod cors;
mod files;
mod health;
mod inflight;
mod ratelimit;
mod tls;

use std::time::Duration;

use crate::model::{
    BreakerSpec, ErrorsSpec, HeaderEdit, HttpsMode, Keepalive, Matcher, Proto, Retry, Settings,
    StickySpec, Timeouts, TlsMode,
};

use super::layers::{Layers, pick};
use super::read::Draft;
use super::value::Value;

impl<'a> Layers<'a> {
    pub(in crate::docker::labels) fn settings(&self) -> Settings {
        let default = Settings::default();
        let tls_file = pick!(self, "tls", Value::TlsFile);
        let tls = match &tls_file {
            Some(_) => TlsMode::File,
            None => pick!(self, "tls", Value::Tls).unwrap_or(default.tls),
        };
        let https: HttpsMode = pick!(self, "https", Value::Https).unwrap_or(default.https);
        let grpc = self.dial().protos().into_iter().any(Proto::is_grpc);
        Settings {
            grpc,
            hidden: self.hidden(),
            priority: pick!(self, "priority", Value::Priority).unwrap_or(default.priority),
            strip: pick!(self, "strip", Value::Switch).unwrap_or(default.strip),
            strip_cookies: pick!(self, "strip.cookies", Value::Switch)
                .unwrap_or(default.strip_cookies),
            rewrite: pick!(self, "rewrite", Value::Rewrite),
            forwarded: pick!(self, "forwarded", Value::Switch).unwrap_or(default.forwarded),
            request_edits: self.edits("headers.request"),
            response_edits: {
                let security = pick!(self, "security", Value::Edits).unwrap_or_default();
                HeaderEdit::merged(security, self.edits("headers.response"))
            },
            cors: self.cors(),
            redirects: pick!(self, "redirect", Value::Redirects).unwrap_or_default(),
            redirect_to: None,
            sent_host: pick!(self, "upstream.host", Value::SentHost).unwrap_or_default(),
            websocket: pick!(self, "websocket", Value::Switch).unwrap_or(default.websocket),
            https: if tls == TlsMode::Off {
                HttpsMode::Off
            } else {
                https
            },
            tls,
            tls_file,
            ask: pick!(self, "tls.ask", Value::Ask),
            tls_min: pick!(self, "tls.min", Value::TlsVersion).unwrap_or(default.tls_min),
            client: pick!(self, "tls.client_ca", Value::ClientCa),
            hsts: self.hsts(),
            files: self.files(),
            log: pick!(self, "log", Value::Log).unwrap_or(default.log),
            access: self.access(),
            max_body: pick!(self, "max_body", Value::Size).unwrap_or(default.max_body),
            chunked: pick!(self, "chunked", Value::Switch).unwrap_or(default.chunked),
            buffer: self.buffer(),
            rate_limits: self.rate_limits(),
            in_flight: self.in_flight(),
            compress: self.compress(),
            errors: pick!(self, "errors", Value::ErrorRules).map(|rules| ErrorsSpec {
                rules,
                intercept: pick!(self, "errors.intercept", Value::Switch).unwrap_or(false),
            }),
            timeouts: self.timeouts(default.timeouts, grpc),
            keepalive: self.keepalive(default.keepalive),
            breaker: self.breaker(),
            cache: self.cache(),
            balance: pick!(self, "lb", Value::Balance).unwrap_or(default.balance),
            sticky: self.sticky(),
            slow_start: pick!(self, "slow_start", Value::Duration).unwrap_or(default.slow_start),
            hold: pick!(self, "hold", Value::Duration).unwrap_or(default.hold),
            hold_max: pick!(self, "hold.max", Value::HoldMax).unwrap_or(default.hold_max),
            retry: Retry {
                tries: pick!(self, "retry", Value::Retries),
                on: pick!(self, "retry.on", Value::RetryOn).unwrap_or(default.retry.on),
                budget: pick!(self, "retry.budget", Value::Budget).unwrap_or(default.retry.budget),
            },
        }
    }

    /// How long a call of gRPC may take is its client's to say; it may rest for hours, either way.
    fn timeouts(&self, mut default: Timeouts, grpc: bool) -> Timeouts {
        if grpc {
            default.read = Duration::ZERO;
            default.body = Duration::ZERO;
        }
        let read = pick!(self, "timeout.read", Value::Duration).unwrap_or(default.read);
        Timeouts {
            connect: pick!(self, "timeout.connect", Value::Duration).unwrap_or(default.connect),
            first: pick!(self, "timeout.first", Value::Duration).unwrap_or(read),
            read,
            send: pick!(self, "timeout.send", Value::Duration).unwrap_or(default.send),
            body: pick!(self, "timeout.body", Value::Duration).unwrap_or(default.body),
            min_rate: match grpc {
                true => 0,
                false => pick!(self, "timeout.min_rate", Value::Size).unwrap_or(default.min_rate),
            },
        }
    }

    fn keepalive(&self, default: Keepalive) -> Keepalive {
        Keepalive {
            idle: pick!(self, "keepalive", Value::Count).unwrap_or(default.idle),
            timeout: pick!(self, "keepalive.timeout", Value::Duration).unwrap_or(default.timeout),
            requests: pick!(self, "keepalive.requests", Value::Count).unwrap_or(default.requests),
            time: pick!(self, "keepalive.time", Value::Duration).unwrap_or(default.time),
        }
    }

    /// Any of its numbers is wish enough.
    fn breaker(&self) -> Option<BreakerSpec> {
        let errors = pick!(self, "breaker.errors", Value::Percent);
        let over = pick!(self, "breaker.over", Value::Duration);
        let min = pick!(self, "breaker.min", Value::Count);
        let open = pick!(self, "breaker.open", Value::Duration);
        let wished = errors.is_some() || over.is_some() || min.is_some() || open.is_some();
        let on = pick!(self, "breaker", Value::Switch).unwrap_or(wished);
        let default = BreakerSpec::default();
        on.then(|| BreakerSpec {
            errors: errors.unwrap_or(default.errors),
            over: over.unwrap_or(default.over),
            min: min.unwrap_or(default.min),
            open: open.unwrap_or(default.open),
        })
    }

    /// Those of all layers, its own last.
    fn edits(&self, option: &str) -> Vec<HeaderEdit> {
        let of = |draft: &Draft| match draft.value(option) {
            Some(Value::Edits(edits)) => edits.clone(),
            _ => Vec::new(),
        };
        let layers = self.all.iter().rev();
        layers.fold(Vec::new(), |edits, layer| {
            HeaderEdit::merged(edits, of(layer.draft))
        })
    }

    pub(in crate::docker::labels) fn conditions(&self) -> Vec<Matcher> {
        let mut conditions: Vec<Matcher> =
            pick!(self, "match", Value::Matchers).unwrap_or_default();
        conditions.sort();
        conditions.dedup();
        conditions
    }

    /// A cookie's name alone is wish enough.
    fn sticky(&self) -> Option<StickySpec> {
        let cookie = pick!(self, "sticky.cookie", Value::Name);
        let on = pick!(self, "sticky", Value::Switch).unwrap_or_else(|| cookie.is_some());
        on.then_some(StickySpec { cookie })
    }
}
