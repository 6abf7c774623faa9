//! Web cache deception: a victim is sent to `/account/x.css`, the app answers with the account page, and a cache that
//! goes by names keeps it for everybody. This cache never goes by names (hardening: nothing is stored by file
//! extension); where a label or a guess gives a lifetime, pages and data under a name for something else are not
//! stored either.

use super::response::Response;
use super::scan::trim;

/// What content is, as far as Content-Type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// HTML, or nothing that is said.
    Page,
    Json,
    Other,
}

impl Content {
    pub(super) fn of(content_type: &[u8]) -> Self {
        let kind = content_type.split(|&byte| byte == b';').next();
        let kind = trim(kind.unwrap_or_default());
        let is = |other: &str| kind.eq_ignore_ascii_case(other.as_bytes());
        if kind.is_empty() || is("text/html") || is("application/xhtml+xml") {
            Self::Page
        } else if is("application/json") || kind.to_ascii_lowercase().ends_with(b"+json") {
            Self::Json
        } else {
            Self::Other
        }
    }
}

/// Whether a response is not what its name ends like. Asked only where the app has not named a lifetime.
pub(super) fn suspects(path: &[u8], response: &Response) -> bool {
    let may_be: &[&str] = match response.content {
        _ if !(200..300).contains(&response.status) => return false,
        Content::Other => return false,
        Content::Page => &[],
        Content::Json => &["json", "map"],
    };
    let Some(extension) = extension(path) else {
        return false;
    };
    let is = |other: &&str| extension.eq_ignore_ascii_case(other.as_bytes());
    ASSETS.iter().any(is) && !may_be.iter().any(is)
}

/// What stands behind the last dot of a path, however the app reads what is before it.
fn extension(target: &[u8]) -> Option<&[u8]> {
    let path = target.split(|&byte| byte == b'?').next()?;
    let name = path.rsplit(|&byte| byte == b'/').next()?;
    let dot = name.iter().rposition(|&byte| byte == b'.')?;
    Some(&name[dot + 1..])
}

/// What content networks that go by names take for static.
const ASSETS: &[&str] = &[
    "7z", "apk", "avi", "avif", "bin", "bmp", "bz2", "css", "csv", "dmg", "doc", "docx", "ejs",
    "eot", "eps", "exe", "flac", "gif", "gz", "ico", "iso", "jar", "jpeg", "jpg", "js", "json",
    "map", "mid", "midi", "mjs", "mkv", "mp3", "mp4", "ogg", "otf", "pdf", "pict", "pls", "png",
    "ppt", "pptx", "ps", "rar", "svg", "svgz", "swf", "tar", "tif", "tiff", "ttf", "txt", "wasm",
    "webm", "webp", "woff", "woff2", "xls", "xlsx", "xml", "zip", "zst",
];
