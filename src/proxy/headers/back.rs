//! Paths that an app names in its answers, as its clients know them (product.md S13): where the app is asked for
//! `/base/x` instead of `/prefix/x`.

use super::super::fields::{Fields, Known, write_field};
use crate::model::Address;
use crate::route::{Back, Edits};

/// What an app may call itself, where it does not heed Host, or gets another than the client's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own<'a> {
    pub(crate) addr: Named<'a>,
    /// The Host field it got.
    pub(crate) host: &'a str,
}

/// Its address.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Named<'a> {
    Address(&'a Address),
    /// As it was once written.
    Text(&'a str),
}

impl Own<'_> {
    fn is(self, named: &str) -> bool {
        named.eq_ignore_ascii_case(self.host)
            || match self.addr {
                Named::Address(addr) => named == addr.to_string(),
                Named::Text(addr) => named == addr,
            }
    }
}

/// Appends all fields that name paths, if any of them has to be another. Whether it has.
pub(crate) fn write_back(
    out: &mut Vec<u8>,
    fields: Fields<'_>,
    back: &Back,
    authority: &str,
    own: Own<'_>,
    edits: Option<&Edits>,
) -> bool {
    let named = || {
        let named = fields.iter();
        named
            .filter(|field| field.known == Known::NamesPath)
            .filter(|field| edits.is_none_or(|edits| !edits.without(field.name)))
    };
    let change = |name: &[u8], value: &[u8]| {
        let value = std::str::from_utf8(value).ok()?;
        match name.to_ascii_lowercase().as_slice() {
            b"set-cookie" if back.cookies => cookie(value, back),
            b"set-cookie" => None,
            b"refresh" => refresh(value, back, authority, own),
            _ => address(value, back, authority, own),
        }
    };
    if !named().any(|field| change(field.name, field.value).is_some()) {
        return false;
    }
    for field in named() {
        let changed = change(field.name, field.value);
        let value = changed.as_deref().map_or(field.value, str::as_bytes);
        write_field(out, &field.name.to_ascii_lowercase(), value);
    }
    true
}

/// An address of the app's as its clients know it; `None` where it need not change: relative to the request's, of
/// another host, or not below the base.
fn address(value: &str, back: &Back, authority: &str, own: Own<'_>) -> Option<String> {
    let (before, rest) = match value.find("//").filter(|at| is_scheme(&value[..*at])) {
        Some(at) => {
            let end = value[at + 2..].find(['/', '?', '#']);
            let end = end.map_or(value.len(), |end| at + 2 + end);
            let named = &value[at + 2..end];
            match (named.eq_ignore_ascii_case(authority), named) {
                (true, _) => value.split_at(end),
                // An app that does not heed Host names itself.
                (false, named) if own.is(named) => ("", &value[end..]),
                (false, _) => return None,
            }
        }
        None => ("", value),
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (path, rest) = rest.split_at(end);
    let path = match path {
        "" if before.is_empty() && value.starts_with(['?', '#']) || value.is_empty() => {
            return None;
        }
        "" => "/",
        path if path.starts_with('/') => path,
        _ => return None,
    };
    match client_path(path, back) {
        Some(path) => Some(format!("{before}{path}{rest}")),
        // The app's own address must not reach clients.
        None if before.is_empty() && !value.starts_with('/') => {
            // Two at the beginning would be another host's address.
            Some(format!("/{}{rest}", path.trim_start_matches('/')))
        }
        None => None,
    }
}

/// `https:` or nothing.
fn is_scheme(text: &str) -> bool {
    match text.strip_suffix(':') {
        Some(scheme) => scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        None => text.is_empty(),
    }
}

/// A path of the app's as its clients know it. One that has the prefix already comes from an app that heeds
/// `X-Forwarded-Prefix`.
fn client_path(path: &str, back: &Back) -> Option<String> {
    let below = |top: &str| {
        let rest = path.strip_prefix(top)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    };
    if back.base.is_empty() && below(&back.prefix).is_some() {
        return None;
    }
    let rest = below(&back.base)?;
    if back.prefix.is_empty() {
        // `//evil.test` would be another host's address.
        return Some(format!("/{}", rest.trim_start_matches('/')));
    }
    Some(format!("{}{rest}", back.prefix))
}

/// `5; url=/x`.
fn refresh(value: &str, back: &Back, authority: &str, own: Own<'_>) -> Option<String> {
    let at = value.to_ascii_lowercase().find("url=")? + "url=".len();
    let (before, url) = value.split_at(at);
    let quote = url.chars().next().filter(|c| matches!(c, '"' | '\''));
    let bare = quote.map_or(url, |quote| url.trim_matches(quote));
    let changed = address(bare, back, authority, own)?;
    let quote = quote.map_or(String::new(), String::from);
    Some(format!("{before}{quote}{changed}{quote}"))
}

/// A cookie with its path. Browsers refuse `__Host-` cookies with any but `/`.
fn cookie(value: &str, back: &Back) -> Option<String> {
    if value.trim_start().starts_with("__Host-") {
        return None;
    }
    let mut changed = false;
    let parts = value.split(';').enumerate().map(|(index, part)| {
        let pair = part.split_once('=').filter(|_| index > 0);
        let path = pair.filter(|(name, _)| name.trim().eq_ignore_ascii_case("path"));
        let Some((name, path)) = path else {
            return part.to_owned();
        };
        let path = path.trim();
        // `/prefix/` would not be sent to `/prefix` itself.
        let own = match client_path(path, back) {
            Some(root) if path == "/" && !back.prefix.is_empty() => {
                root.strip_suffix('/').map(str::to_owned)
            }
            own => own,
        };
        match own {
            Some(own) => {
                changed = true;
                format!("{name}={own}")
            }
            None => part.to_owned(),
        }
    });
    let all: Vec<String> = parts.collect();
    changed.then(|| all.join(";"))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

    use super::*;
    use crate::proxy::head::RequestHead;

    fn back(prefix: &str, base: &str) -> Back {
        Back {
            prefix: prefix.into(),
            base: base.into(),
            cookies: true,
        }
    }

    fn own() -> Own<'static> {
        Own {
            addr: Named::Address(&ADDRESS),
            host: "app.lan:8443",
        }
    }

    #[test]
    fn addresses_of_the_app_become_those_its_clients_know() {
        let own = own();
        for (prefix, base, value, expected) in [
            ("/app", "", "/x?y#z", Some("/app/x?y#z")),
            ("/app", "", "/", Some("/app/")),
            ("/app", "", "/app", None),
            ("/app", "", "/app/x", None),
            ("/app", "", "/apple", Some("/app/apple")),
            ("/app", "", "x/y", None),
            ("/app", "", "../x", None),
            ("/app", "", "?x", None),
            ("/app", "", "", None),
            ("/app", "", "https://a.test/x", Some("https://a.test/app/x")),
            ("/app", "", "HTTPS://A.test", Some("HTTPS://A.test/app/")),
            ("/app", "", "//a.test/x", Some("//a.test/app/x")),
            ("/app", "", "https://a.test:8443/x", None),
            ("/app", "", "https://b.test/x", None),
            ("/app", "", "https://b.test?u=//a.test/x", None),
            (
                "/app",
                "",
                "/x?u=https://a.test/",
                Some("/app/x?u=https://a.test/"),
            ),
            ("/app", "", "http://172.18.0.2:80/x", Some("/app/x")),
            ("/app", "", "http://172.18.0.2:80/app/x", Some("/app/x")),
            ("/app", "", "mailto:x", None),
            ("/app", "/base", "/base/x", Some("/app/x")),
            ("/app", "/base", "/base", Some("/app")),
            ("/app", "/base", "/based", None),
            ("/app", "/base", "/other", None),
            ("/app", "/app/base", "/app/base/x", Some("/app/x")),
            ("", "/base", "/base/x", Some("/x")),
            ("", "/base", "/base", Some("/")),
            ("", "/base", "/x", None),
            ("", "/base", "/base//evil.test", Some("/evil.test")),
            ("", "", "https://App.lan:8443/x?y", Some("/x?y")),
            ("", "", "https://app.lan:8443", Some("/")),
            (
                "",
                "",
                "https://app.lan:8443//evil.test",
                Some("/evil.test"),
            ),
            ("", "", "https://app.lan/x", None),
            ("", "", "/x", None),
        ] {
            let changed = address(value, &back(prefix, base), "a.test", own);
            assert_eq!(changed.as_deref(), expected, "{prefix} {base} {value}");
        }
    }

    #[test]
    fn cookies_and_refreshes_keep_all_but_their_path() {
        let own = own();
        let app = back("/app", "");
        for (value, expected) in [
            ("a=b; Path=/; HttpOnly", Some("a=b; Path=/app; HttpOnly")),
            ("a=/; path=/x/ ;Secure", Some("a=/; path=/app/x/;Secure")),
            ("a=b; Path=/app/x", None),
            ("a=b; HttpOnly", None),
            ("path=/x", None),
            ("__Host-a=b; Path=/; Secure", None),
        ] {
            assert_eq!(cookie(value, &app).as_deref(), expected, "{value}");
        }
        for (value, expected) in [
            ("5; url=/x", Some("5; url=/app/x")),
            ("0;URL='/x'", Some("0;URL='/app/x'")),
            ("5", None),
        ] {
            let changed = refresh(value, &app, "a.test", own);
            assert_eq!(changed.as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn fields_are_written_anew_where_one_has_to_be_another() {
        let own = own();
        let fields = [
            ("Location", "/x"),
            ("Set-Cookie", "a=b"),
            ("set-cookie", "c=d; Path=/"),
            ("content-type", "text/plain"),
        ];
        let head = RequestHead::get("/", &fields);
        let write = |back: &Back| {
            let mut out = Vec::new();
            let changed = write_back(&mut out, head.fields(), back, "a.test", own, None);
            (changed, String::from_utf8(out).unwrap())
        };
        let all = "location: /app/x\r\nset-cookie: a=b\r\nset-cookie: c=d; Path=/app\r\n";
        assert_eq!(write(&back("/app", "")), (true, all.to_owned()));
        let mut without = back("/app", "");
        without.cookies = false;
        assert!(write(&without).1.ends_with("c=d; Path=/\r\n"));
        assert_eq!(write(&back("/app", "/base")), (false, String::new()));
    }

    const ADDRESS: Address = Address::Tcp(SocketAddr::V4(SocketAddrV4::new(
        Ipv4Addr::new(172, 18, 0, 2),
        80,
    )));
}
