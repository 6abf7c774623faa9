//! Label values -> typed values, by the kind the table gives them. Total: a text is a value, or a
//! list of reasons, or both where a list is good in parts.

mod access;
mod app_tls;
mod ask;
mod auth;
mod breaker;
mod buffer;
mod cache;
mod compress;
mod cors;
mod errors;
mod files;
mod forward;
mod headers;
pub(super) mod health;
pub(super) mod inflight;
mod limits;
pub(super) mod ratelimit;
mod retry;
mod rewrite;
mod tls;
mod traffic;
pub(super) mod upstream;

use std::str::FromStr;
use std::time::Duration;

use crate::model::{
    AskAt, Balance, BasicSpec, Blocked, CacheKey, CacheStale, CacheValid, ClientAuth, Coding,
    Delay, ErrorRule, FailLimit, FieldNames, ForwardAt, HeaderEdit, Host, HostError, HostPattern,
    HttpsMode, InFlightLimit, Levels, LimitKey, LogMode, Matcher, MediaTypes, Networks, Origins,
    PathGlob, PathPattern, Pattern, Proto, Rate, RateLimit, Redirect, RetryOn, Rewrite, SentHost,
    StatusSet, TlsMode, TlsVersion, Verify, parse_bool, parse_duration, parse_size,
};

use super::key::is_route_name;
use super::schema::Kind;
use super::text::{excerpt, quote};
use health::HealthWord;
use traffic::{balance, cookie, fail, matchers, sticky};
use upstream::UpstreamAt;

/// A label value after parsing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Without duplicates, in label order; at most [`MAX_HOSTS`].
    Hosts(Vec<HostPattern>),
    Path(PathPattern),
    Port(u16),
    Switch(bool),
    Share(u16),
    Name(String),
    Https(HttpsMode),
    Tls(TlsMode),
    /// `file:<name>`.
    TlsFile(String),
    TlsVersion(TlsVersion),
    Ask(AskAt),
    ClientCa(ClientAuth),
    Balance(Balance),
    /// In label order; at most [`MAX_MATCHERS`].
    Matchers(Vec<Matcher>),
    Fail(FailLimit),
    /// 0..=100.
    Retries(u16),
    RetryOn(RetryOn),
    /// 0..=100; `None` is no limit.
    Budget(Option<u8>),
    Duration(Duration),
    /// 1..=100.
    Percent(u8),
    Rewrite(Rewrite),
    Edits(Vec<HeaderEdit>),
    Origins(Origins),
    /// Of methods or fields.
    Names(Vec<String>),
    Redirects(Vec<Redirect>),
    Priority(i32),
    /// 0 is no limit.
    Count(u32),
    /// 1..=100000.
    HoldMax(u32),
    Health(HealthWord),
    /// Path and query.
    Target(String),
    /// 1..=100.
    CheckCount(u16),
    Statuses(StatusSet),
    /// Host, with or without a port.
    Authority(String),
    Upstream(UpstreamAt),
    Proto(Proto),
    Verify(Verify),
    ServerName(Host),
    SentHost(SentHost),
    Networks(Networks),
    Basic(BasicSpec),
    Forward(ForwardAt),
    ErrorRules(Vec<ErrorRule>),
    Copy(FieldNames),
    /// Two or more, in label order.
    RateLimits(Vec<RateLimit>),
    /// Two or more, in label order.
    InFlightLimits(Vec<InFlightLimit>),
    Rate(Rate),
    /// Bytes; 0 is no limit.
    Size(u64),
    Delay(Delay),
    LimitKey(LimitKey),
    /// In label order.
    Block(Vec<Blocked>),
    /// Names, in label order.
    Presets(Vec<String>),
    /// At least one.
    Globs(Vec<PathGlob>),
    Log(LogMode),
    /// In order of preference; none: off.
    Codings(Vec<Coding>),
    Levels(Levels),
    MediaTypes(MediaTypes),
    CacheValid(CacheValid),
    CacheStale(CacheStale),
    CacheKey(CacheKey),
    /// Fields by their full option name.
    Fields(Vec<(&'static str, Self)>),
}

impl Value {
    /// Lists of networks are shown as `text` from here on.
    pub(super) fn shown_as(self, text: &str) -> Self {
        match self {
            Self::Networks(networks) => Self::Networks(networks.shown_as(text)),
            Self::Fields(fields) => {
                let fields = fields.into_iter();
                Self::Fields(
                    fields
                        .map(|(name, value)| (name, value.shown_as(text)))
                        .collect(),
                )
            }
            other => other,
        }
    }
}

/// What became of a value. With errors the value is what could be understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) value: Option<Value>,
    pub(super) errors: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// Reads `text` as a value of `kind`.
pub(super) fn parse(kind: Kind, text: &str) -> Parsed {
    // Compose files are YAML 1.1 for some: an unquoted `off` arrives as `False`.
    let off = matches!(
        kind,
        Kind::Https
            | Kind::Tls
            | Kind::Fail
            | Kind::Duration
            | Kind::AuthCache
            | Kind::Hold
            | Kind::Timeouts
            | Kind::Keepalive
            | Kind::MaxConns
            | Kind::InFlight
            | Kind::Breaker
            | Kind::Queue
            | Kind::Count
            | Kind::Size
            | Kind::Compress
            | Kind::ByteRate
            | Kind::Health
            | Kind::Verify
    );
    let text = match off && text.trim().eq_ignore_ascii_case("false") {
        true => "off",
        false => text,
    };
    // For a named route that is to be without what it inherits.
    let access = matches!(
        kind,
        Kind::Networks | Kind::Block | Kind::Basic | Kind::Forward | Kind::Errors
    );
    if access && matches!(parse_bool(text), Ok(false)) {
        return Parsed {
            value: Some(Value::Switch(false)),
            ..Parsed::default()
        };
    }
    match kind {
        Kind::Hosts => return hosts(text),
        Kind::Timeouts => return limits::timeouts(text),
        Kind::Keepalive => return limits::keepalive(text),
        Kind::MaxConns => return limits::max_conns(text),
        Kind::InFlight => return inflight::inflight(text),
        Kind::Breaker => return breaker::breaker(text),
        Kind::Buffer => return buffer::buffer(text),
        Kind::Sticky => return sticky(text),
        Kind::Hsts => return tls::hsts(text),
        Kind::Mtls => return mtls(text),
        Kind::Hold => return limits::hold(text),
        Kind::Retry => return retry::retry(text),
        Kind::Health => return health::health(text),
        Kind::Matchers => return matchers(text),
        Kind::Upstream => return upstream::upstream(text),
        Kind::Verify => return app_tls::verify(text),
        Kind::Rewrite => return rewrite::rewrite(text),
        Kind::Edits => return headers::edits(text),
        Kind::Cors => return cors::cors(text),
        Kind::Redirects => return rewrite::redirects(text),
        Kind::Block => return access::block(text),
        Kind::Presets => return presets(text),
        Kind::Basic => return auth::basic(text),
        Kind::Forward => return forward::forward(text),
        Kind::Errors => return errors::errors(text),
        Kind::Maintenance => return access::maintenance(text),
        Kind::RateLimits => return ratelimit::ratelimit(text),
        Kind::Cache => return cache::cache(text),
        Kind::CacheValid => return cache::valid(text),
        Kind::CacheBypass => return cache::bypass(text),
        Kind::Files => return files::files(text),
        Kind::Spa => return spa(text),
        Kind::Compress => return compress::compress(text),
        _ => {}
    }
    let one = match kind {
        Kind::Path => path(text).map(Value::Path),
        Kind::Port => port(text).map(Value::Port),
        Kind::Forwarded => choose(FORWARDED, &[], text).map(Value::Switch),
        Kind::Security => headers::security(text),
        Kind::Methods => cors::methods(text).map(Value::Names),
        Kind::FieldNames => cors::headers(text).map(Value::Names),
        Kind::Priority => priority(text).map(Value::Priority),
        Kind::Switch => parse_bool(text)
            .map(Value::Switch)
            .map_err(|e| e.to_string()),
        Kind::Share => share(text).map(Value::Share),
        Kind::Name => name(text).map(Value::Name),
        Kind::Https => choose(HTTPS, &[], text).map(Value::Https),
        Kind::Tls => tls::tls(text),
        Kind::TlsVersion => tls::version(text).map(Value::TlsVersion),
        Kind::Ask => ask::ask(text).map(Value::Ask),
        Kind::ClientCa => tls::client_ca(text).map(Value::ClientCa),
        Kind::Balance => balance(text).map(Value::Balance),
        Kind::Cookie => cookie(text).map(Value::Name),
        Kind::Fail => fail(text).map(Value::Fail),
        Kind::RetryOn => retry::on(text).map(Value::RetryOn),
        Kind::Budget => retry::budget(text).map(Value::Budget),
        Kind::ErrorShare => breaker::share(text).map(Value::Percent),
        Kind::Least => breaker::least(text).map(Value::Count),
        Kind::BreakerTime => breaker::time(text).map(Value::Duration),
        Kind::BufferMemory => buffer::memory(text).map(Value::Size),
        Kind::Queue => limits::queue(text).map(Value::Count),
        Kind::Count => limits::count(text).map(Value::Count),
        Kind::Duration => duration(text).map(Value::Duration),
        Kind::HoldMax => limits::hold_max(text).map(Value::HoldMax),
        Kind::CheckTarget => health::target(text).map(Value::Target),
        Kind::CheckInterval => health::interval(text).map(Value::Duration),
        Kind::CheckTimeout => health::limit(text).map(Value::Duration),
        Kind::CheckCount => health::count(text).map(Value::CheckCount),
        Kind::Statuses => health::statuses(text).map(Value::Statuses),
        Kind::Authority => health::authority(text).map(Value::Authority),
        Kind::Copy => forward::copy(text).map(Value::Copy),
        Kind::AuthTimeout => forward::timeout(text).map(Value::Duration),
        Kind::AuthCache => forward::cache(text).map(Value::Duration),
        Kind::UserHeader => auth::user_header(text).map(Value::Name),
        Kind::Satisfy => auth::satisfy(text).map(Value::Switch),
        Kind::Proto => choose(PROTO, PROTO_LATER, text).map(Value::Proto),
        Kind::ServerName => app_tls::server_name(text).map(Value::ServerName),
        Kind::SentHost => app_tls::sent_host(text).map(Value::SentHost),
        Kind::Networks => access::addresses(text).map(Value::Networks),
        Kind::Size => parse_size(text)
            .map(Value::Size)
            .map_err(|error| error.to_string()),
        Kind::ByteRate => limits::byte_rate(text).map(Value::Size),
        Kind::Rate => ratelimit::rate(text).map(Value::Rate),
        Kind::Burst => ratelimit::burst(text).map(Value::Count),
        Kind::Delay => ratelimit::delay(text).map(Value::Delay),
        Kind::LimitKey => ratelimit::key_of(text).map(Value::LimitKey),
        Kind::Root => files::root(text).map(Value::Name),
        Kind::Below => files::path(text).map(Value::Path),
        Kind::Immutable => files::immutable(text),
        Kind::Log => files::log(text).map(Value::Log),
        Kind::MediaTypes => compress::types(text).map(Value::MediaTypes),
        Kind::Levels => compress::levels(text).map(Value::Levels),
        Kind::CacheStale => cache::stale(text).map(Value::CacheStale),
        Kind::CacheKey => cache::key(text).map(Value::CacheKey),
        Kind::Message => access::message(text).map(Value::Name),
        Kind::Routes => Err("write wharf.routes.<route>.<option>".to_owned()),
        Kind::Preset => Err("write wharf.preset.<name>.<option>".to_owned()),
        Kind::Hosts
        | Kind::Timeouts
        | Kind::Keepalive
        | Kind::MaxConns
        | Kind::InFlight
        | Kind::Breaker
        | Kind::Buffer
        | Kind::Sticky
        | Kind::Hsts
        | Kind::Mtls
        | Kind::Matchers
        | Kind::Hold
        | Kind::Retry
        | Kind::Health
        | Kind::Upstream
        | Kind::Verify
        | Kind::Rewrite
        | Kind::Edits
        | Kind::Cors
        | Kind::Redirects
        | Kind::Block
        | Kind::Basic
        | Kind::Forward
        | Kind::Errors
        | Kind::Maintenance
        | Kind::RateLimits
        | Kind::Cache
        | Kind::CacheValid
        | Kind::CacheBypass
        | Kind::Presets
        | Kind::Files
        | Kind::Spa
        | Kind::Compress
        | Kind::Text => Err(NOT_YET.to_owned()),
    };
    match one {
        Ok(value) => Parsed {
            value: Some(value),
            ..Parsed::default()
        },
        Err(reason) => Parsed {
            errors: vec![reason],
            ..Parsed::default()
        },
    }
}

/// Items of a list: separated by commas or line ends, trimmed, empty ones left out. A comma within the
/// brackets of a regex separates nothing.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    let items = std::iter::from_fn(move || {
        let (item, more) = split_item(rest?);
        rest = more;
        Some(item.trim())
    });
    items.filter(|item| !item.is_empty())
}

/// The first item, and what follows its separator.
fn split_item(text: &str) -> (&str, Option<&str>) {
    let mut regex = Pattern::is_meant(text.trim_start());
    let mut before = ' ';
    let (mut depth, mut escaped, mut class) = (0_usize, false, false);
    for (at, c) in text.char_indices() {
        match c {
            '\n' => return (&text[..at], text.get(at + 1..)),
            ',' if !regex || (depth == 0 && !class && !escaped) => {
                return (&text[..at], text.get(at + 1..));
            }
            '~' | '^' if matches!(before, ':' | '=') => regex = true,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            '(' | '{' if !class => depth += 1,
            ')' | '}' if !class => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = c;
    }
    (text, None)
}

fn hosts(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut found: Vec<HostPattern> = Vec::new();
    let mut empty = true;
    for item in items(text) {
        empty = false;
        let patterns = match host(item) {
            Ok(patterns) => patterns,
            Err(reason) => {
                note(&mut parsed.errors, reason);
                continue;
            }
        };
        for pattern in patterns {
            if found.contains(&pattern) {
                note(&mut parsed.warnings, format!("`{pattern}` is named twice"));
            } else if found.len() < MAX_HOSTS {
                found.push(pattern);
            } else {
                let reason = format!("a route has at most {MAX_HOSTS} hosts");
                parsed.errors.insert(0, reason);
                parsed.value = Some(Value::Hosts(found));
                return parsed;
            }
        }
    }
    if empty {
        let reason = HostError::Empty;
        parsed.errors.push(format!(
            "{reason}; is a variable of the compose file not set?"
        ));
    }
    parsed.value = (!found.is_empty()).then_some(Value::Hosts(found));
    parsed
}

/// Names of presets; which there are is known where they are looked up.
fn presets(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    if matches!(parse_bool(text), Ok(false)) {
        parsed.value = Some(Value::Presets(Vec::new()));
        return parsed;
    }
    let mut names: Vec<String> = Vec::new();
    for item in items(text) {
        let name = item.to_ascii_lowercase();
        if !is_route_name(&name) {
            note(
                &mut parsed.errors,
                format!("{} is no name of a preset", quote(item)),
            );
        } else if names.contains(&name) {
            note(&mut parsed.warnings, format!("`{name}` is named twice"));
        } else if names.len() == MAX_USED {
            note(
                &mut parsed.errors,
                format!("a route uses at most {MAX_USED} presets"),
            );
            break;
        } else {
            names.push(name);
        }
    }
    if names.is_empty() && parsed.errors.is_empty() {
        parsed
            .errors
            .push("name presets, as in hardened, internal; `off` is none".to_owned());
    }
    parsed.value = (!names.is_empty()).then_some(Value::Presets(names));
    parsed
}

/// Adds a reason, unless there are so many that one more would tell nothing new.
fn note(reasons: &mut Vec<String>, reason: String) {
    if reasons.len() < MAX_REASONS {
        reasons.push(reason);
    }
}

/// One item of a host list; `.example.com` is the name and everything one label below it.
fn host(item: &str) -> Result<Vec<HostPattern>, String> {
    let reason = |error: HostError| match error {
        HostError::Character(_) | HostError::Star if item.starts_with("Host(") => {
            let quotes = ['(', ')', '`', '\'', '"'];
            let name = item[4..].split(quotes).find(|part| !part.is_empty());
            format!(
                "{}: write the name alone, as in wharf.host: {}",
                quote(item),
                excerpt(name.unwrap_or("app.example.com"))
            )
        }
        HostError::Character(quote_mark @ ('"' | '\'' | '`')) if item.starts_with(quote_mark) => {
            format!("{}: write it without quotes", quote(item))
        }
        HostError::Character(c) if c.is_whitespace() => {
            format!("{}: separate hosts by a comma", quote(item))
        }
        error => format!("{}: {error}", quote(item)),
    };
    match item.strip_prefix('.') {
        Some(suffix) if !suffix.starts_with('.') => {
            let exact = HostPattern::parse(suffix).map_err(reason)?;
            let wildcard = HostPattern::parse(&format!("*.{suffix}")).map_err(reason)?;
            match exact {
                HostPattern::Exact(_) => Ok(vec![exact, wildcard]),
                _ => Ok(vec![wildcard]),
            }
        }
        _ => HostPattern::parse(item)
            .map(|pattern| vec![pattern])
            .map_err(reason),
    }
}

fn path(text: &str) -> Result<PathPattern, String> {
    if text.contains('\n') || text.contains(',') && !Pattern::is_meant(text.trim()) {
        return Err("a route has one path: give the second one its own named route".to_owned());
    }
    PathPattern::parse(text).map_err(|error| {
        let prefix = text.trim().trim_end_matches('*').trim_end_matches('/');
        let written = text.trim().ends_with("/*") || text.trim().ends_with("/**");
        match PathPattern::parse(prefix) {
            Ok(prefix) if written => {
                format!("a path prefix needs no `*`: {prefix} has everything below it, too")
            }
            _ => error.to_string(),
        }
    })
}

fn port(text: &str) -> Result<u16, String> {
    match number(text) {
        Some(port) if port > 0 => Ok(port),
        _ => Err(
            "a port is a number from 1 to 65535: the one the app listens on inside its container"
                .to_owned(),
        ),
    }
}

fn priority(text: &str) -> Result<i32, String> {
    let priority = text.trim().parse().ok();
    let priority = priority.filter(|priority| (-MAX_PRIORITY..=MAX_PRIORITY).contains(priority));
    priority.ok_or_else(|| format!("a priority is a number from -{MAX_PRIORITY} to {MAX_PRIORITY}"))
}

fn share(text: &str) -> Result<u16, String> {
    match number(text) {
        Some(share) if share <= MAX_SHARE => Ok(share),
        _ => Err(format!("a weight is a number from 0 to {MAX_SHARE}")),
    }
}

/// Digits only: `from_str` would also take a `+`.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let text = text.trim();
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// A name as Docker allows for containers and networks.
fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    let ok = text.len() <= MAX_NAME
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(is_name_byte);
    if ok {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "a name is 1 to {MAX_NAME} letters, digits, `_`, `.` or `-`, the first a letter or digit"
        ))
    }
}

pub(super) fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')
}

/// Another way to write `tls.client_ca`.
fn mtls(text: &str) -> Parsed {
    match tls::client_ca(text) {
        Ok(client) => Parsed {
            value: Some(Value::Fields(vec![(
                "tls.client_ca",
                Value::ClientCa(client),
            )])),
            ..Parsed::default()
        },
        Err(reason) => Parsed {
            errors: vec![reason],
            ..Parsed::default()
        },
    }
}

/// Another way to write `static.spa`.
fn spa(text: &str) -> Parsed {
    match parse_bool(text) {
        Ok(on) => Parsed {
            value: Some(Value::Fields(vec![("static.spa", Value::Switch(on))])),
            ..Parsed::default()
        },
        Err(error) => Parsed {
            errors: vec![error.to_string()],
            ..Parsed::default()
        },
    }
}

/// The value of a word; `later` are words that will come.
fn choose<T: Clone>(words: &[(&str, T)], later: &[&str], text: &str) -> Result<T, String> {
    let given = text.trim().to_ascii_lowercase().replace('-', "_");
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == given) {
        return Ok(value.clone());
    }
    if later.contains(&given.as_str()) {
        return Err(format!("`{given}` is {NOT_YET}"));
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    Err(match known.split_last() {
        Some((last, rest)) if !rest.is_empty() => {
            format!("the value is {} or {last}", rest.join(", "))
        }
        _ => format!("the value is {}", known.join("")),
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// What every option of a later version answers.
pub(super) const NOT_YET: &str = "not supported yet";

/// Host patterns of one route.
const MAX_HOSTS: usize = 100;
/// Presets of one route.
const MAX_USED: usize = 16;
/// Problems reported about one value.
const MAX_REASONS: usize = 10;
const MAX_SHARE: u16 = 1000;
const MAX_PRIORITY: i32 = 1_000_000;
const MAX_NAME: usize = 128;

/// Whether `Forwarded` is sent.
const FORWARDED: &[(&str, bool)] = &[("x_forwarded", false), ("rfc7239", true)];
const PROTO: &[(&str, Proto)] = &[
    ("http", Proto::Http),
    ("https", Proto::Https),
    ("h2c", Proto::H2c),
    ("h2", Proto::H2),
    ("grpc", Proto::Grpc),
    ("grpcs", Proto::Grpcs),
];
const PROTO_LATER: &[&str] = &["fastcgi"];

const HTTPS: &[(&str, HttpsMode)] = &[
    ("redirect", HttpsMode::Redirect),
    ("both", HttpsMode::Both),
    ("only", HttpsMode::Only),
    ("off", HttpsMode::Off),
];

const TLS: &[(&str, TlsMode)] = &[
    ("auto", TlsMode::Auto),
    ("eager", TlsMode::Eager),
    ("internal", TlsMode::Internal),
    ("off", TlsMode::Off),
];
const TLS_LATER: &[&str] = &["dns", "passthrough"];
