//! How lines of the access log look, as an operator writes it: `log_format` of nginx.

use std::fmt;

/// A line as text and variables, compiled once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFormat {
    pub escape: Escape,
    pub pieces: Vec<LinePiece>,
}

/// How values get into a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Escape {
    /// `"`, `\` and what is not printable ASCII as `\x22`; what there is not is `-`.
    #[default]
    Default,
    /// For the inside of a JSON string; what there is not is empty.
    Json,
}

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinePiece {
    Text(String),
    Variable(Variable),
}

/// What a line can tell of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    Args,
    BodyBytesSent,
    BytesIn,
    Container,
    Host,
    Https,
    Msec,
    QueryMark,
    RealipRemoteAddr,
    RemoteAddr,
    RemotePort,
    RemoteUser,
    Request,
    RequestId,
    RequestLength,
    RequestMethod,
    RequestTime,
    RequestUri,
    Route,
    Scheme,
    ServerProtocol,
    SslCipher,
    SslProtocol,
    SslServerName,
    Status,
    TimeIso8601,
    TimeLocal,
    Tries,
    UpstreamAddr,
    UpstreamCacheStatus,
    UpstreamConnectTime,
    UpstreamHeaderTime,
    UpstreamResponseTime,
    UpstreamStatus,
    Uri,
    /// A field of the request; `-` for nginx's `_`.
    Header(String),
    Cookie(String),
    /// A parameter of the query.
    Arg(String),
}

impl LineFormat {
    /// nginx's and Apache's "combined".
    pub fn combined() -> Self {
        Self::parse(COMBINED).unwrap_or(Self {
            escape: Escape::Default,
            pieces: Vec::new(),
        })
    }

    /// Text with `$name`, `${name}` or `{name}`, behind an optional `escape=default` or `escape=json`.
    ///
    /// # Errors
    /// What is wrong with it, the first fault.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (escape, mut rest) = escape(text)?;
        let mut pieces = Vec::new();
        let mut plain = String::new();
        while let Some(at) = rest.find(['$', '{']) {
            plain.push_str(&rest[..at]);
            let Some((name, behind)) = name(&rest[at..])? else {
                // A brace of JSON.
                plain.push('{');
                rest = &rest[at + 1..];
                continue;
            };
            if !plain.is_empty() {
                pieces.push(LinePiece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(LinePiece::Variable(Variable::parse(name)?));
            rest = behind;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(LinePiece::Text(plain));
        }
        let is_variable = |piece: &LinePiece| matches!(piece, LinePiece::Variable(_));
        if !pieces.iter().any(is_variable) {
            return Err(
                "it has no variable: write $status or {status}; a compose file has $$ for each $"
                    .to_owned(),
            );
        }
        if pieces.len() > MAX_PIECES {
            return Err(format!("more than {MAX_PIECES} parts"));
        }
        let control = |piece: &LinePiece| match piece {
            LinePiece::Text(text) => text.chars().any(char::is_control),
            LinePiece::Variable(_) => false,
        };
        if pieces.iter().any(control) {
            return Err("a line break or another control character in a line".to_owned());
        }
        Ok(Self { escape, pieces })
    }

    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.pieces.iter().filter_map(|piece| match piece {
            LinePiece::Variable(variable) => Some(variable),
            LinePiece::Text(_) => None,
        })
    }
}

fn escape(text: &str) -> Result<(Escape, &str), String> {
    let Some(rest) = text.strip_prefix("escape=") else {
        return Ok((Escape::Default, text));
    };
    let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let escape = match word {
        "default" => Escape::Default,
        "json" => Escape::Json,
        "none" => {
            return Err(
                "escape=none would let anybody write lines of their own: default or json"
                    .to_owned(),
            );
        }
        _ => return Err(format!("escape={word}: expected default or json")),
    };
    Ok((escape, rest.trim_start()))
}

/// The name at the start of `text`, which begins with `$` or `{`, and what stands behind it. `None`: it is a brace
/// without a name.
fn name(text: &str) -> Result<Option<(&str, &str)>, String> {
    let word = |text: &str| text.bytes().take_while(|b| is_word(*b)).count();
    let (dollar, inner) = match text.strip_prefix('$') {
        Some(inner) => (true, inner),
        None => (false, text),
    };
    if dollar && inner.starts_with('$') {
        return Err(
            "`$$` is how a compose file writes one `$`; here it is $name, or {name}".to_owned(),
        );
    }
    if let Some(inner) = inner.strip_prefix('{') {
        let len = word(inner);
        return match (inner[len..].strip_prefix('}'), dollar) {
            (Some(behind), _) if len > 0 => Ok(Some((&inner[..len], behind))),
            (_, true) => Err("`${` without a name and `}`".to_owned()),
            _ => Ok(None),
        };
    }
    match word(inner) {
        0 => Err("`$` without a name".to_owned()),
        len => Ok(Some(inner.split_at(len))),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl Variable {
    fn parse(name: &str) -> Result<Self, String> {
        if let Some((.., make)) = VARIABLES.iter().find(|(known, ..)| *known == name) {
            return Ok(make.clone());
        }
        if let Some((_, reason)) = REFUSED.iter().find(|(known, _)| *known == name) {
            return Err(format!("${name}: {reason}"));
        }
        type Make = fn(String) -> Variable;
        let prefixes: [(&str, Make); 3] = [
            ("http_", |name| Self::Header(name.replace('_', "-"))),
            ("cookie_", Self::Cookie),
            ("arg_", Self::Arg),
        ];
        for (prefix, make) in prefixes {
            if let Some(rest) = name.strip_prefix(prefix).filter(|rest| !rest.is_empty()) {
                return Ok(make(rest.to_owned()));
            }
        }
        for (prefix, reason) in REFUSED_PREFIXES {
            if name.starts_with(prefix) {
                return Err(format!("${name}: {reason}"));
            }
        }
        let near = VARIABLES
            .iter()
            .map(|(known, ..)| (strsim::damerau_levenshtein(name, known), *known))
            .min()
            .filter(|(distance, known)| *distance <= 1 + known.len() / 6);
        Err(match near {
            Some((_, near)) => format!("there is no ${name}; did you mean ${near}?"),
            None => format!("there is no ${name}"),
        })
    }

    /// Whether somebody has to look at the clock for it while the request is under way.
    pub fn is_timed(&self) -> bool {
        matches!(
            self,
            Self::UpstreamConnectTime | Self::UpstreamHeaderTime | Self::UpstreamResponseTime
        )
    }

    /// All that have one name, each with what it stands for.
    pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
        VARIABLES.iter().map(|(name, what, _)| (*name, *what))
    }
}

impl fmt::Display for LineFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.escape == Escape::Json {
            f.write_str("escape=json ")?;
        }
        for piece in &self.pieces {
            match piece {
                LinePiece::Text(text) => f.write_str(text)?,
                LinePiece::Variable(variable) => write!(f, "${{{}}}", variable.name())?,
            }
        }
        Ok(())
    }
}

impl Variable {
    fn name(&self) -> String {
        match self {
            Self::Header(name) => format!("http_{}", name.replace('-', "_")),
            Self::Cookie(name) => format!("cookie_{name}"),
            Self::Arg(name) => format!("arg_{name}"),
            _ => {
                let entry = VARIABLES.iter().find(|(_, _, one)| one == self);
                entry.map_or("", |(name, ..)| name).to_owned()
            }
        }
    }
}

/// nginx's predefined `combined`, to the byte.
pub const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
                            \"$http_referer\" \"$http_user_agent\"";

/// In order of name, with what they stand for.
const VARIABLES: [(&str, &str, Variable); 36] = [
    (
        "args",
        "the query, without `?`; also `query_string`",
        Variable::Args,
    ),
    (
        "body_bytes_sent",
        "bytes of the response's body, without the framing of chunks",
        Variable::BodyBytesSent,
    ),
    (
        "bytes_in",
        "bytes of the request's body that went to an app",
        Variable::BytesIn,
    ),
    (
        "container",
        "name of the container that has answered",
        Variable::Container,
    ),
    (
        "host",
        "the host that was asked for, in lower case and without a port; as it was written it is `http_host`",
        Variable::Host,
    ),
    ("https", "`on` over TLS, else nothing", Variable::Https),
    (
        "is_args",
        "`?` where there is a query, else nothing",
        Variable::QueryMark,
    ),
    (
        "msec",
        "when the response ended, in seconds since 1970 with milliseconds",
        Variable::Msec,
    ),
    ("query_string", "as `args`", Variable::Args),
    (
        "realip_remote_addr",
        "address of the connection's other end, which may be a trusted proxy",
        Variable::RealipRemoteAddr,
    ),
    (
        "remote_addr",
        "address of the client, behind trusted proxies",
        Variable::RemoteAddr,
    ),
    (
        "remote_port",
        "port of the connection's other end",
        Variable::RemotePort,
    ),
    (
        "remote_user",
        "the name of a login of the client by HTTP Basic, right or not",
        Variable::RemoteUser,
    ),
    ("request", "the request line", Variable::Request),
    (
        "request_id",
        "the id that the app and error pages have, too",
        Variable::RequestId,
    ),
    (
        "request_length",
        "bytes of the request's head and of `bytes_in`; of a head of HTTP/2, what is in it",
        Variable::RequestLength,
    ),
    ("request_method", "the method", Variable::RequestMethod),
    (
        "request_time",
        "seconds from the request's head to the last byte of the response",
        Variable::RequestTime,
    ),
    (
        "request_uri",
        "path and query as the client wrote them",
        Variable::RequestUri,
    ),
    ("route", "the route, as in `wharf routes`", Variable::Route),
    ("scheme", "`http` or `https`", Variable::Scheme),
    (
        "server_protocol",
        "`HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`",
        Variable::ServerProtocol,
    ),
    (
        "ssl_cipher",
        "the cipher suite by OpenSSL's name",
        Variable::SslCipher,
    ),
    (
        "ssl_protocol",
        "`TLSv1.3` or `TLSv1.2`",
        Variable::SslProtocol,
    ),
    (
        "ssl_server_name",
        "the name in the TLS handshake",
        Variable::SslServerName,
    ),
    (
        "status",
        "the status; 499 where the client left before there was one",
        Variable::Status,
    ),
    (
        "time_iso8601",
        "when the response ended: `2026-07-01T12:00:00+00:00`",
        Variable::TimeIso8601,
    ),
    (
        "time_local",
        "when the response ended: `01/Jul/2026:12:00:00 +0000`; UTC",
        Variable::TimeLocal,
    ),
    (
        "tries",
        "how many endpoints have been tried",
        Variable::Tries,
    ),
    (
        "upstream_addr",
        "addresses of the endpoints that were tried, separated by `, `",
        Variable::UpstreamAddr,
    ),
    (
        "upstream_cache_status",
        "what the cache has made of the request",
        Variable::UpstreamCacheStatus,
    ),
    (
        "upstream_connect_time",
        "seconds until there was a connection, for each try",
        Variable::UpstreamConnectTime,
    ),
    (
        "upstream_header_time",
        "seconds until the head of the response, for each try",
        Variable::UpstreamHeaderTime,
    ),
    (
        "upstream_response_time",
        "seconds until the end of the response, for each try",
        Variable::UpstreamResponseTime,
    ),
    (
        "upstream_status",
        "the endpoints' statuses; 502 and 504 also where there was none",
        Variable::UpstreamStatus,
    ),
    (
        "uri",
        "the path as the client wrote it, without the query",
        Variable::Uri,
    ),
];

/// Known to others, and not told here.
const REFUSED: [(&str, &str); 11] = [
    (
        "http_authorization",
        "passwords and tokens are not logged; the name of a login is $remote_user",
    ),
    ("http_proxy_authorization", "passwords are not logged"),
    (
        "http_cookie",
        "sessions are not logged; one that is none can be: $cookie_name",
    ),
    ("binary_remote_addr", "it is no text; $remote_addr is"),
    ("bytes_sent", "only the body is counted: $body_bytes_sent"),
    ("document_uri", "it is $uri"),
    (
        "server_name",
        "a route may have many; $host is the one that was asked for, $route whose it is",
    ),
    ("proxy_host", "it is $upstream_addr"),
    ("uid_got", "there is no userid module"),
    ("uid_set", "there is no userid module"),
    ("status_code", "it is $status"),
];

const REFUSED_PREFIXES: [(&str, &str); 2] = [
    (
        "sent_http_",
        "fields of the response are gone when its line is written",
    ),
    (
        "upstream_http_",
        "fields of the response are gone when its line is written",
    ),
];

/// So that a line stays bounded.
const MAX_PIECES: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<LinePiece> {
        LineFormat::parse(text).unwrap().pieces
    }

    #[test]
    fn names_are_found_in_all_their_forms() {
        let text = |text: &str| LinePiece::Text(text.to_owned());
        let status = || LinePiece::Variable(Variable::Status);
        for (line, expected) in [
            ("$status", vec![status()]),
            (
                "a ${status}b {status}$status-",
                vec![
                    text("a "),
                    status(),
                    text("b "),
                    status(),
                    status(),
                    text("-"),
                ],
            ),
            (
                "{\"a\":{status},\"b\":{}}",
                vec![text("{\"a\":"), status(), text(",\"b\":{}}")],
            ),
            (
                "$http_x_forwarded_for",
                vec![LinePiece::Variable(Variable::Header(
                    "x-forwarded-for".into(),
                ))],
            ),
            (
                "$cookie_lang$arg_q",
                vec![
                    LinePiece::Variable(Variable::Cookie("lang".into())),
                    LinePiece::Variable(Variable::Arg("q".into())),
                ],
            ),
        ] {
            assert_eq!(parsed(line), expected, "{line}");
        }
        let format = LineFormat::parse("escape=json  {\"s\":\"$status\"}").unwrap();
        assert_eq!(format.escape, Escape::Json);
        assert_eq!(format.to_string(), "escape=json {\"s\":\"${status}\"}");
        assert_eq!(LineFormat::parse(&format.to_string()), Ok(format));
        assert_eq!(LineFormat::combined(), LineFormat::parse(COMBINED).unwrap());
    }

    #[test]
    fn faults_say_what_was_meant() {
        for (line, fault) in [
            (
                "",
                "it has no variable: write $status or {status}; a compose file has $$ for each $",
            ),
            (
                " - [] \"\"",
                "it has no variable: write $status or {status}; a compose file has $$ for each $",
            ),
            ("$stauts", "there is no $stauts; did you mean $status?"),
            (
                "{remote_adr}",
                "there is no $remote_adr; did you mean $remote_addr?",
            ),
            ("$nonsense", "there is no $nonsense"),
            ("$cookie_", "there is no $cookie_"),
            (
                "$$status",
                "`$$` is how a compose file writes one `$`; here it is $name, or {name}",
            ),
            ("${status", "`${` without a name and `}`"),
            ("5 $", "`$` without a name"),
            (
                "escape=none $status",
                "escape=none would let anybody write lines of their own: default or json",
            ),
            ("escape=xml $status", "escape=xml: expected default or json"),
            (
                "$status\n$status",
                "a line break or another control character in a line",
            ),
            (
                "$http_cookie",
                "$http_cookie: sessions are not logged; one that is none can be: $cookie_name",
            ),
            (
                "$sent_http_etag",
                "$sent_http_etag: fields of the response are gone when its line is written",
            ),
        ] {
            assert_eq!(LineFormat::parse(line).unwrap_err(), fault, "{line}");
        }
    }

    /// `WHARF_BLESS=1` writes the table.
    #[test]
    fn the_page_lists_every_variable() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/logging.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (before, rest) = page.split_once("<!-- variables").unwrap();
        let (opening, rest) = rest.split_once('\n').unwrap();
        let (_, after) = rest.split_once("<!-- end of variables -->").unwrap();
        let mut table = "\n| Variable | What |\n|---|---|\n".to_owned();
        for (name, what) in Variable::all() {
            table += &format!("| `${name}` | {what} |\n");
        }
        let expected =
            format!("{before}<!-- variables{opening}\n{table}\n<!-- end of variables -->{after}");
        if std::env::var_os("WHARF_BLESS").is_some() {
            std::fs::write(path, &expected).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap();
        assert!(
            page == expected,
            "docs/logging.md is stale: WHARF_BLESS=1 writes it"
        );
    }

    #[test]
    fn the_table_is_in_order_and_every_name_is_its_own() {
        let names: Vec<_> = VARIABLES.iter().map(|(name, ..)| *name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        for (name, _, variable) in &VARIABLES {
            assert_eq!(Variable::parse(name).as_ref(), Ok(variable));
        }
        for (name, _) in REFUSED {
            assert!(Variable::parse(name).is_err());
        }
    }
}
