//! What is asked: the query of `/explain`.

use std::net::{IpAddr, Ipv4Addr};

use super::super::report::Report;
use crate::model::unescape;
use crate::proxy::Question;

/// `url=`, `method=`, `header=` and `from=`.
pub(super) fn question(report: &Report, query: &str) -> Result<(Question, String), String> {
    let mut url = None;
    let mut question = Question {
        method: "GET".to_owned(),
        https: false,
        authority: String::new(),
        target: "/".to_owned(),
        fields: Vec::new(),
        from: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = unescape(value).and_then(|text| String::from_utf8(text).ok());
        let value = value.ok_or("the query is not percent-encoded text")?;
        match key {
            "url" => url = Some(value),
            "method" => question.method = value,
            "from" => {
                question.from = value
                    .parse()
                    .map_err(|_| format!("`{value}` is no address"))?;
            }
            "header" if question.fields.len() < MAX_FIELDS => {
                let pair = value.split_once(':');
                let (name, value) = pair.ok_or("write a header as `Name: value`")?;
                let pair = (name.trim().to_owned(), value.trim().to_owned());
                question.fields.push(pair);
            }
            "header" => return Err(format!("at most {MAX_FIELDS} headers")),
            _ => return Err(format!("`{key}` is none of url, method, header and from")),
        }
    }
    let url = url.ok_or("which URL? /explain?url=https://shop.example.com/")?;
    let tls = report.listeners.iter().any(|(name, _)| *name == "https");
    let (scheme, rest) = url
        .split_once("://")
        .unwrap_or((if tls { "https" } else { "http" }, &url));
    question.https = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => false,
        "https" | "wss" => true,
        _ => {
            return Err(format!(
                "`{scheme}` is no scheme of the web: write http:// or https://"
            ));
        }
    };
    let rest = rest.split('#').next().unwrap_or(rest);
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(at);
    if authority.is_empty() {
        return Err("the URL has no host".to_owned());
    }
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a URL has no spaces".to_owned());
    }
    question.authority = authority.to_owned();
    question.target = match target {
        "" => "/".to_owned(),
        target if target.starts_with('?') => format!("/{target}"),
        target => target.to_owned(),
    };
    let scheme = if question.https { "https" } else { "http" };
    let url = format!("{scheme}://{authority}{}", question.target);
    Ok((question, url))
}

/// Headers of a question.
const MAX_FIELDS: usize = 32;
