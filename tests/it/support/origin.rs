//! Upstreams on loopback: one that a test scripts byte by byte, one that answers by itself, one
//! that never accepts.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::peer::{LIMIT, Message, Peer};
// For an app that has to be told its port.
pub(crate) use super::pebble::free_port;

/// An upstream that does nothing by itself: the test accepts each connection and is its far end.
pub(crate) struct Origin {
    listener: TcpListener,
}

impl Origin {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener }
    }

    /// Whose connections take little that nobody reads.
    pub(crate) fn narrow() -> Self {
        let origin = Self::new();
        // Accepted sockets have it from their listener.
        SockRef::from(&origin.listener)
            .set_recv_buffer_size(4096)
            .unwrap();
        origin
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> Peer {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(peer) = self.accepted() {
                return peer;
            }
            assert!(Instant::now() < deadline, "no connection");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A connection that is there already.
    pub(crate) fn accepted(&self) -> Option<Peer> {
        let (tcp, _) = self.listener.accept().ok()?;
        tcp.set_nonblocking(false).unwrap();
        Some(Peer::of(tcp))
    }

    /// Accepts, reads a request and gives `answer`.
    pub(crate) fn answer(&self, answer: &str) -> (Peer, Message) {
        let mut peer = self.accept();
        let request = peer.message();
        peer.send(answer);
        (peer, request)
    }
}

/// An upstream that answers every request on every connection, until dropped.
pub(crate) struct Served {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    listening: Option<std::thread::JoinHandle<()>>,
}

impl Served {
    /// `answer` gets the whole request and gives the bytes of the response.
    pub(crate) fn by(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), answer)
    }

    /// The same on a listener of the caller's.
    pub(crate) fn on(
        listener: TcpListener,
        answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let mut served = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            stopping: Arc::default(),
            listening: None,
        };
        let (connections, stopping) = (served.connections.clone(), served.stopping.clone());
        let answer = Arc::new(answer);
        let listening = std::thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                connections.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                // Ends by panic when Wharf closes the connection; nobody listens.
                std::thread::spawn(move || serve(tcp, &*answer));
            }
        });
        served.listening = Some(listening);
        served
    }

    /// Answers with `body`.
    pub(crate) fn text(body: &'static str) -> Self {
        Self::by(move |_| ok(body))
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        // From here on its port is refused.
        let _ = self.listening.take().map(std::thread::JoinHandle::join);
    }
}

fn serve(tcp: TcpStream, answer: &(dyn Fn(&Message) -> Vec<u8> + Send + Sync)) {
    let mut peer = Peer::of(tcp);
    // An app waits for as long as its response is taken slowly.
    peer.tcp().set_write_timeout(None).unwrap();
    while peer.is_open() {
        let request = peer.message();
        if peer.try_send(answer(&request)).is_err() {
            return;
        }
    }
}

/// A whole response with `body`.
pub(crate) fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A port that takes no further connection: its queue is full, so a connect hangs.
pub(crate) struct Full {
    socket: Socket,
    _queued: Vec<Socket>,
}

impl Full {
    pub(crate) fn new() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&any).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap();
        // The kernel holds one more than it was asked to.
        let queued = (0..3).map(|_| {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            let _ = client.connect(&address);
            client
        });
        Self {
            _queued: queued.collect(),
            socket,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        let address = self.socket.local_addr().unwrap();
        address.as_socket().unwrap().port()
    }
}

/// A port nobody listens on.
pub(crate) fn refused_port() -> u16 {
    // Bound and never listening: connects are refused, and nobody else gets the port while the tests run.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    std::mem::forget(socket);
    port
}
