//! How values become bytes of a line, appended without allocating.

use std::fmt;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::model::Address;

pub(super) fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// `0.012345`: a number in JSON too.
pub(super) fn seconds(out: &mut Vec<u8>, duration: Duration) {
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

/// `0.012`, as nginx writes times.
pub(super) fn millis(out: &mut Vec<u8>, duration: Duration) {
    number(out, duration.as_secs());
    out.push(b'.');
    three(out, duration.subsec_millis());
}

pub(super) fn three(out: &mut Vec<u8>, value: u32) {
    out.extend([value / 100, value / 10 % 10, value % 10].map(digit));
}

pub(super) fn digit(value: u32) -> u8 {
    // `% 10` keeps it one digit, so the cast loses nothing.
    b'0' + (value % 10) as u8
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

/// An address as it is displayed; the common ones without `fmt`, which takes longer than the rest of a line.
pub(super) fn ip(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                number(out, octet.into());
            }
        }
        address @ IpAddr::V6(_) => display(out, address),
    }
}

pub(super) fn endpoint(out: &mut Vec<u8>, address: &Address) {
    match address {
        Address::Tcp(SocketAddr::V4(address)) => {
            ip(out, (*address.ip()).into());
            out.push(b':');
            number(out, address.port().into());
        }
        address => display(out, address),
    }
}

fn display(out: &mut Vec<u8>, value: impl fmt::Display) {
    // Writing to a Vec does not fail.
    let _ = write!(out, "{value}");
}

/// A word of a text line: spaces, quotes, backslashes, control and non-ASCII bytes as `\x20`, so
/// that a line splits at its spaces and cannot command a terminal. Empty is `-`.
pub(super) fn text_word(out: &mut Vec<u8>, word: &[u8], limit: usize) {
    if word.is_empty() {
        out.push(b'-');
        return;
    }
    let (word, cut) = bounded(word, limit);
    if all(word, |byte| is_plain(byte) & (byte != b' ')) {
        out.extend_from_slice(word);
    } else {
        for &byte in word {
            match is_plain(byte) && byte != b' ' {
                true => out.push(byte),
                false => {
                    out.extend_from_slice(b"\\x");
                    hex(out, byte);
                }
            }
        }
    }
    out.extend_from_slice(cut);
}

/// As nginx's `escape=default`: quotes, backslashes, control and non-ASCII bytes as `\x22`, in upper case.
pub(super) fn nginx_text(out: &mut Vec<u8>, text: &[u8], limit: usize) {
    let (text, cut) = bounded(text, limit);
    if all(text, is_plain) {
        out.extend_from_slice(text);
    } else {
        for byte in text {
            match is_plain(*byte) {
                true => out.push(*byte),
                false => {
                    out.extend_from_slice(b"\\x");
                    let digits = [byte >> 4, byte & 15];
                    out.extend(digits.map(|digit| UPPER[usize::from(digit)]));
                }
            }
        }
    }
    out.extend_from_slice(cut);
}

/// The inside of a JSON string (RFC 8259 section 7), in ASCII. What is no UTF-8 becomes U+FFFD.
pub(super) fn json_string(out: &mut Vec<u8>, value: &[u8], limit: usize) {
    let (value, cut) = bounded(value, limit);
    if all(value, is_plain) {
        out.extend_from_slice(value);
    } else {
        for chunk in value.utf8_chunks() {
            for c in chunk.valid().chars() {
                json_char(out, c);
            }
            if !chunk.invalid().is_empty() {
                json_char(out, char::REPLACEMENT_CHARACTER);
            }
        }
    }
    out.extend_from_slice(cut);
}

fn json_char(out: &mut Vec<u8>, c: char) {
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

/// Printable ASCII that needs no escape in any format.
fn is_plain(byte: u8) -> bool {
    // Without branches, so that many bytes are looked at in one.
    (byte.wrapping_sub(b' ') < 95) & (byte != b'"') & (byte != b'\\')
}

/// Whether all of a text is: mostly it is.
fn all(text: &[u8], is: impl Fn(u8) -> bool) -> bool {
    text.iter().fold(true, |all, byte| all & is(*byte))
}

/// At most `limit` bytes, cut between characters, and dots to append if there were more.
fn bounded(text: &[u8], limit: usize) -> (&[u8], &'static [u8]) {
    if text.len() <= limit {
        return (text, b"");
    }
    let continues = |at: &usize| text[*at] & 0xc0 != 0x80;
    let from = limit.saturating_sub(3);
    let end = (from..=limit).rev().find(continues).unwrap_or(limit);
    (&text[..end], b"...")
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_they_display() {
        for text in [
            "0.0.0.0",
            "192.0.2.255",
            "::1",
            "2001:db8::a:0:1",
            "::ffff:10.0.0.1",
        ] {
            let address: IpAddr = text.parse().unwrap();
            let mut out = Vec::new();
            ip(&mut out, address);
            assert_eq!(out, address.to_canonical().to_string().as_bytes());
            let address = Address::Tcp(SocketAddr::new(address, 65535));
            let mut out = Vec::new();
            endpoint(&mut out, &address);
            assert_eq!(out, address.to_string().as_bytes());
        }
    }
}
