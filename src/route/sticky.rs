//! The cookie that keeps a client on one endpoint (product.md B22).

use crate::model::{PathPattern, escape_path};

/// A route's cookie: everything about it but its value.
#[derive(Debug)]
pub struct Sticky {
    pub name: Box<str>,
    /// Behind the value; `Secure` is added where the client uses TLS.
    attributes: Box<str>,
}

impl Sticky {
    pub(super) fn new(name: String, path: &PathPattern) -> Self {
        // A path that would end the attribute early is left to the whole host.
        let path = match path.prefix() {
            Some(path) if !path.contains(';') => escape_path(path),
            _ => "/".to_owned(),
        };
        Self {
            name: name.into(),
            attributes: format!("; Path={path}; HttpOnly; SameSite=Lax").into(),
        }
    }

    /// Appends the field that gives the client its endpoint's token.
    pub fn write(&self, out: &mut Vec<u8>, token: &str, secure: bool) {
        let secure = if secure { "; Secure" } else { "" };
        for part in [
            "set-cookie: ",
            &self.name,
            "=",
            token,
            &self.attributes,
            secure,
            "\r\n",
        ] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_for_its_route_alone() {
        for (path, secure, end) in [
            ("/", false, "Path=/; HttpOnly; SameSite=Lax\r\n"),
            (
                "/api/",
                true,
                "Path=/api; HttpOnly; SameSite=Lax; Secure\r\n",
            ),
            ("~^/x", false, "Path=/; HttpOnly; SameSite=Lax\r\n"),
            ("/a b", false, "Path=/a%20b; HttpOnly; SameSite=Lax\r\n"),
            ("/a;b", false, "Path=/; HttpOnly; SameSite=Lax\r\n"),
        ] {
            let path = PathPattern::parse(path).unwrap();
            let mut out = Vec::new();
            Sticky::new("c".into(), &path).write(&mut out, "abc", secure);
            let expected = format!("set-cookie: c=abc; {end}");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
