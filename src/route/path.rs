//! The forms of a path that rules are matched on; the original bytes are what is forwarded (product.md B41,
//! hardening must-have 11).

use crate::model::{escaped, seen};

/// What normalising does to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Normal {
    /// Nothing: the usual case, found without allocating.
    AsWritten,
    /// It can be written otherwise.
    Changed {
        /// As patterns see it: see [`seen`].
        seen: String,
        /// What somebody may make of it who decodes all escapes, takes `\` for `/`, merges `//` and resolves
        /// `.` and `..`.
        resolved: String,
    },
    /// It climbs above the root or holds a NUL: nobody has a use for it.
    Bad,
}

/// Looks at a path. It is routed as seen, and only where the resolved form leads to the same route: a client
/// must not reach an app through another's route, or past its rules, because the two read a path
/// differently.
pub fn normalize(path: &str) -> Normal {
    if is_plain(path.as_bytes()) {
        return Normal::AsWritten;
    }
    let Some(decoded) = decode(path) else {
        return Normal::Bad;
    };
    let mut segments: Vec<&str> = Vec::new();
    let mut slash_at_end = false;
    for segment in decoded.split('/').skip(1) {
        slash_at_end = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                if segments.pop().is_none() {
                    return Normal::Bad;
                }
            }
            _ => segments.push(segment),
        }
    }
    let mut resolved = String::with_capacity(decoded.len());
    for segment in &segments {
        resolved.push('/');
        resolved.push_str(segment);
    }
    if slash_at_end || resolved.is_empty() {
        resolved.push('/');
    }
    let seen = seen(path);
    if resolved == path && seen == path {
        Normal::AsWritten
    } else {
        Normal::Changed { seen, resolved }
    }
}

/// Whether a path has a `..` in it for somebody who decodes all escapes.
pub fn climbs(path: &str) -> bool {
    if is_plain(path.as_bytes()) {
        return false;
    }
    decode(path).is_none_or(|decoded| decoded.split('/').any(|segment| segment == ".."))
}

/// Whether the path holds nothing that normalising could change.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        match byte {
            b'%' | b'\\' | 0 => return false,
            b'/' | b'.' if before == b'/' => return false,
            _ => before = byte,
        }
    }
    true
}

/// Percent-decoded once; `None` on NUL. Bytes that are no UTF-8 become U+FFFD, malformed escapes
/// stay as they are: both only have to be the same every time.
fn decode(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escaped = escaped(bytes, i);
        let byte = escaped.unwrap_or(bytes[i]);
        i += if escaped.is_some() { 3 } else { 1 };
        match byte {
            0 => return None,
            b'\\' => out.push(b'/'),
            _ => out.push(byte),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_are_untouched() {
        for path in ["/", "/a", "/a/b.c", "/a/b/", "/.", "/a.b../c", "*"] {
            let normal = normalize(path);
            assert!(
                normal == Normal::AsWritten || path == "/.",
                "{path}: {normal:?}"
            );
        }
    }

    #[test]
    fn others_are_decoded_and_resolved() {
        for (path, seen, resolved) in [
            ("/a/../b", "/a/../b", "/b"),
            ("/a/%2e%2e/b", "/a/../b", "/b"),
            ("/a%2fb", "/a%2fb", "/a/b"),
            ("//a", "//a", "/a"),
            ("/a\\b", "/a%5Cb", "/a/b"),
            ("/a/./b", "/a/./b", "/a/b"),
            ("/a/..", "/a/..", "/"),
            ("/%61", "/a", "/a"),
            ("/%c3%a9", "/é", "/é"),
            ("/%252e", "/%252e", "/%2e"),
            ("/a%zz", "/a%25zz", "/a%zz"),
        ] {
            let expected = Normal::Changed {
                seen: seen.into(),
                resolved: resolved.into(),
            };
            assert_eq!(normalize(path), expected, "{path}");
        }
        assert_eq!(normalize("/.well-known/x"), Normal::AsWritten);
        assert_eq!(normalize("/../x"), Normal::Bad);
        assert_eq!(normalize("/a%00"), Normal::Bad);
        for path in ["/a/../b", "/a/%2e%2e/b", "/a%2f..", "/a\\..\\b"] {
            assert!(climbs(path), "{path}");
        }
        for path in ["/a..b/c", "/a/./b", "/%41", "/a/.../b"] {
            assert!(!climbs(path), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_path_ends_without_dots_or_double_slashes(path in "/[ -~]{0,40}") {
            if let Normal::Changed { resolved, .. } = normalize(&path) {
                proptest::prop_assert!(resolved.starts_with('/'));
                proptest::prop_assert!(!resolved.contains("//"));
                proptest::prop_assert!(!resolved.split('/').any(|s| s == "." || s == ".."));
            }
        }
    }
}
