//! Which file a path names.

use crate::model::{escape_path, escaped};

/// What is looked for below a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// Segments with `/` between; empty for the root itself. None is empty, `.` or `..`.
    pub(super) text: String,
    /// The path ends with `/`, so that a directory is meant.
    pub(super) folder: bool,
}

impl Name {
    /// Decodes a path, as it was written behind the base. `None` for what no file can be called by: `..`, what is
    /// hidden (but for `.well-known`, RFC 8615), control characters, `/` and `\` by escapes, what is no UTF-8.
    pub(super) fn of(path: &str) -> Option<Self> {
        let bytes = path.as_bytes();
        let mut decoded = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match escaped(bytes, at) {
                Some(b'/') => return None,
                Some(byte) => {
                    decoded.push(byte);
                    at += 3;
                }
                None => {
                    decoded.push(byte);
                    at += 1;
                }
            }
        }
        let decoded = String::from_utf8(decoded).ok()?;
        if decoded.chars().any(|c| c.is_control() || c == '\\') {
            return None;
        }
        let mut text = String::with_capacity(decoded.len());
        // Several `/` are one, as for the file system.
        for segment in decoded.split('/').filter(|segment| !segment.is_empty()) {
            if segment.starts_with('.') && !(segment == WELL_KNOWN && text.is_empty()) {
                return None;
            }
            if !text.is_empty() {
                text.push('/');
            }
            text += segment;
        }
        Some(Self {
            folder: decoded.ends_with('/'),
            text,
        })
    }

    /// Where the directory of this name is, below `base`, in the form of a Location. It begins with one `/`, so it
    /// names no other host.
    pub(super) fn as_folder(&self, base: &str) -> String {
        match &*self.text {
            "" => escape_path(&format!("{base}/")),
            text => escape_path(&format!("{base}/{text}/")),
        }
    }
}

const WELL_KNOWN: &str = ".well-known";

#[cfg(test)]
mod tests {
    use super::*;

    /// S70: what paths name, and that none leads out.
    #[test]
    fn paths_name_files_below_the_root() {
        for (path, expected) in [
            ("", Some(("", false))),
            ("/", Some(("", true))),
            ("/a", Some(("a", false))),
            ("/a/", Some(("a", true))),
            ("//a//b", Some(("a/b", false))),
            ("//evil.example//", Some(("evil.example", true))),
            ("/caf%C3%A9.html", Some(("café.html", false))),
            ("/a%20b+c.txt", Some(("a b+c.txt", false))),
            ("/100%", Some(("100%", false))),
            ("/100%25", Some(("100%", false))),
            ("/%2561", Some(("%61", false))),
            ("/a..b/c...", Some(("a..b/c...", false))),
            (
                "/.well-known/security.txt",
                Some((".well-known/security.txt", false)),
            ),
            ("/a/.well-known/x", None),
            ("/.well-known/.htpasswd", None),
            ("/.env", None),
            ("/.git/config", None),
            ("/a/%2egit/config", None),
            ("/..", None),
            ("/../etc/passwd", None),
            ("/a/../b", None),
            ("/a/./b", None),
            ("/%2e%2e/etc/passwd", None),
            ("/a%2f..%2fb", None),
            ("/a%5cb", None),
            ("/a\\b", None),
            ("/a%00.html", None),
            ("/a%0a", None),
            ("/%ff", None),
        ] {
            let name = Name::of(path);
            let found = name.as_ref().map(|name| (&*name.text, name.folder));
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn a_directory_is_nowhere_else() {
        for (path, base, expected) in [
            ("/docs", "", "/docs/"),
            ("", "/static", "/static/"),
            ("//evil.example", "", "/evil.example/"),
            ("/caf%C3%A9 x", "/static", "/static/caf%C3%A9%20x/"),
            ("/100%25", "", "/100%/"),
        ] {
            assert_eq!(Name::of(path).unwrap().as_folder(base), expected, "{path}");
        }
    }
}
