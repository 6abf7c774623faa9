//! A GET for its status: HTTP/1.1, one request on a connection of its own.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::model::{Address, HttpAsk};
use crate::upstream::Failure;

/// A connection, plain or encrypted.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Sends the request and reads up to the status of the final response. The caller has a time limit.
pub(super) async fn status(
    stream: &mut dyn Io,
    ask: &HttpAsk,
    (addr, tls): (&Address, bool),
) -> Result<u16, Failure> {
    let request = request(ask, addr, tls);
    // Whoever refuses may answer before it has read.
    let written = match stream.write_all(request.as_bytes()).await {
        Ok(()) => stream.flush().await,
        error => error,
    };
    let mut read = Vec::with_capacity(1024);
    loop {
        match find_status(&read) {
            Found::Status(status) => return Ok(status),
            Found::Nothing => return Err(Failure::Unusable),
            Found::More if read.len() >= MAX_HEADS => return Err(Failure::Unusable),
            Found::More => {}
        }
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) if read.is_empty() || written.is_err() => return Err(Failure::Closed),
            Ok(0) | Err(_) => return Err(Failure::Unusable),
            Ok(_) => {}
        }
    }
}

/// Takes some of what is left of the answer: many applications log a client that leaves at once.
pub(super) async fn drain(mut stream: Box<dyn Io>) {
    let mut room = [0; 4096];
    let all = async {
        for _ in 0..MAX_BODY / room.len() {
            match stream.read(&mut room).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    let _ = timeout(DRAIN, all).await;
}

fn request(ask: &HttpAsk, addr: &Address, tls: bool) -> String {
    let host = authority(ask.host.as_ref(), addr, tls);
    format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        ask.target
    )
}

/// What an app is told it serves.
pub(super) fn authority(named: Option<&String>, addr: &Address, tls: bool) -> String {
    match (named, addr) {
        (Some(host), _) => host.clone(),
        // As curl does.
        (None, Address::Unix(_)) => "localhost".to_owned(),
        (None, Address::Tcp(addr))
            if addr.port() == if tls { 443 } else { 80 } && addr.is_ipv4() =>
        {
            addr.ip().to_string()
        }
        (None, Address::Tcp(addr)) => addr.to_string(),
    }
}

/// What the bytes so far say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Status(u16),
    More,
    /// This is no HTTP/1.
    Nothing,
}

/// The status of the first response that is not interim. Fields are not looked at: a check asks for no more,
/// and an application that sends odd ones is up.
fn find_status(mut bytes: &[u8]) -> Found {
    loop {
        let known = bytes.len().min(START.len());
        if bytes[..known] != START[..known] {
            return Found::Nothing;
        }
        // `HTTP/1.1 200`, and something after it.
        let Some(line) = bytes.get(..13) else {
            return Found::More;
        };
        let digits = &line[9..12];
        let version = line[7].is_ascii_digit() && line[8] == b' ';
        if !version || !digits.iter().all(u8::is_ascii_digit) || line[12].is_ascii_graphic() {
            return Found::Nothing;
        }
        let status = digits
            .iter()
            .fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        match status {
            100..=199 if status != 101 => {}
            101 | 200..=599 => return Found::Status(status),
            _ => return Found::Nothing,
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Found::More;
        };
        bytes = &bytes[end + 4..];
    }
}

const START: &[u8] = b"HTTP/1.";
pub(super) const AGENT: &str = concat!("Wharf-Health/", env!("CARGO_PKG_VERSION"));
/// Bytes read up to the status.
const MAX_HEADS: usize = 16 * 1024;
/// Bytes read after it, and for how long.
const MAX_BODY: usize = 64 * 1024;
const DRAIN: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::StatusSet;

    #[test]
    fn the_status_is_the_final_ones() {
        for (bytes, found) in [
            ("HTTP/1.1 200 OK\r\n", Found::Status(200)),
            ("HTTP/1.0 503\r\n", Found::Status(503)),
            ("HTTP/1.1 404 \r\nX: y", Found::Status(404)),
            (
                "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n",
                Found::Status(204),
            ),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 20", Found::More),
            ("HTTP/1.1 101 Switching\r\n", Found::Status(101)),
            ("HTTP/1.1 200", Found::More),
            ("HTT", Found::More),
            ("", Found::More),
            ("HTTP/2 200 OK\r\n", Found::Nothing),
            ("HTTP/1.1 2000 OK\r\n", Found::Nothing),
            ("HTTP/1.1 20x OK\r\n", Found::Nothing),
            ("HTTP/1.1 999 OK\r\n", Found::Nothing),
            ("HTTP/1.1  200 OK\r\n", Found::Nothing),
            ("SSH-2.0-OpenSSH\r\n", Found::Nothing),
            ("\u{15}\u{3}\u{3}", Found::Nothing),
        ] {
            assert_eq!(find_status(bytes.as_bytes()), found, "{bytes:?}");
        }
    }

    #[test]
    fn the_host_is_the_address_unless_another_is_named() {
        let mut ask = HttpAsk {
            target: "/up?x".into(),
            host: None,
            status: StatusSet::default(),
        };
        for (addr, tls, line) in [
            ("10.0.0.1:80", false, "\r\nHost: 10.0.0.1\r\n"),
            ("10.0.0.1:443", true, "\r\nHost: 10.0.0.1\r\n"),
            ("10.0.0.1:80", true, "\r\nHost: 10.0.0.1:80\r\n"),
            ("10.0.0.1:8080", false, "\r\nHost: 10.0.0.1:8080\r\n"),
            ("[fd00::1]:80", false, "\r\nHost: [fd00::1]:80\r\n"),
        ] {
            let request = request(&ask, &Address::Tcp(addr.parse().unwrap()), tls);
            assert!(request.starts_with("GET /up?x HTTP/1.1\r\n"), "{request}");
            assert!(request.contains(line) && request.ends_with("\r\n\r\n"));
        }
        ask.host = Some("a.test".into());
        let request = request(&ask, &Address::Tcp(([10, 0, 0, 1], 80).into()), false);
        assert!(request.contains("\r\nHost: a.test\r\n"));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            head in "(HTTP/1\\.[01] [0-9]{1,4} ?[a-z]{0,5}(\r\n){0,2}){0,3}",
        ) {
            let all = [head.as_bytes(), &bytes].concat();
            // A longer prefix never takes back what a shorter one has said.
            let mut said = None;
            for end in 0..=all.len() {
                match find_status(&all[..end]) {
                    Found::More => prop_assert!(said.is_none()),
                    found => prop_assert!(*said.get_or_insert(found) == found),
                }
            }
        }
    }
}
