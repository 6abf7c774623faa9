//! Times as lines have them, all in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::encode::{digit, three};

/// The second last seen as text: the costly part of a time is the same for every line of that second.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    second: Option<u64>,
    /// `2026-07-01T12:00:00`.
    iso: [u8; 19],
    /// `01/Jul/2026:12:00:00`.
    common: [u8; 20],
}

impl Stamp {
    /// RFC 3339 in UTC with milliseconds. Times before 1970 are written as 1970.
    pub(super) fn append(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        let since = self.see(time);
        out.extend_from_slice(&self.iso);
        out.push(b'.');
        three(out, since.subsec_millis());
        out.push(b'Z');
    }

    /// `2026-07-01T12:00:00+00:00`.
    pub(super) fn append_iso8601(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        self.see(time);
        out.extend_from_slice(&self.iso);
        out.extend_from_slice(b"+00:00");
    }

    /// `01/Jul/2026:12:00:00 +0000`.
    pub(super) fn append_common(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        self.see(time);
        out.extend_from_slice(&self.common);
        out.extend_from_slice(b" +0000");
    }

    fn see(&mut self, time: SystemTime) -> Duration {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs();
        if self.second != Some(second) {
            self.second = Some(second);
            (self.iso, self.common) = civil(second);
        }
        since
    }
}

/// Days to date by Howard Hinnant's `civil_from_days`, years 1970 to 9999.
fn civil(second: u64) -> ([u8; 19], [u8; 20]) {
    let second = second.min(MAX_SECOND);
    let day = second / 86_400 + 719_468; // since 0000-03-01
    let era = day / 146_097;
    let of_era = day % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153; // March is 0
    let date = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + u64::from(month <= 2);

    let two = |text: &mut [u8], at: usize, value: u64| {
        text[at] = digit((value / 10) as u32);
        text[at + 1] = digit((value % 10) as u32);
    };
    let clock = second % 86_400;
    let clock = [clock / 3_600, clock / 60 % 60, clock % 60];
    let mut iso = *b"0000-00-00T00:00:00";
    two(&mut iso, 0, year / 100);
    two(&mut iso, 2, year % 100);
    two(&mut iso, 5, month);
    two(&mut iso, 8, date);
    let mut common = *b"00/Mon/0000:00:00:00";
    two(&mut common, 0, date);
    // 1 to 12 by the arithmetic above.
    common[3..6].copy_from_slice(MONTHS[(month as usize + 11) % 12]);
    two(&mut common, 7, year / 100);
    two(&mut common, 9, year % 100);
    for (index, value) in clock.into_iter().enumerate() {
        two(&mut iso, 11 + 3 * index, value);
        two(&mut common, 12 + 3 * index, value);
    }
    (iso, common)
}

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
/// 9999-12-31T23:59:59Z: four digits of year.
const MAX_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_three_ways() {
        for (second, iso, common) in [
            (0, "1970-01-01T00:00:00", "01/Jan/1970:00:00:00"),
            (951_782_399, "2000-02-28T23:59:59", "28/Feb/2000:23:59:59"),
            (951_782_400, "2000-02-29T00:00:00", "29/Feb/2000:00:00:00"),
            (1_709_251_199, "2024-02-29T23:59:59", "29/Feb/2024:23:59:59"),
            (1_735_689_599, "2024-12-31T23:59:59", "31/Dec/2024:23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00", "01/Mar/2100:00:00:00"),
            (
                253_402_300_799,
                "9999-12-31T23:59:59",
                "31/Dec/9999:23:59:59",
            ),
        ] {
            let time = UNIX_EPOCH + Duration::new(second, 7_000_000);
            let mut stamp = Stamp::default();
            let mut out = Vec::new();
            stamp.append(time, &mut out);
            out.push(b' ');
            stamp.append_iso8601(time, &mut out);
            out.push(b' ');
            stamp.append_common(time, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text, format!("{iso}.007Z {iso}+00:00 {common} +0000"));
        }
    }
}
