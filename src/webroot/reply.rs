//! What is answered: status, fields, and which bytes of which file.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use foldhash::fast::RandomState;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::WebRoot;
use super::body::{Body, Part};
use super::condition::{Outcome, is_current, judge};
use super::kind::Kind;
use super::open::{Content, Fault, Found, Opened};
use super::path::Name;
use super::range::{Parts, parts};
use super::recent::{Key, Recent};
use crate::accept::{codings, takes_pages};
use crate::model::{Coding, behind};

/// What a request says about the file it wants.
#[derive(Debug, Default)]
pub(crate) struct Asked<'a> {
    pub(super) if_match: Option<Cow<'a, [u8]>>,
    pub(super) if_none_match: Option<Cow<'a, [u8]>>,
    pub(super) if_modified_since: Option<&'a [u8]>,
    pub(super) if_unmodified_since: Option<&'a [u8]>,
    pub(super) if_range: Option<&'a [u8]>,
    pub(super) range: Option<&'a [u8]>,
    pub(super) accept: Option<Cow<'a, [u8]>>,
    pub(super) accept_encoding: Option<Cow<'a, [u8]>>,
    /// Sec-Fetch-Mode: what a browser does with it.
    pub(super) mode: Option<&'a [u8]>,
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// All but Content-Length.
    pub(crate) fields: HeaderMap,
    /// Of what would be sent to a GET.
    pub(crate) length: u64,
    pub(crate) body: Body,
}

/// What a path leads to.
#[derive(Debug)]
pub(crate) enum Hit {
    File(Rc<Found>),
    /// A directory, which is at this path.
    Folder(String),
}

impl<'a> Asked<'a> {
    /// Takes note of a field.
    pub(crate) fn add(&mut self, name: &[u8], value: &'a [u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            5 if is("range") => self.range = Some(value),
            6 if is("accept") => joined(&mut self.accept, value),
            8 if is("if-match") => joined(&mut self.if_match, value),
            8 if is("if-range") => self.if_range = Some(value),
            13 if is("if-none-match") => joined(&mut self.if_none_match, value),
            14 if is("sec-fetch-mode") => self.mode = Some(value),
            15 if is("accept-encoding") => joined(&mut self.accept_encoding, value),
            17 if is("if-modified-since") => self.if_modified_since = Some(value),
            19 if is("if-unmodified-since") => self.if_unmodified_since = Some(value),
            _ => {}
        }
    }

    /// Whether a browser goes to a page. Scripts and images that are missing must not get one in their place.
    fn navigates(&self) -> bool {
        match (self.mode, &self.accept) {
            (Some(mode), _) => mode == b"navigate",
            (None, Some(accept)) => takes_pages(accept),
            (None, None) => true,
        }
    }
}

/// A list may come in several lines.
fn joined<'a>(field: &mut Option<Cow<'a, [u8]>>, value: &'a [u8]) {
    match field {
        None => *field = Some(value.into()),
        Some(before) => {
            let before = before.to_mut();
            before.extend_from_slice(b", ");
            before.extend_from_slice(value);
        }
    }
}

impl WebRoot {
    /// Looks for the file of a path, as the client wrote it.
    pub(crate) async fn find(
        &self,
        recent: &Recent,
        path: &str,
        asked: &Asked<'_>,
    ) -> Result<Hit, Fault> {
        let behind = behind(path, &self.base).unwrap_or(path);
        let name = Name::of(behind).ok_or(Fault::None)?;
        let codings: Vec<Coding> = asked
            .accept_encoding
            .as_deref()
            .map(|field| codings(field, &BESIDE))
            .unwrap_or_default();
        let slash = if name.folder { "/" } else { "" };
        let key = Key {
            root: self.id,
            name: format!("{}{slash}", name.text),
            codings,
        };
        if let Some(found) = recent.get(&key, Instant::now()) {
            return Ok(Hit::File(found));
        }
        let shell = self.spa
            && asked.navigates()
            && !Kind::is_asset(&name.text)
            && !self.is_forever(path, &name);
        let (place, codings) = (Arc::clone(&self.place), key.codings.clone());
        let looked = tokio::task::spawn_blocking(move || match place.open(&name, &codings) {
            Err(Fault::None) if shell => Ok((Opened::File(place.shell(&codings)?), name, true)),
            opened => Ok((opened?, name, false)),
        });
        let looked = looked
            .await
            .unwrap_or_else(|lost| Err(Fault::Unreadable(std::io::Error::other(lost))));
        match looked? {
            (Opened::Folder, name, _) => Ok(Hit::Folder(name.as_folder(&self.base))),
            (Opened::File(found), _, instead) => {
                let found = Rc::new(found);
                // Names nobody has put there are as many as clients like.
                if !instead {
                    recent.put(key, &found, Instant::now());
                }
                Ok(Hit::File(found))
            }
        }
    }

    /// Answers a GET or HEAD of `path` with a file.
    pub(crate) fn reply(
        &self,
        found: &Found,
        path: &str,
        asked: &Asked<'_>,
        method: &Method,
        now: SystemTime,
    ) -> Result<Reply, Fault> {
        let mut fields = HeaderMap::with_capacity(12);
        let outcome = judge(asked, &found.etag, found.modified);
        if outcome == Outcome::Changed {
            return Err(Fault::Changed);
        }
        put(&mut fields, header::DATE, httpdate::fmt_http_date(now));
        put(
            &mut fields,
            header::LAST_MODIFIED,
            httpdate::fmt_http_date(found.modified),
        );
        put(&mut fields, header::ETAG, found.etag.clone());
        self.keep(&mut fields, found, path, now);
        if found.varies {
            fields.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if outcome == Outcome::Same {
            return Ok(Reply {
                status: StatusCode::NOT_MODIFIED,
                fields,
                length: 0,
                body: Body::default(),
            });
        }
        fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some(coding) = found.coding {
            fields.insert(
                header::CONTENT_ENCODING,
                HeaderValue::from_static(coding.name()),
            );
        }
        let current = |tag: &&[u8]| is_current(tag, &found.etag, found.modified);
        let range = asked.range.filter(|_| {
            // Nothing says what a HEAD of a part would be (section 14.2).
            method == Method::GET && asked.if_range.as_ref().is_none_or(current)
        });
        let (status, length, body) =
            match range.map_or(Parts::Whole, |field| parts(field, found.size)) {
                Parts::None => return Err(Fault::NoPart(found.size)),
                Parts::Whole => {
                    let body = Body::of([found.part(0, found.size)]);
                    (StatusCode::OK, found.size, body)
                }
                Parts::These(ranges) => {
                    if let [range] = &*ranges {
                        let (first, last, size) = (range.start, range.end - 1, found.size);
                        put(
                            &mut fields,
                            header::CONTENT_RANGE,
                            format!("bytes {first}-{last}/{size}"),
                        );
                        let length = range.end - range.start;
                        (
                            StatusCode::PARTIAL_CONTENT,
                            length,
                            Body::of([found.part(first, length)]),
                        )
                    } else {
                        let boundary = boundary();
                        let media = format!("multipart/byteranges; boundary={boundary}");
                        put(&mut fields, header::CONTENT_TYPE, media);
                        let (length, body) = multipart(found, &ranges, &boundary);
                        (StatusCode::PARTIAL_CONTENT, length, body)
                    }
                }
            };
        fields
            .entry(header::CONTENT_TYPE)
            .or_insert(HeaderValue::from_static(found.media));
        Ok(Reply {
            status,
            fields,
            length,
            body,
        })
    }

    /// Says for how long it may be kept.
    fn keep(&self, fields: &mut HeaderMap, found: &Found, path: &str, now: SystemTime) {
        if self.spa && found.shell {
            // It names the assets of one deployment: kept, it would ask for those of the last.
            fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            return;
        }
        let forever = !self.forever.is_empty()
            && Name::of(behind(path, &self.base).unwrap_or(path))
                .is_some_and(|name| self.is_forever(path, &name));
        let (age, immutable) = match (forever, self.immutable, self.expires) {
            (true, _, _) => (YEAR, true),
            (false, true, age) => (age.unwrap_or(YEAR), true),
            (false, false, Some(age)) => (age, false),
            (false, false, None) => return,
        };
        let who = if self.shared { "public" } else { "private" };
        let immutable = if immutable { ", immutable" } else { "" };
        put(
            fields,
            header::CACHE_CONTROL,
            format!("{who}, max-age={age}{immutable}"),
        );
        if let Some(end) = now
            .checked_add(Duration::from_secs(age))
            .filter(|_| self.shared)
        {
            put(fields, header::EXPIRES, httpdate::fmt_http_date(end));
        }
    }

    /// Whether a label says that what is there never changes: by the path that clients ask for, or what is behind the
    /// route's own.
    fn is_forever(&self, path: &str, name: &Name) -> bool {
        if self.forever.is_empty() {
            return false;
        }
        let below = format!("/{}", name.text);
        let whole = format!("{}{below}", self.base);
        debug_assert!(path.starts_with('/'));
        let mut globs = self.forever.iter();
        globs.any(|glob| glob.pattern().matches(&below) || glob.pattern().matches(&whole))
    }
}

impl Found {
    fn part(&self, at: u64, left: u64) -> Part {
        match &self.content {
            Content::Here(bytes) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                let end = at
                    + usize::try_from(left)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len() - at);
                Part::Bytes(bytes.slice(at..end))
            }
            Content::File(file) => Part::File {
                file: Arc::clone(file),
                at,
                left,
            },
        }
    }
}

/// Several parts in one answer (RFC 9110 section 14.6).
fn multipart(found: &Found, ranges: &[std::ops::Range<u64>], boundary: &str) -> (u64, Body) {
    let (media, size) = (found.media, found.size);
    let mut length = 0;
    let mut parts = Vec::with_capacity(2 * ranges.len() + 1);
    for range in ranges {
        let (first, last) = (range.start, range.end - 1);
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: {media}\r\nContent-Range: bytes {first}-{last}/{size}\r\n\r\n"
        );
        length += head.len() as u64 + range.end - range.start;
        parts.push(Part::Bytes(head.into()));
        parts.push(found.part(first, range.end - range.start));
    }
    let end = format!("\r\n--{boundary}--\r\n");
    length += end.len() as u64;
    parts.push(Part::Bytes(end.into()));
    (length, Body::of(parts))
}

/// What no file holds, but by chance: nobody can know it beforehand.
fn boundary() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let hash = || RandomState::default().hash_one(number);
    format!("{:016x}{:016x}", hash(), hash())
}

fn put(fields: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        fields.insert(name, value);
    }
}

/// Codings that a file may lie beside itself in: those that make files smaller first.
const BESIDE: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];
/// As good as for ever (RFC 9111 section 1.2.2 says no more; nginx's `expires max` is ten).
const YEAR: u64 = 31_536_000;

#[cfg(test)]
mod tests;
