//! Which encodings a client takes (RFC 9110 section 12.5.3), and whether it wants a page (section 12.5.1).

use crate::model::Coding;

/// The codings a client would rather have than none, those it likes best first, and of equals as in `order`, which is
/// what there is to have. Only those it names: a `*` stands for codings that nobody has heard of.
pub(crate) fn codings(field: &[u8], order: &[Coding]) -> Vec<Coding> {
    let mut wanted = Vec::with_capacity(order.len());
    each_wanted(field, order, |quality, coding| {
        wanted.push((quality, coding))
    });
    // Stable: of equals the first.
    wanted.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
    wanted.into_iter().map(|(_, coding)| coding).collect()
}

/// The first of [`codings`].
pub(crate) fn best(field: &[u8], order: &[Coding]) -> Option<Coding> {
    let mut best = None;
    each_wanted(field, order, |quality, coding| {
        if best.is_none_or(|(most, _)| quality > most) {
            best = Some((quality, coding));
        }
    });
    best.map(|(_, coding)| coding)
}

fn each_wanted(field: &[u8], order: &[Coding], mut found: impl FnMut(u16, Coding)) {
    let mut qualities = [0_u16; Coding::ALL.len()];
    let mut plain = 0;
    for (word, quality) in weighted(field) {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is("identity") {
            plain = quality;
        }
        for coding in Coding::ALL {
            if is(coding.name()) || (coding == Coding::Gzip && is("x-gzip")) {
                qualities[coding as usize] = quality;
            }
        }
    }
    for &coding in order {
        let quality = qualities[coding as usize];
        if quality > 0 && quality >= plain {
            found(quality, coding);
        }
    }
}

/// Whether `Accept` lets a page pass.
pub(crate) fn takes_pages(field: &[u8]) -> bool {
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
    use super::*;
    use crate::model::Coding::*;

    #[test]
    fn the_client_says_which_coding_and_of_equals_the_first_goes() {
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
            let order = [Brotli, Zstd, Gzip];
            assert_eq!(codings(field.as_bytes(), &order), expected, "{field}");
            let first = expected.first().copied();
            assert_eq!(best(field.as_bytes(), &order), first, "{field}");
        }
    }

    /// B58: zstd, br, gzip by what the client likes.
    #[test]
    fn b58_only_what_there_is_to_have_is_chosen() {
        for (field, order, expected) in [
            (
                "gzip, deflate, br, zstd",
                &[Zstd, Brotli, Gzip][..],
                Some(Zstd),
            ),
            ("gzip, deflate, br, zstd", &[Gzip, Brotli], Some(Gzip)),
            ("gzip;q=0.9, br;q=1", &[Gzip, Brotli], Some(Brotli)),
            ("br, zstd", &[Gzip], None),
            ("deflate", &[Zstd, Brotli, Gzip], None),
            ("gzip", &[], None),
        ] {
            assert_eq!(best(field.as_bytes(), order), expected, "{field}");
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
