//! What a file is, by the end of its name.

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// Content-Type.
    pub(super) media: &'static str,
    /// It gets smaller by compression, so that smaller ones may lie beside it.
    pub(super) shrinks: bool,
}

impl Kind {
    /// nginx's `default_type` in its stock configuration.
    const UNKNOWN: Self = Self {
        media: "application/octet-stream",
        shrinks: true,
    };

    pub(super) fn of(name: &str) -> Self {
        find(name).unwrap_or(Self::UNKNOWN)
    }

    /// Whether somebody who asks for this wants a part of a page, never a page: a style, a script, an image.
    pub(super) fn is_asset(name: &str) -> bool {
        find(name).is_some_and(|kind| kind.media != HTML)
    }
}

fn find(name: &str) -> Option<Kind> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let (stem, ending) = name.rsplit_once('.')?;
    // `.js` is a name, not an ending; such files are hidden anyway.
    if stem.is_empty() || ending.len() > LONGEST {
        return None;
    }
    let ending = ending.to_ascii_lowercase();
    let at = KINDS
        .binary_search_by(|(known, ..)| (*known).cmp(&*ending))
        .ok()?;
    let (_, media, shrinks) = KINDS[at];
    Some(Kind { media, shrinks })
}

const HTML: &str = "text/html; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const LONGEST: usize = 16;

/// Sorted by ending. nginx's mime.types, newer ones of the IANA registry, and what browsers need to be told.
#[rustfmt::skip]
const KINDS: &[(&str, &str, bool)] = &[
    ("7z", "application/x-7z-compressed", false),
    ("aac", "audio/aac", false),
    ("apk", "application/vnd.android.package-archive", false),
    ("atom", "application/atom+xml", true),
    ("avi", "video/x-msvideo", false),
    ("avif", "image/avif", false),
    ("bmp", "image/bmp", true),
    ("bz2", "application/x-bzip2", false),
    ("cjs", JS, true),
    ("css", "text/css; charset=utf-8", true),
    ("csv", "text/csv; charset=utf-8", true),
    ("deb", "application/vnd.debian.binary-package", false),
    ("dmg", "application/x-apple-diskimage", false),
    ("doc", "application/msword", true),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", false),
    ("eot", "application/vnd.ms-fontobject", true),
    ("epub", "application/epub+zip", false),
    ("flac", "audio/flac", false),
    ("flv", "video/x-flv", false),
    ("geojson", "application/geo+json", true),
    ("gif", "image/gif", false),
    ("glb", "model/gltf-binary", true),
    ("gltf", "model/gltf+json", true),
    ("gz", "application/gzip", false),
    ("heic", "image/heic", false),
    ("htm", HTML, true),
    ("html", HTML, true),
    ("ico", "image/x-icon", true),
    ("ics", "text/calendar; charset=utf-8", true),
    ("iso", "application/x-iso9660-image", false),
    ("jar", "application/java-archive", false),
    ("jpeg", "image/jpeg", false),
    ("jpg", "image/jpeg", false),
    ("js", JS, true),
    ("json", "application/json", true),
    ("jsonld", "application/ld+json", true),
    ("jxl", "image/jxl", false),
    ("kml", "application/vnd.google-earth.kml+xml", true),
    ("m3u8", "application/vnd.apple.mpegurl", true),
    ("m4a", "audio/mp4", false),
    ("m4v", "video/x-m4v", false),
    ("map", "application/json", true),
    ("md", "text/markdown; charset=utf-8", true),
    ("mid", "audio/midi", true),
    ("mjs", JS, true),
    ("mkv", "video/x-matroska", false),
    ("mov", "video/quicktime", false),
    ("mp3", "audio/mpeg", false),
    ("mp4", "video/mp4", false),
    ("mpd", "application/dash+xml", true),
    ("mpeg", "video/mpeg", false),
    ("mpg", "video/mpeg", false),
    ("msi", "application/x-msi", false),
    ("odp", "application/vnd.oasis.opendocument.presentation", false),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet", false),
    ("odt", "application/vnd.oasis.opendocument.text", false),
    ("oga", "audio/ogg", false),
    ("ogg", "audio/ogg", false),
    ("ogv", "video/ogg", false),
    ("opus", "audio/ogg", false),
    ("otf", "font/otf", true),
    ("pdf", "application/pdf", false),
    ("png", "image/png", false),
    ("ppt", "application/vnd.ms-powerpoint", true),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation", false),
    ("ps", "application/postscript", true),
    ("rar", "application/vnd.rar", false),
    ("rpm", "application/x-rpm", false),
    ("rss", "application/rss+xml", true),
    ("rtf", "application/rtf", true),
    ("svg", "image/svg+xml", true),
    ("svgz", "image/svg+xml", false),
    ("tar", "application/x-tar", true),
    ("tgz", "application/gzip", false),
    ("tif", "image/tiff", true),
    ("tiff", "image/tiff", true),
    ("ts", "video/mp2t", false),
    ("ttf", "font/ttf", true),
    ("txt", TEXT, true),
    ("vtt", "text/vtt; charset=utf-8", true),
    ("wasm", "application/wasm", true),
    ("wav", "audio/wav", true),
    ("weba", "audio/webm", false),
    ("webm", "video/webm", false),
    ("webmanifest", "application/manifest+json", true),
    ("webp", "image/webp", false),
    ("woff", "font/woff", false),
    ("woff2", "font/woff2", false),
    ("xhtml", "application/xhtml+xml", true),
    ("xls", "application/vnd.ms-excel", true),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", false),
    ("xml", "text/xml; charset=utf-8", true),
    ("xsl", "text/xml; charset=utf-8", true),
    ("xz", "application/x-xz", false),
    ("yaml", "application/yaml", true),
    ("yml", "application/yaml", true),
    ("zip", "application/zip", false),
    ("zst", "application/zstd", false),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_in_order_and_say_what_a_file_is() {
        assert!(KINDS.is_sorted_by(|(a, ..), (b, ..)| a < b));
        assert!(KINDS.iter().all(|(ending, ..)| ending.len() <= LONGEST));
        for (name, media, asset) in [
            ("index.html", HTML, false),
            ("a/app.JS", JS, true),
            ("x.tar.gz", "application/gzip", true),
            ("logo.svg", "image/svg+xml", true),
            ("john.doe", "application/octet-stream", false),
            ("README", "application/octet-stream", false),
            (".js", "application/octet-stream", false),
            ("a.b/c", "application/octet-stream", false),
        ] {
            assert_eq!(
                (Kind::of(name).media, Kind::is_asset(name)),
                (media, asset),
                "{name}"
            );
        }
    }
}
