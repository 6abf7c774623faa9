//! What an entry of the option table is, and looking words up in it.

use super::table::OPTIONS;

/// One option of the label language: everything Wharf knows about a word, in one place. Parser,
/// help and documentation are made from these.
#[derive(Debug)]
pub struct Entry {
    /// The words after `wharf.` or `wharf.<route>.`: `tls`, `timeout.read`.
    pub name: &'static str,
    /// How a value is read.
    pub kind: Kind,
    /// One line without a final stop.
    pub help: &'static str,
    /// What holds when no label sets it, as text.
    pub default: &'static str,
    /// A value as a person would write it.
    pub example: &'static str,
    /// Where the option may stand.
    pub place: Place,
    /// Whether this version can do it.
    pub status: Status,
}

/// How the value of an option is read, see `value::parse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Names, wildcards or `default`, in a list.
    Hosts,
    /// A path prefix, `=/exact` or `~regex`.
    Path,
    /// 1..=65535.
    Port,
    /// -1000000..=1000000.
    Priority,
    /// A boolean; empty means true.
    Switch,
    /// 0..=1000.
    Share,
    /// A Docker name: letters, digits, `_`, `.`, `-`.
    Name,
    /// One word of `https`.
    Https,
    /// One word of `tls`.
    Tls,
    /// 1.2 or 1.3.
    TlsVersion,
    /// A path, or a URL.
    Ask,
    /// `file:<path>`, and `optional`.
    ClientCa,
    /// The same under its short name.
    Mtls,
    /// A switch, an age and flags.
    Hsts,
    /// A policy of `lb`.
    Balance,
    /// A switch, and the name of the cookie.
    Sticky,
    /// The name of a cookie.
    Cookie,
    /// A path, or rules `pattern -> path` in a list.
    Rewrite,
    /// Rules `pattern -> path or address`, in a list.
    Redirects,
    /// One word of `forwarded`.
    Forwarded,
    /// Edits of fields, in a list.
    Edits,
    /// A word of `security`, and `force`.
    Security,
    /// Origins in a list, and what their pages may do.
    Cors,
    /// Methods in a list; `*` is all.
    Methods,
    /// Names of fields in a list; `*` is all.
    FieldNames,
    /// Conditions on a request, in a list.
    Matchers,
    /// `3/30s`, `3` or `off`.
    Fail,
    /// A span of time, and how many may wait for it.
    Hold,
    /// 1..=100000.
    HoldMax,
    /// How many replicas, for what, and a budget.
    Retry,
    /// Words of `retry`, in a list.
    RetryOn,
    /// A share of requests; `off` is no limit.
    Budget,
    /// A span of time; zero and `off` disable.
    Duration,
    /// `published`, `container`, or a list of `http://host:port` and `https://host:port`.
    Upstream,
    /// One word of `proto`.
    Proto,
    /// `on`, `off` or `file:<path>`, and `sni=`.
    Verify,
    /// A host name.
    ServerName,
    /// `keep`, `upstream`, or a value of a Host field.
    SentHost,
    /// Several spans by name; a bare one sets `read`.
    Timeouts,
    /// A number of connections, and how long and how often each is used.
    Keepalive,
    /// A switch; which share of failures opens it, and for how long.
    Breaker,
    /// A share of requests that fail.
    ErrorShare,
    /// Requests that make a share meaningful.
    Least,
    /// A time of a breaker.
    BreakerTime,
    /// A number of requests, and how many wait how long beyond it.
    MaxConns,
    /// Numbers of requests and whose, in a list.
    InFlight,
    /// How many may wait; zero and `off`: none.
    Queue,
    /// A number; zero and `off` are no limit.
    Count,
    /// A word or a path, and how it is asked.
    Health,
    /// Path and query of a check.
    CheckTarget,
    /// A time between checks, which are not switched off by it.
    CheckInterval,
    /// A limit, which there always is.
    CheckTimeout,
    /// So many checks in a row.
    CheckCount,
    /// Statuses and ranges of them, in a list.
    Statuses,
    /// Value of a Host field.
    Authority,
    /// Addresses, networks and sets, in a list.
    Networks,
    /// Codings and their levels, and what is compressed.
    Compress,
    /// Media types in a list.
    MediaTypes,
    /// A number, or one for each coding.
    Levels,
    /// Users and hashes, in a list or a file.
    Basic,
    /// A URL or a server that Wharf knows, and what is made of its answer.
    Forward,
    /// Names of fields, and beginnings of them, in a list.
    Copy,
    /// A limit on an answer, which there always is.
    AuthTimeout,
    /// How long a yes holds.
    AuthCache,
    /// Statuses and pages, in a list.
    Errors,
    /// The name of a header nobody else writes.
    UserHeader,
    /// `all` or `any`.
    Satisfy,
    /// Patterns of paths, in a list.
    Block,
    /// A switch, who is let through, and what the others read.
    Maintenance,
    /// A number of bytes; zero and `off` are no limit.
    Size,
    /// Bytes in a second; zero and `off` are no limit.
    ByteRate,
    /// Limits of a rate, in a list.
    RateLimits,
    /// A switch or a time, a size and a time.
    Cache,
    /// Times by status, in a list.
    CacheValid,
    /// Words and statuses.
    CacheStale,
    /// Conditions, in a list; `off` is none.
    CacheBypass,
    /// A text with placeholders.
    CacheKey,
    /// Requests in a time.
    Rate,
    /// Requests beyond a rate.
    Burst,
    /// A switch, or a number.
    Delay,
    /// What has a bucket of its own.
    LimitKey,
    /// A directory, and how its files are served.
    Files,
    /// A directory.
    Root,
    /// A path prefix.
    Below,
    /// Patterns of paths, in a list, or a switch.
    Immutable,
    /// A switch, and how much of a body is held where.
    Buffer,
    /// Bytes of memory, of which there are always some.
    BufferMemory,
    /// `static.spa` under its short name.
    Spa,
    /// Which requests are logged.
    Log,
    /// A text for visitors.
    Message,
    /// Names of presets, in a list.
    Presets,
    /// No value of its own: the word is part of the grammar of keys.
    Routes,
    /// The same.
    Preset,
    /// Not read yet: the option is not supported.
    Text,
}

/// Where an option may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the default route and on named routes, which inherit it.
    Route,
    /// Once per container, for all its routes.
    Container,
    /// Once per container; each replica of a pool has its own.
    Replica,
    /// On Wharf's own container.
    Wharf,
}

/// Whether this version can do what an option says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Supported,
    /// Reserved: writing it is an error that says so.
    NotYet,
}

impl Entry {
    /// The option of this full name, in normal form (lower case, `_`).
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        OPTIONS.iter().find(|entry| entry.name == name)
    }

    /// Whether the word is part of the grammar of keys, and has no value of its own.
    pub(super) fn is_grammar(&self) -> bool {
        matches!(self.kind, Kind::Routes | Kind::Preset)
    }

    /// Whether a preset may hold it, and whether it may have a default for all routes: options that say which
    /// requests a route is for, and where its own app is, are the container's to say.
    pub(super) fn is_common(&self) -> bool {
        let shared = match self.place {
            Place::Route => !OWN.contains(&self.name),
            Place::Replica => matches!(
                self.name,
                "fail" | "max_conns" | "max_conns.queue" | "max_conns.wait"
            ),
            Place::Container | Place::Wharf => false,
        };
        shared && !self.is_grammar()
    }

    /// Whether `word` is the first word of an option.
    pub(super) fn is_top(word: &str) -> bool {
        Self::tops().any(|top| top == word)
    }

    /// Every first word, in table order.
    pub(super) fn tops() -> impl Iterator<Item = &'static str> {
        OPTIONS
            .iter()
            .map(|entry| entry.name)
            .filter(|name| !name.contains('.'))
    }

    /// The words that may follow `top`: `read` and others for `timeout`.
    pub(super) fn fields(top: &str) -> impl Iterator<Item = &'static str> {
        OPTIONS
            .iter()
            .filter_map(move |entry| entry.name.strip_prefix(top)?.strip_prefix('.'))
    }
}

impl Kind {
    /// What a value looks like, for the documentation.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Hosts => "list of hosts",
            Self::Path => "path, `=` and a path, or `~` and a regex",
            Self::Rewrite => "path, or list of `<glob or regex> -> <path>`",
            Self::Redirects => "list of `<glob or regex> -> <path or address> [<status>]`",
            Self::Forwarded => "`x-forwarded` or `rfc7239`",
            Self::Edits => {
                "list of `<name>=<value>` (set), `+<name>=<value>` (add), `-<name>` (remove), `?<name>=<value>` (unless there is one)"
            }
            Self::Security => "`on`, `strict` or `off`, and `force`",
            Self::Cors => {
                "list of origins such as `https://app.example.com` and `https://*.example.com`, `*` or `off`; `methods=` `headers=` `credentials` `max_age=` as below"
            }
            Self::Methods => "list of methods, or `*`",
            Self::FieldNames => "list of names, or `*`",
            Self::Priority => "number, -1000000 to 1000000",
            Self::Port => "port, 1 to 65535",
            Self::Switch => "switch",
            Self::Share => "number, 0 to 1000",
            Self::Name => "name",
            Self::Https => "`redirect`, `both`, `only` or `off`",
            Self::Tls => "`auto`, `eager`, `internal`, `file:<name>` or `off`",
            Self::TlsVersion => "`1.2` or `1.3`",
            Self::Ask => "path, or `http://` or `https://` URL",
            Self::ClientCa | Self::Mtls => "`file:<path>`, and `optional`",
            Self::Hsts => "switch; `max-age=<duration>`, `subdomains`, `preload`",
            Self::Balance => {
                "`round_robin`, `least_conn`, `random2`, `ip_hash`, or `hash` with `header:<name>`, `cookie:<name>` or `path`"
            }
            Self::Sticky => "switch; `cookie=` names the cookie",
            Self::Cookie => "name of a cookie",
            Self::Matchers => {
                "list of `header:<name>[=<value>]`, `cookie:<name>[=<value>]`, `arg:<name>[=<value>]`, `path:<glob>`, `method:<name>|…`, `ip:<network>|…`"
            }
            Self::Fail => "`<failures>/<duration>`, or `off`",
            Self::Hold => "duration; `max=` as below",
            Self::HoldMax => "number, 1 to 100000",
            Self::Retry => "number or `off`; `on=` and `budget=` as below",
            Self::RetryOn => {
                "list of `error`, `timeout`, `non_idempotent`, `500`, `502`, `503`, `504`, `403`, `404`, `429`"
            }
            Self::Budget => "percentage, 0% to 100%, or `off`",
            Self::Duration => "duration",
            Self::Timeouts => {
                "`connect=` `first=` `read=` `send=` `body=`, each a duration; a bare duration is `read`; `min_rate=` as below"
            }
            Self::Keepalive => "number or `off`; `timeout=` `requests=` `time=` as below",
            Self::Buffer => "switch; `mem=` and `disk=` as below",
            Self::BufferMemory => "size, 64k to 1g",
            Self::Breaker => "switch; `errors=` `over=` `min=` `open=` as below",
            Self::ErrorShare => "percentage, 1% to 100%",
            Self::Least => "number from 1",
            Self::BreakerTime => "duration, 1s to 1h",
            Self::MaxConns => "number or `off`; `queue=` and `wait=` as below",
            Self::InFlight => "list of `<number>` with `key=` `queue=` `wait=` as below; or `off`",
            Self::Queue => "number, 0 to 1000, or `off`",
            Self::Count => "number, or `off`",
            Self::Health => {
                "`docker`, `tcp`, `off` or a path, and `interval=` `timeout=` `fails=` `passes=` `status=` `host=` `port=` as below"
            }
            Self::CheckTarget => "path, with or without a query",
            Self::CheckInterval => "duration, 100ms to 1d",
            Self::CheckTimeout => "duration, 100ms to 1m",
            Self::CheckCount => "number, 1 to 100",
            Self::Statuses => "list of statuses and ranges",
            Self::Authority => "host, with or without a port",
            Self::Upstream => {
                "`published`, `container`, or a list of `http://<address or name>[:<port>]` or `https://…`"
            }
            Self::Proto => "`http`, `https`, `h2c`, `h2`, `grpc` or `grpcs`",
            Self::Verify => "`on`, `off` or `file:<path>`; `sni=<host>`",
            Self::ServerName => "host name",
            Self::SentHost => "`keep`, `upstream`, or a host, with or without a port",
            Self::Networks => {
                "list of addresses, networks and sets: `private`, `loopback`, `docker`, `tailscale`, `cloudflare`, `cloudfront`, `fastly`; or `off`"
            }
            Self::Basic => {
                "`file:<path>`, or list of `<name>:<hash>`; and `strip`, `realm=\"…\"`; or `off`"
            }
            Self::Forward => {
                "`http://…` or `https://…`, or `authelia`, `authentik`, `oauth2-proxy`, `tinyauth`, or both; `copy=` `timeout=` `cache=` `session` as below; or `off`"
            }
            Self::Copy => "list of names, and beginnings of names with a `*` behind",
            Self::AuthTimeout => "duration, 1ms to 1m",
            Self::AuthCache => "duration up to 5m, or `off`",
            Self::Errors => {
                "list of `<statuses> = <page>`, as `502 503 = {status}.html`, `5xx = http://errors:8080/`, `404 = app:/oops`; and `intercept`; or `off`"
            }
            Self::UserHeader => "name of a header",
            Self::Satisfy => "`all` or `any`",
            Self::Block => {
                "list of `exploits`, paths such as `/private/*`, names such as `*.sql`, and `~regex`; or `off`"
            }
            Self::Maintenance => "switch; `allow=` `retry=` `message=\"…\"` as below",
            Self::Size => "size such as `512k`, `10m`, `1g`, or `off`",
            Self::ByteRate => "bytes in a second such as `500/s`, `1k/s`, or `off`",
            Self::RateLimits => {
                "list of `<rate>` with `burst=` `nodelay` `delay=` `key=` `dryrun` as below; or `off`"
            }
            Self::Rate => "`<requests>r/s`, `r/m`, `r/h` or `r/d`",
            Self::Cache => {
                "switch, or a duration: `on` with `valid` so long; `max_size=` `inactive=` as below"
            }
            Self::CacheValid => {
                "list of `<status>… <duration>`, `any <duration>`; a duration alone is for 200, 301 and 302"
            }
            Self::CacheStale => {
                "`error` `timeout` `invalid_header` `updating`, `500` `502` `503` `504` `403` `404` `429`, `background=<duration>` `for=<duration>`; or `off`"
            }
            Self::CacheBypass => "list of conditions as of `match`, or `off`",
            Self::CacheKey => {
                "text with `{scheme}` `{host}` `{path}` `{uri}` `{query}` `{header:<name>}` `{cookie:<name>}` `{arg:<name>}`"
            }
            Self::Burst => "number, 0 to 1000000",
            Self::Delay => "switch, or number",
            Self::LimitKey => "`ip`, `header:<name>`, `cookie:<name>`, `host` or `global`",
            Self::Files => {
                "directory; `path=` `expires=` `immutable` or `immutable=<glob>|…` `spa` `log=` as below; or `off`"
            }
            Self::Root => "directory",
            Self::Below => "path",
            Self::Immutable => "list of paths such as `/assets/**`, `~regex`, or a switch",
            Self::Spa => "switch",
            Self::Compress => {
                "switch, or list of `zstd`, `br`, `gzip`, each with `=<level>` or without; `min=` `level=` and `types=<type>|…` as below"
            }
            Self::MediaTypes => {
                "list of media types such as `text/css`, `text/*`, `*`, and `default`"
            }
            Self::Levels => "number, 1 to 9, or `zstd=` `br=` `gzip=`; of `br` up to 6",
            Self::Log => "`on`, `errors`, `sample=<percentage>` or `off`",
            Self::Message => "text, at most 1000 bytes",
            Self::Presets => "list of names, or `off`",
            Self::Routes | Self::Preset => "none",
            Self::Text => "text",
        }
    }
}

impl Place {
    pub fn describe(self) -> &'static str {
        match self {
            Self::Route => "any route",
            Self::Container => "container",
            Self::Replica => "container, each replica its own",
            Self::Wharf => "Wharf's own container",
        }
    }
}

/// Of a route, and of no other.
const OWN: [&str; 6] = ["host", "path", "match", "canary", "redirect.from", "use"];

/// The candidate closest to `word`, if it is close enough to be what was meant: one edit for short
/// words, two for those of more than four letters; a transposition is one edit.
pub(super) fn suggest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let length = word.chars().count();
    if length > MAX_WORD {
        return None;
    }
    let limit = if length > 4 { 2 } else { 1 };
    candidates
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= limit)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Damerau-Levenshtein distance; quadratic, so callers bound the words.
pub(super) fn distance(a: &str, b: &str) -> usize {
    strsim::damerau_levenshtein(a, b)
}

/// Longer words get no suggestion: label keys are as long as their author likes.
pub(super) const MAX_WORD: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_normal_form() {
        let mut seen = std::collections::BTreeSet::new();
        for entry in OPTIONS {
            assert!(seen.insert(entry.name), "{} twice", entry.name);
            assert_eq!(
                entry.name,
                entry.name.to_ascii_lowercase().replace('-', "_")
            );
            assert!(
                !entry.help.is_empty() && !entry.help.ends_with('.'),
                "{}",
                entry.name
            );
            assert_eq!(
                entry.status == Status::NotYet,
                entry.kind == Kind::Text,
                "{}",
                entry.name
            );
        }
    }

    #[test]
    fn every_field_has_its_option() {
        for entry in OPTIONS {
            if let Some((top, _)) = entry.name.split_once('.') {
                assert!(Entry::is_top(top), "{}", entry.name);
            }
        }
    }

    #[test]
    fn every_word_of_the_vocabulary_is_reserved() {
        let words = "enable host path match port upstream proto network pool swarm weight backup \
            canary priority routes preset use strip rewrite redirect https static spa block errors \
            maintenance tls hsts mtls lb sticky health fail retry hold drain slow_start breaker \
            mirror inflight keepalive timeout websocket sse tcp udp idle cache compress buffer \
            chunked max_body headers security cors forwarded allow deny satisfy auth ratelimit \
            log trace metrics";
        for word in words.split_whitespace() {
            assert!(Entry::is_top(word), "{word}");
        }
    }

    #[test]
    fn examples_are_understood() {
        let supported = |e: &&Entry| e.status == Status::Supported && !e.is_grammar();
        for entry in OPTIONS.iter().filter(supported) {
            let parsed = super::super::value::parse(entry.kind, entry.example);
            assert!(
                parsed.errors.is_empty(),
                "{}: {:?}",
                entry.name,
                parsed.errors
            );
        }
    }

    #[test]
    fn suggestions_need_to_be_close() {
        for (word, meant) in [
            ("hots", Some("host")),
            ("prot", Some("port")),
            ("cahce", Some("cache")),
            ("websokcet", Some("websocket")),
            ("timeuot", Some("timeout")),
            ("blog", None),
            ("x", None),
            ("", None),
        ] {
            let meant_words = Entry::tops().filter(|top| *top != "log" || word != "blog");
            assert_eq!(suggest(word, meant_words), meant, "{word}");
        }
    }
}
