//! The text of `wharf certs`.

use serde::Serialize;

use super::Certificate;
use super::layout::{Cell, Page};
use super::table::time_left;

/// A certificate, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateLine {
    /// Host of the CA's directory; `internal`, `file`.
    pub ca: String,
    /// Whether it is in the store, and so survives a restart.
    pub stored: bool,
    #[serde(flatten)]
    pub certificate: Certificate,
}

/// A table of them, problems first. `live`: a running Wharf was asked, too. `now` is Unix time.
pub fn render_certificates(
    lines: &[CertificateLine],
    live: bool,
    now: i64,
    colour: bool,
    width: Option<usize>,
) -> String {
    let mut page = Page::new(colour, width);
    if !live {
        let told = "No Wharf answers on the admin listener: this is what the store knows.";
        page.line(&[Cell::of(told)]);
    }
    let problems = lines.iter().filter_map(|line| {
        let error = line.certificate.last_error.as_ref()?;
        Some(vec![
            Cell::of(&line.certificate.host),
            Cell::of(&line.ca),
            Cell::of(error),
        ])
    });
    page.table("Problems", &[], problems.collect());
    let rows = lines.iter().map(|line| {
        let one = &line.certificate;
        let (tone, left) = time_left(one, now);
        vec![
            Cell::of(&one.host),
            Cell::of(&line.ca),
            Cell::of(&one.issuer),
            Cell::of(one.not_after.map(day).unwrap_or_default()),
            Cell(tone, left),
            Cell::of(&one.state),
            Cell::of(one.next.as_deref().unwrap_or_default()),
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        page.line(&[Cell::of("No certificates.")]);
    }
    page.table(
        "Certificates",
        &["HOST", "CA", "ISSUER", "EXPIRES", "LEFT", "STATE", "NEXT"],
        rows,
    );
    // A table comes after an empty line, which needs something before it.
    page.finish().trim_start_matches('\n').to_owned()
}

/// The day of a Unix time: `2026-11-25`.
pub fn day(unix: i64) -> String {
    // Civil from days, as Howard Hinnant's `chrono`-compatible algorithms have it.
    let days = unix.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (unix, text) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_709_164_800, "2024-02-29"),
            (1_767_225_599, "2025-12-31"),
            (1_767_225_600, "2026-01-01"),
            (-1, "1969-12-31"),
            (253_402_300_799, "9999-12-31"),
        ] {
            assert_eq!(day(unix), text);
        }
    }

    #[test]
    fn what_is_wrong_comes_first() {
        let line = |host: &str, error: Option<&str>| CertificateLine {
            ca: "acme.example".into(),
            stored: true,
            certificate: Certificate {
                host: host.into(),
                not_after: Some(40 * 86_400),
                state: "valid".into(),
                next: Some("renew in 10 d".into()),
                last_error: error.map(Into::into),
                ..Certificate::default()
            },
        };
        let lines = [line("a.test", None), line("b.test", Some("no such name"))];
        let text = render_certificates(&lines, true, 0, false, None);
        assert_eq!(
            text,
            "Problems\n  b.test  acme.example  no such name\n\nCertificates\n  \
             HOST    CA            ISSUER  EXPIRES     LEFT      STATE  NEXT\n  \
             a.test  acme.example  -       1970-02-10  40d left  valid  renew in 10 d\n  \
             b.test  acme.example  -       1970-02-10  40d left  valid  renew in 10 d\n"
        );
        let text = render_certificates(&[], false, 0, false, None);
        assert!(text.contains("what the store knows") && text.contains("No certificates."));
    }
}
