//! `wharf.block`: paths that nobody gets.
//!
//! An app may decode a path more than once, take `\` for `/`, have no case, or end a segment at `;`: what is
//! looked at is what the most generous of them would make of it.

use std::borrow::Cow;

use crate::model::Blocked;

/// The first item that `path` falls under.
pub(super) fn find<'a>(items: &'a [Blocked], path: &str) -> Option<&'a Blocked> {
    if items.is_empty() {
        return None;
    }
    let read = read(path);
    let mut items = items.iter();
    items.find(|item| match item {
        Blocked::Exploits => is_exploit(&read),
        Blocked::Segment(glob) => segments(&read).any(|segment| glob.matches(segment.as_bytes())),
        Blocked::Path(pattern) => {
            pattern.pattern().matches(path) || pattern.pattern().matches(&read)
        }
    })
}

/// Decoded as far as it goes, in lower case.
fn read(path: &str) -> Cow<'_, str> {
    let plain = |byte: u8| !byte.is_ascii_uppercase() && !matches!(byte, b'%' | b'\\');
    if path.bytes().all(plain) {
        return path.into();
    }
    let mut read = path.as_bytes().to_vec();
    for _ in 0..MOST_DECODED {
        let Some(decoded) = decoded(&read) else {
            break;
        };
        read = decoded;
    }
    for byte in &mut read {
        *byte = match *byte {
            b'\\' => b'/',
            byte => byte.to_ascii_lowercase(),
        };
    }
    String::from_utf8_lossy(&read).into_owned().into()
}

/// `None` where there is nothing to decode.
fn decoded(path: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        let digit = |at| {
            path.get(at)
                .and_then(|byte: &u8| (*byte as char).to_digit(16))
        };
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    (out.len() < path.len()).then_some(out)
}

/// Without what some servers take for parameters, and without the end some file systems do not see.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let cut = |segment: &str| segment.find([';', '\0']).unwrap_or(segment.len());
    path.split('/').map(move |segment| {
        let segment = &segment[..cut(segment)];
        segment.trim_end_matches(['.', ' ']).trim_start()
    })
}

fn is_exploit(path: &str) -> bool {
    // Beneath it are what authorities and clients ask for (RFC 8615), and nobody's secrets.
    let path = path.strip_prefix("/.well-known/").unwrap_or(path);
    segments(path).any(|segment| {
        let hidden = segment.starts_with(".ht")
            || HIDDEN.iter().any(|name| {
                segment
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '_', '~']))
            });
        let (stem, extension) = segment.rsplit_once('.').unwrap_or((segment, ""));
        let backup = EXTENSIONS.contains(&extension) && !stem.is_empty();
        let config = segment.starts_with("wp-config.") && extension != "php"
            || segment.starts_with("wp-config.php") && segment != "wp-config.php";
        hidden || backup || config || segment.ends_with('~')
    })
}

/// Names that begin with a dot and hold code, keys or passwords.
const HIDDEN: [&str; 10] = [
    ".git",
    ".env",
    ".svn",
    ".hg",
    ".bzr",
    ".aws",
    ".ssh",
    ".ds_store",
    ".npmrc",
    ".docker",
];
const EXTENSIONS: [&str; 8] = ["bak", "sql", "log", "old", "swp", "swo", "orig", "sqlite"];
const MOST_DECODED: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Glob, PathGlob};

    #[test]
    fn exploits() {
        let blocked = |path: &str| find(&[Blocked::Exploits], path).is_some();
        for path in [
            "/.git/config",
            "/.git",
            "/sub/.GIT/HEAD",
            "/.env",
            "/.env.production",
            "/api/.env",
            "/.svn/entries",
            "/.htaccess",
            "/.htpasswd",
            "/.aws/credentials",
            "/.ssh/id_rsa",
            "/backup.sql",
            "/db/dump.SQL",
            "/index.php.bak",
            "/debug.log",
            "/a.old",
            "/.index.php.swp",
            "/index.php~",
            "/wp-config.php.save",
            "/wp-config.txt",
            "/%2egit/config",
            "/%252egit/config",
            "/a%2f.git%2fconfig",
            "/a\\.git\\config",
            "/.git;a=b/config",
            "/.git./config",
            "/.git%20/config",
            "/.git%00.html",
            "/.well-known/.git/config",
        ] {
            assert!(blocked(path), "{path}");
        }
        for path in [
            "/",
            "/index.html",
            "/.well-known/acme-challenge/abc",
            "/.well-known/security.txt",
            "/.github",
            "/.gitlab-ci.yml",
            "/.environment",
            "/catalog",
            "/blog/login",
            "/logs",
            "/sql",
            "/old",
            "/wp-config.php",
            "/a/.hidden",
            "/100%",
            "/%zz",
            "/gold.html",
        ] {
            assert!(!blocked(path), "{path}");
        }
    }

    #[test]
    fn segments_and_paths() {
        let segment = Blocked::Segment(Glob::new("*.sql"));
        let path = Blocked::Path(PathGlob::parse("/private/*").unwrap());
        let regex = Blocked::Path(PathGlob::parse("~\\.(git|env)$").unwrap());
        for (item, path, found) in [
            (&segment, "/a/dump.SQL/x", true),
            (&segment, "/sql", false),
            (&path, "/private/x/y", true),
            (&path, "/Private/x", true),
            (&path, "/%70rivate/x", true),
            (&path, "/public/private/x", false),
            (&regex, "/x.git", true),
            (&regex, "/x.gitx", false),
        ] {
            let items = [item.clone()];
            assert_eq!(find(&items, path).is_some(), found, "{item} {path}");
        }
    }
}
