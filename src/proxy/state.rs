//! What the parts of one client connection share: who it is, and until when it has to do something.

use std::cell::{Cell, OnceCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::CipherSuite;

use super::clock::Timer;
use super::headers;
use super::pace::{Pace, Verdict};
use super::stream::ClientStream;
use crate::tls::Policy;

/// What the parts of one client connection share.
pub(crate) struct ConnState {
    /// Canonical: never an IPv4-mapped IPv6 address.
    pub(crate) peer: SocketAddr,
    /// `https` behind TLS.
    pub(crate) tls: bool,
    /// The name of the TLS handshake, canonical.
    pub(crate) sni: Option<Box<str>>,
    /// What else the handshake came to, where its host has rules of its own.
    pub(crate) ruled: Option<Box<Ruled>>,
    /// TLS 1.3 is spoken.
    pub(crate) tls13: bool,
    /// Of a connection over TLS.
    pub(crate) cipher: Option<CipherSuite>,
    /// See [`headers::Origin::lines`].
    lines: OnceCell<Box<[u8]>>,
    timer: Timer,
    /// A request head must be complete this long after its first byte.
    head_timeout: Duration,
    protocol: Protocol,
    /// Requests whose response has not ended.
    open: Cell<u32>,
    /// Whether bytes of the next request head have come.
    reading_head: Cell<bool>,
    /// Whether the last write found the socket full.
    stalled: Cell<bool>,
    /// How fast the client has to take the answer under way, on HTTP/1.
    pace: Pace,
    /// Whether the kernel tells of each piece that the client takes.
    told: Cell<bool>,
    /// Bytes of answers on HTTP/2, of all streams.
    sent: Cell<u64>,
    /// As of the last look at [`ClientStream::sent`].
    seen: Cell<u64>,
}

/// What a TLS handshake came to.
#[derive(Default)]
pub(crate) struct Security {
    pub(crate) sni: Option<Box<str>>,
    pub(crate) ruled: Option<Box<Ruled>>,
    pub(crate) tls13: bool,
    pub(crate) cipher: Option<CipherSuite>,
}

/// A connection that was made by the rules of a host.
pub(crate) struct Ruled {
    pub(crate) policy: Arc<Policy>,
    /// The client has shown a certificate that its authority has signed.
    pub(crate) certified: bool,
    /// See [`headers::Origin::certificate`].
    pub(crate) lines: Box<[u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl ConnState {
    /// A connection just accepted: its first request head is due within `head_timeout`.
    pub(crate) fn new(
        peer: SocketAddr,
        security: Option<Security>,
        timer: Timer,
        head_timeout: Duration,
        protocol: Protocol,
    ) -> Rc<Self> {
        timer.arm(head_timeout);
        let tls = security.is_some();
        let Security {
            sni,
            ruled,
            tls13,
            cipher,
        } = security.unwrap_or_default();
        Rc::new(Self {
            peer,
            tls,
            sni,
            ruled,
            tls13,
            cipher,
            lines: OnceCell::new(),
            timer,
            head_timeout,
            protocol,
            open: Cell::new(0),
            // HTTP/2 has no head to be in the middle of: a client that asks nothing is idle.
            reading_head: Cell::new(protocol == Protocol::Http1),
            stalled: Cell::new(false),
            pace: Pace::new(0),
            told: Cell::new(false),
            sent: Cell::new(0),
            seen: Cell::new(0),
        })
    }

    /// What upstreams are told of a stranger's connection.
    pub(crate) fn lines(&self) -> &[u8] {
        let scheme = if self.tls { "https" } else { "http" };
        self.lines
            .get_or_init(|| headers::lines_of(self.peer.ip(), scheme))
    }

    /// What an app that asks for certificates is told of the client's.
    pub(crate) fn certificate(&self) -> &[u8] {
        let ruled = self.ruled.as_ref();
        ruled.map_or(b"x-ssl-client-verify: NONE\r\n", |ruled| &ruled.lines)
    }

    pub(crate) fn timer(&self) -> &Timer {
        &self.timer
    }

    /// Whether nothing is under way and nothing of a next request has come.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.get() == 0 && !self.reading_head.get()
    }

    /// A request head has been read.
    pub(crate) fn request_began(&self) {
        self.open.set(self.open.get() + 1);
        self.reading_head.set(false);
        self.rearm();
    }

    /// Its response has ended, one way or another.
    pub(crate) fn request_ended(&self) {
        self.open.set(self.open.get().saturating_sub(1));
        self.rearm();
    }

    fn rearm(&self) {
        if self.stalled.get() {
            // Armed when the socket filled up; other requests do not give a slow reader more time.
        } else if self.open.get() > 0 {
            self.timer.disarm();
        } else if self.reading_head.get() {
            self.timer.arm(self.head_timeout);
        } else {
            self.timer.arm(IDLE_TIMEOUT);
        }
    }

    /// Bytes have come from the client.
    pub(crate) fn bytes_came(&self) {
        if self.protocol == Protocol::Http1 && self.is_idle() {
            self.reading_head.set(true);
            self.rearm();
        }
    }

    /// An answer begins of which the client has to take so many bytes in a second. Whether its socket has to be
    /// told, so that its taking shows.
    pub(crate) fn paces(&self, rate: u64) -> bool {
        if self.pace.rate() != rate {
            self.pace.restart(rate);
        }
        rate > 0 && !self.told.replace(true)
    }

    /// How much has been sent of all streams' answers.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.get()
    }

    pub(crate) fn count_sent(&self, bytes: usize) {
        self.sent.set(self.sent.get().wrapping_add(bytes as u64));
    }

    /// Whether the client has taken nothing, or too little, for too long.
    pub(crate) fn is_over(&self) -> bool {
        let now = self.timer.now();
        if !self.pace.is_on() || !self.stalled.get() {
            return self.timer.has_fired();
        }
        self.pace.is_slow(now)
            || self.timer.has_fired()
                && !matches!(
                    self.pace.judge(&self.timer, WRITE_TIMEOUT),
                    Some(Verdict::Goes)
                )
    }

    /// Bytes were written to the client or flushed, or could not be: its socket is full.
    pub(crate) fn wrote(&self, stream: &ClientStream, written: Option<usize>) {
        let Some(sent) = stream.sent() else {
            return self.moved(written);
        };
        // What TLS has accepted may all be waiting in it, and some of it has gone out where it could accept no more.
        let count = sent.wrapping_sub(self.seen.replace(sent));
        if count > 0 {
            self.moved(Some(usize::try_from(count).unwrap_or(usize::MAX)));
        }
        if written.is_none() {
            self.moved(None);
        }
    }

    fn moved(&self, written: Option<usize>) {
        let progress = written.is_some();
        if self.pace.is_on()
            && let Some(count) = written
        {
            self.pace.moved(self.timer.now(), count);
        }
        // The first full socket starts the time, the next byte taken ends it.
        if progress == self.stalled.get() {
            self.stalled.set(!progress);
            if progress {
                self.rearm();
            } else {
                self.timer.arm(match self.pace.is_on() {
                    true => self.pace.wait(self.timer.now(), WRITE_TIMEOUT),
                    false => WRITE_TIMEOUT,
                });
            }
        }
    }
}

/// A connection without a request is closed after this (nginx `keepalive_timeout`).
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that takes no byte for this long is gone (nginx `send_timeout`).
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
