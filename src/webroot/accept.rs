//! Which encodings a client takes (RFC 9110 section 12.5.3), and whether it wants a page (section 12.5.1).

/// A coding that a file may lie beside itself in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Coding {
    Brotli,
    Zstd,
    Gzip,
}

impl Coding {
    /// Those that make files smaller first.
    const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// As in Content-Encoding.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What a file's name ends with.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }
}

/// The codings a client would rather have than none, the dearest first. Only those it names: a `*` stands for codings
/// that nobody has heard of.
pub(super) fn codings(field: &[u8]) -> Vec<Coding> {
    let mut found = [0_u16; Coding::ALL.len()];
    let mut plain = 0;
    for (word, quality) in weighted(field) {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is("identity") {
            plain = quality;
        }
        for (at, coding) in Coding::ALL.iter().enumerate() {
            if is(coding.name()) || (*coding == Coding::Gzip && is("x-gzip")) {
                found[at] = quality;
            }
        }
    }
    let mut wanted: Vec<(u16, Coding)> = found.into_iter().zip(Coding::ALL).collect();
    wanted.retain(|(quality, _)| *quality > 0 && *quality >= plain);
    // Stable: of equals those that make files smaller.
    wanted.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
    wanted.into_iter().map(|(_, coding)| coding).collect()
}

/// Whether `Accept` lets a page pass.
pub(super) fn takes_pages(field: &[u8]) -> bool {
    let mut best = (0, 0);
    for (range, quality) in weighted(field) {
        let is = |name: &str| range.eq_ignore_ascii_case(name.as_bytes());
        // The most exact range counts.
        let exact = match () {
            () if is("text/html") || is("application/xhtml+xml") => 3,
            () if is("text/*") => 2,
            () if is("*/*") => 1,
            () => continue,
        };
        if exact > best.0 {
            best = (exact, quality);
        }
    }
    best.1 > 0
}

/// Items with their weight in thousandths.
fn weighted(field: &[u8]) -> impl Iterator<Item = (&[u8], u16)> {
    let items = field.split(|byte| *byte == b',').take(MOST);
    items.map(|item| {
        let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let word = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| match part {
            [b'q' | b'Q', b'=', value @ ..] => Some(quality(value)),
            _ => None,
        });
        (word, quality.unwrap_or(1000))
    })
}

/// What cannot be read is 0: not wanted.
fn quality(text: &[u8]) -> u16 {
    let (whole, rest) = match text {
        [whole] => (whole, &b""[..]),
        [whole, b'.', rest @ ..] if rest.len() <= 3 => (whole, rest),
        _ => return 0,
    };
    let mut value = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return 0,
    };
    for (digit, worth) in rest.iter().zip([100, 10, 1]) {
        match digit {
            b'0'..=b'9' => value += u16::from(digit - b'0') * worth,
            _ => return 0,
        }
    }
    value.min(1000)
}

/// Items that are looked at.
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::Coding::*;
    use super::*;

    #[test]
    fn the_client_says_which_coding_and_of_equals_the_smaller_file_goes() {
        for (field, expected) in [
            ("", &[][..]),
            ("gzip", &[Gzip]),
            ("gzip, deflate, br, zstd", &[Brotli, Zstd, Gzip]),
            ("gzip, deflate, br", &[Brotli, Gzip]),
            ("GZIP;Q=1.0, br;q=0.9", &[Gzip, Brotli]),
            ("br;q=0, gzip;q=0.001", &[Gzip]),
            ("x-gzip", &[Gzip]),
            ("*", &[]),
            ("identity, gzip;q=0.5", &[]),
            ("identity;q=0.5, gzip;q=0.5", &[Gzip]),
            ("gzip;q=2", &[]),
            ("gzip;q=1.2345", &[]),
            ("gzip;q=x", &[]),
            (" br ; q=0.5 ,\tzstd", &[Zstd, Brotli]),
        ] {
            assert_eq!(codings(field.as_bytes()), expected, "{field}");
        }
    }

    #[test]
    fn pages_are_for_those_who_take_them() {
        for (field, expected) in [
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                true,
            ),
            ("*/*", true),
            ("text/*;q=0.1", true),
            ("application/json", false),
            ("image/avif,image/webp,image/*", false),
            ("text/html;q=0, */*", false),
            ("", false),
        ] {
            assert_eq!(takes_pages(field.as_bytes()), expected, "{field}");
        }
    }
}
