//! What an unsafe request makes useless (RFC 9111 section 4.4).

use super::Source;
use super::key::Url;
use super::request::Method;
use super::scan::trim;

/// The keys of what must not be used again once a request with that method has been answered like this: its own URL,
/// and where Location and Content-Location point within the same origin. Nothing where the method changes nothing or
/// the app refused (another status than 2xx and 3xx).
pub fn targets(
    method: Method,
    status: u16,
    url: Url<'_>,
    response: &(impl Source + ?Sized),
) -> Vec<Vec<u8>> {
    if method != Method::Unsafe || !(200..400).contains(&status) {
        return Vec::new();
    }
    let mut keys = vec![key(url)];
    for name in [b"location".as_slice(), b"content-location"] {
        let pointed = response.first(name).and_then(|to| resolve(url, to));
        keys.extend(pointed.filter(|key| !keys.contains(key)));
    }
    keys
}

fn key(url: Url<'_>) -> Vec<u8> {
    let mut key = Vec::new();
    url.write(&mut key);
    key
}

/// The key of a reference (RFC 3986 section 5.2), where it is of the same origin.
fn resolve(base: Url<'_>, reference: &[u8]) -> Option<Vec<u8>> {
    let reference = trim(reference).split(|&byte| byte == b'#').next()?;
    let (https, rest) = match scheme(reference) {
        Some((scheme, rest)) => (is_https(scheme)?, rest),
        None => (base.https, reference),
    };
    if let Some(rest) = rest.strip_prefix(b"//") {
        let end = rest.iter().position(|byte| b"/?".contains(byte));
        let (host, target) = rest.split_at(end.unwrap_or(rest.len()));
        // A name before the host is nobody's business here.
        let host = host.rsplit(|&byte| byte == b'@').next()?;
        let other = Url {
            https,
            host,
            target: b"",
        };
        return base.same_origin(&other).then(|| key_of(base, target));
    }
    let alone = rest.len() == reference.len();
    alone.then(|| key_of(base, &relative(base.target, rest)))
}

fn scheme(reference: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = reference.iter().position(|byte| b":/?".contains(byte))?;
    (reference[end] == b':').then(|| (&reference[..end], &reference[end + 1..]))
}

fn is_https(scheme: &[u8]) -> Option<bool> {
    match () {
        () if scheme.eq_ignore_ascii_case(b"https") => Some(true),
        () if scheme.eq_ignore_ascii_case(b"http") => Some(false),
        () => None,
    }
}

/// Path and query of a reference without scheme and host.
fn relative(base: &[u8], reference: &[u8]) -> Vec<u8> {
    let path = base.split(|&byte| byte == b'?').next().unwrap_or_default();
    match reference.first() {
        None => base.to_vec(),
        Some(b'/') => reference.to_vec(),
        Some(b'?') => [path, reference].concat(),
        Some(_) => {
            let end = path.iter().rposition(|&byte| byte == b'/');
            let folder = &path[..end.map_or(0, |end| end + 1)];
            [folder, reference].concat()
        }
    }
}

fn key_of(base: Url<'_>, target: &[u8]) -> Vec<u8> {
    let query = target.iter().position(|&byte| byte == b'?');
    let (path, query) = target.split_at(query.unwrap_or(target.len()));
    let mut target = without_dots(path);
    target.extend_from_slice(query);
    key(Url {
        target: &target,
        ..base
    })
}

/// RFC 3986 section 5.2.4.
fn without_dots(path: &[u8]) -> Vec<u8> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    kept.pop();
                }
                if last {
                    kept.push(b"");
                }
            }
            _ => kept.push(segment),
        }
    }
    [b"/".as_slice(), &kept.join(&b'/')].concat()
}
