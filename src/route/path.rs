//! The decoded, dot-resolved copy of a path that rules are matched on; the original bytes are what
//! is forwarded (product.md B41, hardening must-have 11).

/// What normalising does to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Normal {
    /// Nothing: the usual case, found without allocating.
    AsWritten,
    /// Decoding or dot segments make it another path.
    Changed(String),
    /// It climbs above the root or holds a NUL: nobody has a use for it.
    Bad,
}

/// Decodes percent escapes once, turns `\` into `/`, merges `//` and resolves `.` and `..`.
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
    let mut normal = String::with_capacity(decoded.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if slash_at_end || normal.is_empty() {
        normal.push('/');
    }
    if normal == path {
        Normal::AsWritten
    } else {
        Normal::Changed(normal)
    }
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
        let escaped = (bytes[i] == b'%')
            .then(|| Some(hex(*bytes.get(i + 1)?)? << 4 | hex(*bytes.get(i + 2)?)?))
            .flatten();
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

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
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
        for (path, normal) in [
            ("/a/../b", "/b"),
            ("/a/%2e%2e/b", "/b"),
            ("/a%2fb", "/a/b"),
            ("//a", "/a"),
            ("/a\\b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/..", "/"),
            ("/%61", "/a"),
        ] {
            let expected = if path == normal {
                Normal::AsWritten
            } else {
                Normal::Changed(normal.into())
            };
            assert_eq!(normalize(path), expected, "{path}");
        }
        assert_eq!(normalize("/../x"), Normal::Bad);
        assert_eq!(normalize("/a%00"), Normal::Bad);
        assert_eq!(normalize("/a%zz"), Normal::AsWritten);
    }

    proptest::proptest! {
        #[test]
        fn any_path_ends_without_dots_or_double_slashes(path in "/[ -~]{0,40}") {
            if let Normal::Changed(normal) = normalize(&path) {
                proptest::prop_assert!(normal.starts_with('/'));
                proptest::prop_assert!(!normal.contains("//"));
                proptest::prop_assert!(!normal.split('/').any(|s| s == "." || s == ".."));
            }
        }
    }
}
