//! Parts of a file (RFC 9110 section 14).

use std::ops::Range;

/// What is to be sent of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parts {
    Whole,
    /// One or more, none empty; none overlaps another.
    These(Vec<Range<u64>>),
    /// It has no such part: 416.
    None,
}

/// Reads a Range field for a file of this size. What cannot be read, is of another unit, or asks for too much is as
/// if it were not there.
pub(super) fn parts(field: &[u8], size: u64) -> Parts {
    let Some((unit, list)) = std::str::from_utf8(field)
        .ok()
        .and_then(|text| text.split_once('='))
    else {
        return Parts::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Parts::Whole;
    }
    let mut found: Vec<Range<u64>> = Vec::new();
    let items = list
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    let mut count = 0;
    for item in items {
        count += 1;
        let Some(range) = range(item, size).filter(|_| count <= MOST) else {
            return Parts::Whole;
        };
        if !range.is_empty() {
            found.push(range);
        }
    }
    if count == 0 {
        return Parts::Whole;
    }
    let found = joined(found);
    match found
        .iter()
        .map(|range| range.end - range.start)
        .sum::<u64>()
    {
        0 => Parts::None,
        // Asked for piecemeal, it costs more than as a whole.
        sum if sum >= size && found.len() > 1 => Parts::Whole,
        _ => Parts::These(found),
    }
}

/// Empty where there is nothing; `None` for what is no range.
fn range(item: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = item.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        let suffix = number(last)?;
        return Some(size.saturating_sub(suffix)..size);
    }
    let first = number(first)?;
    let end = match last {
        "" => size,
        last => {
            let last = number(last)?;
            if last < first {
                return None;
            }
            last.saturating_add(1).min(size)
        }
    };
    Some(first.min(end)..end)
}

/// One that no file is long enough for is as good as any such.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Those that overlap, or touch, are one; then all are in order. Otherwise they stay as they were asked for.
fn joined(found: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut sorted = found.clone();
    sorted.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match joined.last_mut() {
            Some(before) if range.start <= before.end => before.end = before.end.max(range.end),
            _ => joined.push(range),
        }
    }
    match joined.len() == found.len() {
        true => found,
        false => joined,
    }
}

/// Ranges of one request; nobody who plays, resumes or reads a document asks for more at once.
const MOST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_joined_and_bounded() {
        let these = |ranges: &[(u64, u64)]| {
            Parts::These(ranges.iter().map(|(start, end)| *start..*end).collect())
        };
        let many = format!("bytes={}", "0-0,2-2,".repeat(17));
        for (field, expected) in [
            ("bytes=0-499", these(&[(0, 500)])),
            ("bytes=500-", these(&[(500, 1000)])),
            ("bytes=-1", these(&[(999, 1000)])),
            ("bytes=-5000", these(&[(0, 1000)])),
            ("bytes=0-", these(&[(0, 1000)])),
            ("BYTES = 0-0", these(&[(0, 1)])),
            ("bytes=999-5000", these(&[(999, 1000)])),
            ("bytes=0-18446744073709551616", these(&[(0, 1000)])),
            ("bytes=0-0,-1", these(&[(0, 1), (999, 1000)])),
            ("bytes=900-, 0-9", these(&[(900, 1000), (0, 10)])),
            ("bytes=0-9,5-19", these(&[(0, 20)])),
            ("bytes=10-19,0-9", these(&[(0, 20)])),
            ("bytes=0-9,1000-", these(&[(0, 10)])),
            ("bytes=0-499,500-", these(&[(0, 1000)])),
            ("bytes=1000-", Parts::None),
            ("bytes=-0", Parts::None),
            ("bytes=2000-3000", Parts::None),
            ("bytes=", Parts::Whole),
            ("bytes=5-4", Parts::Whole),
            ("bytes=a-b", Parts::Whole),
            ("bytes=0-9,x", Parts::Whole),
            ("bytes=+1-2", Parts::Whole),
            ("lines=1-2", Parts::Whole),
            ("0-9", Parts::Whole),
            (&many, Parts::Whole),
        ] {
            assert_eq!(parts(field.as_bytes(), 1000), expected, "{field}");
        }
        assert_eq!(parts(b"bytes=0-", 0), Parts::None);
        assert_eq!(parts(b"bytes=-5", 0), Parts::None);
    }
}
