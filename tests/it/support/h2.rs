//! An HTTP/2 client that shows frames' effects: resets by reason, fields as they are sent. Its
//! connection runs on a thread of its own, so that tests stay blocking and in order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ::h2::client::{ResponseFuture, SendRequest};
use ::h2::{Reason, RecvStream, SendStream};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;

use super::peer::{LIMIT, tls_config};

/// One connection.
pub(crate) struct H2 {
    background: Background,
    sender: SendRequest<Bytes>,
    /// How the connection ended, once it has.
    ended: tokio::task::JoinHandle<Result<(), ::h2::Error>>,
}

/// A response read to its end.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl H2 {
    /// With prior knowledge, on the plain listener.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let background = Background::start();
        let tcp = background.block_on(TcpStream::connect(address)).unwrap();
        tcp.set_nodelay(true).unwrap();
        Self::over(background, tcp)
    }

    pub(crate) fn connect_tls(address: SocketAddr, name: &str, data: &Path) -> Self {
        let background = Background::start();
        let mut config = tls_config(data);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tls = background.block_on(async {
            let tcp = TcpStream::connect(address).await.unwrap();
            tcp.set_nodelay(true).unwrap();
            let name = ServerName::try_from(name.to_owned()).unwrap();
            let connector = TlsConnector::from(Arc::new(config));
            connector.connect(name, tcp).await.unwrap()
        });
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::over(background, tls)
    }

    fn over(
        background: Background,
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        let (sender, connection) = background.block_on(::h2::client::handshake(io)).unwrap();
        let ended = background.handle.spawn(connection);
        Self {
            background,
            sender,
            ended,
        }
    }

    /// Starts a request; `last` when it has no body.
    pub(crate) fn send(
        &self,
        request: Request<()>,
        last: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        self.try_send(request, last).unwrap()
    }

    fn try_send(
        &self,
        request: Request<()>,
        last: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), ::h2::Error> {
        let sender = self.sender.clone();
        let mut sender = self.wait(sender.ready())?;
        sender.send_request(request, last)
    }

    /// `GET url` with these fields, read to its end or to its reset.
    pub(crate) fn get(&self, url: &str, fields: &[(&str, &str)]) -> Result<Whole, ::h2::Error> {
        let request = Request::get(url);
        let request = (fields.iter()).fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let (response, _) = self.try_send(request.body(()).unwrap(), true)?;
        let response = self.wait(response)?;
        self.whole(response)
    }

    pub(crate) fn whole(&self, response: Response<RecvStream>) -> Result<Whole, ::h2::Error> {
        let (head, mut stream) = response.into_parts();
        self.wait(async {
            let mut body = Vec::new();
            while let Some(data) = stream.data().await {
                let data = data?;
                stream.flow_control().release_capacity(data.len())?;
                body.extend(data);
            }
            Ok(Whole {
                status: head.status.as_u16(),
                headers: head.headers,
                body,
                trailers: stream.trailers().await?,
            })
        })
    }

    /// Sends a request and leaves its stream open; the response read to its end.
    pub(crate) fn ask(&self, request: Request<()>) -> Whole {
        let (response, _open) = self.send(request, false);
        let response = self.wait(response).unwrap();
        self.whole(response).unwrap()
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.background.block_on(future)
    }

    /// Waits for the end of the connection: `None` after GOAWAY without an error.
    pub(crate) fn ended(mut self) -> Option<Reason> {
        drop(self.sender);
        let ended = self.background.block_on(&mut self.ended).unwrap();
        ended.err().and_then(|error| error.reason())
    }
}

impl Whole {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Runs what is spawned on it on a thread of its own, until dropped.
struct Background {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl Background {
    fn start() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        std::thread::spawn(move || runtime.block_on(stopped));
        Self {
            handle,
            _stop: stop,
        }
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let limited = async { tokio::time::timeout(LIMIT, future).await };
        self.handle.block_on(limited).expect("in time")
    }
}
