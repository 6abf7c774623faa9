//! One line of the access log, as text or JSON, appended without allocating.

use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::RequestId;
use crate::model::Address;

/// One answered request.
#[derive(Debug, Clone, Copy)]
pub struct AccessLine<'a> {
    /// When the request head had been read.
    pub time: SystemTime,
    /// The client, behind trusted proxies. IPv4 in IPv6 is logged as IPv4.
    pub client: IpAddr,
    /// Empty when the request had none that could be used.
    pub host: &'a str,
    pub method: &'a str,
    /// Path and query as received; the first [`MAX_PATH`] bytes are logged.
    pub path: &'a str,
    pub status: u16,
    /// Body bytes sent to the client.
    pub bytes: u64,
    /// From the request head to the last byte of the response.
    pub duration: Duration,
    /// The route's key; empty when none matched.
    pub route: &'a str,
    /// Where the response came from, if it came from upstream.
    pub endpoint: Option<&'a Address>,
    pub request_id: RequestId<'a>,
    /// `HTTP/1.1`, `HTTP/2.0` ...
    pub protocol: &'a str,
}

/// `2026-07-01T12:00:00` of the second last seen: the costly part of a time is the same for every
/// line of that second.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    second: Option<u64>,
    text: [u8; 19],
}

impl AccessLine<'_> {
    /// `time client "method host path protocol" status bytes seconds route endpoint id`, with `-`
    /// for what there is not.
    pub(super) fn text(&self, stamp: &mut Stamp, out: &mut Vec<u8>) {
        stamp.append(self.time, out);
        out.push(b' ');
        display(out, self.client.to_canonical());
        out.extend_from_slice(b" \"");
        let words = [
            (self.method, MAX_WORD),
            (self.host, MAX_HOST),
            (self.path, MAX_PATH),
            (self.protocol, MAX_WORD),
        ];
        for (index, (word, limit)) in words.into_iter().enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            text_word(out, word, limit);
        }
        out.extend_from_slice(b"\" ");
        number(out, self.status.into());
        out.push(b' ');
        number(out, self.bytes);
        out.push(b' ');
        seconds(out, self.duration);
        out.push(b' ');
        text_word(out, self.route, MAX_HOST);
        out.push(b' ');
        match self.endpoint {
            Some(endpoint) => display(out, endpoint),
            None => out.push(b'-'),
        }
        out.push(b' ');
        self.request_id.write(out);
        out.push(b'\n');
    }

    /// One object; `duration` is in seconds, a missing `endpoint` is null.
    pub(super) fn json(&self, stamp: &mut Stamp, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        stamp.append(self.time, out);
        out.extend_from_slice(b"\",\"client\":\"");
        display(out, self.client.to_canonical());
        out.push(b'"');
        for (name, value, limit) in [
            ("host", self.host, MAX_HOST),
            ("method", self.method, MAX_WORD),
            ("path", self.path, MAX_PATH),
            ("protocol", self.protocol, MAX_WORD),
            ("route", self.route, MAX_HOST),
        ] {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":\"");
            json_string(out, value, limit);
            out.push(b'"');
        }
        out.extend_from_slice(b",\"status\":");
        number(out, self.status.into());
        out.extend_from_slice(b",\"bytes\":");
        number(out, self.bytes);
        out.extend_from_slice(b",\"duration\":");
        seconds(out, self.duration);
        out.extend_from_slice(b",\"endpoint\":");
        match self.endpoint {
            Some(endpoint) => {
                out.push(b'"');
                display(out, endpoint);
                out.push(b'"');
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"request_id\":\"");
        self.request_id.write(out);
        out.extend_from_slice(b"\"}\n");
    }
}

impl Stamp {
    /// RFC 3339 in UTC with milliseconds. Times before 1970 are written as 1970.
    fn append(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs();
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = civil(second);
        }
        out.extend_from_slice(&self.text);
        let millis = since.subsec_millis();
        out.push(b'.');
        out.extend([millis / 100, millis / 10 % 10, millis % 10].map(digit));
        out.push(b'Z');
    }
}

/// Days to date by Howard Hinnant's `civil_from_days`, years 1970 to 9999.
fn civil(second: u64) -> [u8; 19] {
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

    let mut text = *b"0000-00-00T00:00:00";
    let clock = second % 86_400;
    for (at, value) in [
        (0, year / 100),
        (2, year % 100),
        (5, month),
        (8, date),
        (11, clock / 3_600),
        (14, clock / 60 % 60),
        (17, clock % 60),
    ] {
        text[at] = digit((value / 10) as u32);
        text[at + 1] = digit((value % 10) as u32);
    }
    text
}

fn digit(value: u32) -> u8 {
    // `% 10` keeps it one digit, so the cast loses nothing.
    b'0' + (value % 10) as u8
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// `0.012345`: a number in JSON too.
fn seconds(out: &mut Vec<u8>, duration: Duration) {
    number(out, duration.as_secs());
    out.push(b'.');
    let mut rest = duration.subsec_micros();
    let mut text = [b'0'; 6];
    for place in text.iter_mut().rev() {
        *place = digit(rest);
        rest /= 10;
    }
    out.extend_from_slice(&text);
}

pub(super) fn hex16(out: &mut Vec<u8>, value: u64) {
    let mut text = [0; 16];
    for (pair, byte) in text.chunks_exact_mut(2).zip(value.to_be_bytes()) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    out.extend_from_slice(&text);
}

fn hex(out: &mut Vec<u8>, byte: u8) {
    out.push(HEX[usize::from(byte >> 4)]);
    out.push(HEX[usize::from(byte & 15)]);
}

fn display(out: &mut Vec<u8>, value: impl fmt::Display) {
    // Writing to a Vec does not fail.
    let _ = write!(out, "{value}");
}

/// A word of a text line: spaces, quotes, backslashes, control and non-ASCII bytes as `\x20`, so
/// that a line splits at its spaces and cannot command a terminal. Empty is `-`.
fn text_word(out: &mut Vec<u8>, word: &str, limit: usize) {
    if word.is_empty() {
        out.push(b'-');
        return;
    }
    let (word, cut) = bounded(word, limit);
    for &byte in word.as_bytes() {
        if byte.is_ascii_graphic() && byte != b'"' && byte != b'\\' {
            out.push(byte);
        } else {
            out.extend_from_slice(b"\\x");
            hex(out, byte);
        }
    }
    out.extend_from_slice(cut);
}

/// The inside of a JSON string (RFC 8259 section 7), in ASCII.
fn json_string(out: &mut Vec<u8>, value: &str, limit: usize) {
    let (value, cut) = bounded(value, limit);
    for c in value.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            ' '..='~' => out.push(c as u8),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(b"\\u");
                    let [high, low] = unit.to_be_bytes();
                    hex(out, high);
                    hex(out, low);
                }
            }
        }
    }
    out.extend_from_slice(cut);
}

/// At most `limit` bytes, and dots to append if there were more.
fn bounded(text: &str, limit: usize) -> (&str, &'static [u8]) {
    if text.len() <= limit {
        return (text, b"");
    }
    let end = (0..=limit).rev().find(|&at| text.is_char_boundary(at));
    (&text[..end.unwrap_or(0)], b"...")
}

/// Bytes of a path that are logged.
pub const MAX_PATH: usize = 2048;
/// Of a host, a route's key.
const MAX_HOST: usize = 256;
/// Of a method, a protocol.
const MAX_WORD: usize = 32;
const HEX: &[u8; 16] = b"0123456789abcdef";
/// 9999-12-31T23:59:59Z: four digits of year.
const MAX_SECOND: u64 = 253_402_300_799;
