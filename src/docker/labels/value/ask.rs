//! Values of `tls.ask`: a path of the app, or a URL.

use crate::model::{AskAt, AskUrl, Host};

use super::number;
use super::upstream::{ends_in_number, refused};

pub(super) fn ask(text: &str) -> Result<AskAt, String> {
    let text = text.trim();
    if text.starts_with('/') {
        return target(text).map(AskAt::App);
    }
    let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
    let https = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err(FORM.to_owned()),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return Err("user names and passwords do not belong into labels".to_owned());
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an address in brackets are no port's.
        Some((host, port)) if !port.contains(']') => {
            let port = number(port).filter(|port| *port > 0);
            (host, port.ok_or("a port is a number from 1 to 65535")?)
        }
        _ => (authority, if https { 443 } else { 80 }),
    };
    if host.contains(':') && !host.starts_with('[') {
        return Err("an IPv6 address stands in brackets: http://[fd00::1]:8080/".to_owned());
    }
    let host = Host::parse(host).map_err(|error| error.to_string())?;
    match host.ip() {
        Some(ip) => refused(ip).map_or(Ok(()), |why| Err(why.to_owned()))?,
        None if ends_in_number(host.as_str()) => {
            return Err("this is neither a name nor a whole address".to_owned());
        }
        None => {}
    }
    let path = match path {
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    let target = target(&path)?;
    Ok(AskAt::Url(AskUrl {
        https,
        host,
        port,
        target,
    }))
}

fn target(text: &str) -> Result<String, String> {
    if text.len() > AskAt::LONGEST {
        let most = AskAt::LONGEST;
        return Err(format!("a path has at most {most} characters"));
    }
    match text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        Some(c) => Err(format!("`{}` may not stand in a path", c.escape_debug())),
        None => Ok(text.to_owned()),
    }
}

const FORM: &str = "it is a path of the app, as in /internal/tls-check, or an http or https URL";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_urls_are_understood_and_asked_with_the_name() {
        let name = Host::parse("shop.example.net").unwrap();
        for (text, written, target) in [
            ("/check", "/check", "/check?domain=shop.example.net"),
            ("/c?k=1", "/c?k=1", "/c?k=1&domain=shop.example.net"),
            ("http://asks", "http://asks/", "/?domain=shop.example.net"),
            (
                "HTTPS://asks.example.com:443/x",
                "https://asks.example.com/x",
                "/x?domain=shop.example.net",
            ),
            (
                "http://[fd00::1]:8080?k=1",
                "http://[fd00::1]:8080/?k=1",
                "/?k=1&domain=shop.example.net",
            ),
        ] {
            let at = ask(text).unwrap();
            assert_eq!(at.to_string(), written);
            assert_eq!(at.target(&name), target);
        }
    }

    #[test]
    fn what_is_neither_is_told() {
        for (text, why) in [
            ("check", "a path of the app"),
            ("", "a path of the app"),
            ("ftp://asks/", "a path of the app"),
            ("/a b", "may not stand in a path"),
            ("/a#b", "may not stand in a path"),
            ("http://me:secret@asks/", "do not belong into labels"),
            ("http://asks:0/", "from 1 to 65535"),
            ("http://fd00::1/", "in brackets"),
            ("http://169.254.169.254/", "link-local"),
            ("http://127.1/", "neither a name nor a whole address"),
            ("http://", "may not be empty"),
        ] {
            let error = ask(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
