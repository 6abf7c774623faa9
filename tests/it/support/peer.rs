//! One end of a TCP or TLS connection, in bytes: a client of Wharf, or the upstream behind it. All
//! calls block, and fail the test after [`LIMIT`], so a test reads as the order of what happens.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use socket2::{Domain, SockRef, Socket, Type};

/// The near end; the far one is Wharf.
pub(crate) struct Peer {
    tcp: TcpStream,
    tls: Option<Box<rustls::ClientConnection>>,
    /// Received and not yet asked for.
    read: Vec<u8>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
}

/// A message with a body, as received.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// Up to and with the empty line.
    pub(crate) head: String,
    /// Without chunk framing.
    pub(crate) body: Vec<u8>,
    /// Trailer fields of a chunked body.
    pub(crate) trailers: String,
}

impl Peer {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect_timeout(&address, LIMIT).unwrap())
    }

    /// From an address of this machine, as 127.0.0.2 is.
    pub(crate) fn connect_from(from: IpAddr, address: SocketAddr) -> Self {
        Self::try_connect_from(from, address).unwrap()
    }

    /// The same, where the other side may reset it at once.
    pub(crate) fn try_connect_from(from: IpAddr, address: SocketAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
        socket.connect_timeout(&address.into(), LIMIT)?;
        Ok(Self::of(socket.into()))
    }

    pub(crate) fn of(tcp: TcpStream) -> Self {
        tcp.set_read_timeout(Some(LIMIT)).unwrap();
        tcp.set_write_timeout(Some(LIMIT)).unwrap();
        tcp.set_nodelay(true).unwrap();
        Self {
            tcp,
            tls: None,
            read: Vec::new(),
        }
    }

    /// A TLS connection for `name`, without ALPN. The error is the handshake's, such as an alert.
    pub(crate) fn connect_tls(
        address: SocketAddr,
        name: &str,
        data: &Path,
    ) -> Result<Self, rustls::Error> {
        Self::connect_with(address, name, Arc::new(tls_config(data)))
    }

    /// The same by the rules of `config`.
    pub(crate) fn connect_with(
        address: SocketAddr,
        name: &str,
        config: Arc<rustls::ClientConfig>,
    ) -> Result<Self, rustls::Error> {
        let mut peer = Self::connect(address);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut tls = rustls::ClientConnection::new(config, name)?;
        while tls.is_handshaking() {
            if let Err(error) = tls.complete_io(&mut peer.tcp) {
                return Err(error.downcast().expect("TLS fails, TCP does not"));
            }
        }
        peer.tls = Some(Box::new(tls));
        Ok(peer)
    }

    /// The other side's certificate, and what else the handshake came to.
    pub(crate) fn session(&self) -> &rustls::ClientConnection {
        self.tls.as_ref().expect("a TLS connection")
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).unwrap();
        self
    }

    /// Writes what the other side still takes.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.tcp).write_all(bytes.as_ref()),
            None => self.tcp.write_all(bytes.as_ref()),
        }
    }

    /// Waits for the first bytes, which may be an alert: that is the error.
    pub(crate) fn refusal(&mut self) -> Result<(), String> {
        let mut bytes = [0; 16 * 1024];
        let tls = self.tls.as_mut().expect("a TLS connection");
        match rustls::Stream::new(&mut **tls, &mut self.tcp).read(&mut bytes) {
            Ok(0) => Err("closed".into()),
            Ok(count) => {
                self.read.extend(&bytes[..count]);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Received bytes up to and with the first `end`.
    pub(crate) fn until(&mut self, end: &str) -> String {
        let end = end.as_bytes();
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|w| w == end) {
                let rest = self.read.split_off(at + end.len());
                let bytes = std::mem::replace(&mut self.read, rest);
                return String::from_utf8_lossy(&bytes).into_owned();
            }
            if let Some(how) = self.more() {
                let got = String::from_utf8_lossy(&self.read);
                let end = String::from_utf8_lossy(end);
                panic!("{how:?} instead of {end:?} after {got:?}");
            }
        }
    }

    pub(crate) fn head(&mut self) -> String {
        self.until("\r\n\r\n")
    }

    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            let end = self.more();
            assert!(end.is_none(), "{end:?} at {} of {count}", self.read.len());
        }
        let rest = self.read.split_off(count);
        std::mem::replace(&mut self.read, rest)
    }

    /// Takes so many bytes, or what comes before the end; how many.
    pub(crate) fn some(&mut self, count: usize) -> usize {
        while self.read.len() < count && self.more().is_none() {}
        let count = count.min(self.read.len());
        self.read.drain(..count);
        count
    }

    /// Waits for the first bytes or the end; whether there are any.
    pub(crate) fn speaks(&mut self) -> bool {
        while self.read.is_empty() && self.more().is_none() {}
        !self.read.is_empty()
    }

    /// One message; `Content-Length`, chunks or nothing, never delimited by the end.
    pub(crate) fn message(&mut self) -> Message {
        let head = self.head();
        let mut message = Message {
            head,
            body: Vec::new(),
            trailers: String::new(),
        };
        if message.field("transfer-encoding") == Some("chunked") {
            loop {
                let size = self.until("\r\n");
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                if size == 0 {
                    break;
                }
                message.body.extend(self.exactly(size));
                assert_eq!(self.until("\r\n"), "\r\n");
            }
            while !message.trailers.ends_with("\r\n\r\n") {
                message.trailers += &self.until("\r\n");
                if message.trailers == "\r\n" {
                    message.trailers.clear();
                    break;
                }
            }
        } else if let Some(length) = message.field("content-length") {
            message.body = self.exactly(length.parse().unwrap());
        }
        message
    }

    /// What comes until the connection ends, and how it does.
    pub(crate) fn rest(&mut self) -> (String, End) {
        loop {
            if let Some(end) = self.more() {
                let bytes = std::mem::take(&mut self.read);
                return (String::from_utf8_lossy(&bytes).into_owned(), end);
            }
        }
    }

    /// Waits for the end of the connection; nothing may come before it.
    pub(crate) fn ended(&mut self) -> End {
        let (rest, end) = self.rest();
        assert_eq!(rest, "", "bytes before the end");
        end
    }

    /// Sends what it has and an end; still reads.
    pub(crate) fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            tls.complete_io(&mut self.tcp).unwrap();
        }
        self.tcp.shutdown(Shutdown::Write).unwrap();
    }

    /// Ends with a reset, whatever is unread or unsent.
    pub(crate) fn reset(self) {
        SockRef::from(&self.tcp)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// Asserts that nothing has come and the connection is open. For what another event has
    /// proved to be over.
    pub(crate) fn is_silent(&mut self) {
        self.tcp.set_nonblocking(true).unwrap();
        let peeked = self.tcp.peek(&mut [0; 64]);
        self.tcp.set_nonblocking(false).unwrap();
        let kind = peeked.as_ref().err().map(std::io::Error::kind);
        assert_eq!(kind, Some(ErrorKind::WouldBlock), "{peeked:?}");
        assert_eq!(String::from_utf8_lossy(&self.read), "");
    }

    /// Whether the other side has ended it, so far as that is known here; nothing else may have come.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.tcp.set_nonblocking(true).unwrap();
        let peeked = self.tcp.peek(&mut [0; 64]);
        self.tcp.set_nonblocking(false).unwrap();
        match peeked {
            Ok(count) => {
                assert_eq!(count, 0, "bytes before the end");
                true
            }
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Whether there is anything to read before the end.
    pub(crate) fn is_open(&mut self) -> bool {
        !self.read.is_empty() || self.more().is_none()
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.tcp.local_addr().unwrap()
    }

    /// Reads once; how it ended if it did.
    fn more(&mut self) -> Option<End> {
        let mut bytes = [0; 16 * 1024];
        let read = match &mut self.tls {
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.tcp).read(&mut bytes),
            None => self.tcp.read(&mut bytes),
        };
        match read {
            Ok(0) => Some(End::Fin),
            Ok(count) => {
                self.read.extend(&bytes[..count]);
                None
            }
            Err(error) => match error.kind() {
                ErrorKind::ConnectionReset => Some(End::Reset),
                // TLS that ends without a word, which is what a cut is.
                ErrorKind::UnexpectedEof => Some(End::Reset),
                _ => panic!("{error} after {:?}", String::from_utf8_lossy(&self.read)),
            },
        }
    }
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        let status = self.head.split(' ').nth(1).unwrap();
        status.trim().parse().unwrap()
    }

    /// The values of a field, in order.
    pub(crate) fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// The value of a field that is there at most once.
    pub(crate) fn field<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut values = self.fields(name);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} twice in {}", self.head);
        value
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client that trusts the built-in CA of the Wharf with this data directory.
pub(crate) fn tls_config(data: &Path) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_file(data.join("ca/ca.crt")).unwrap();
    roots.add(root).unwrap();
    super::responder::client_config(roots)
}

/// For everything that is waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
