//! The least server that certificates can be issued to: answers HTTP-01 on one port, TLS-ALPN-01 and
//! handshakes on another.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, client};
use wharf::model::HostPattern;
use wharf::tls::{Certs, Preference};

/// Runs until dropped.
pub(crate) struct Responder {
    _tasks: JoinSet<()>,
}

/// The listeners of a [`Responder`], bound before the certificates exist; a clone is for the next one.
#[derive(Clone)]
pub(crate) struct Ports {
    pub(crate) http: Arc<TcpListener>,
    pub(crate) tls: Arc<TcpListener>,
}

impl Ports {
    pub(crate) async fn bind() -> Self {
        Self {
            http: TcpListener::bind("127.0.0.1:0").await.unwrap().into(),
            tls: TcpListener::bind("127.0.0.1:0").await.unwrap().into(),
        }
    }

    pub(crate) fn http_port(&self) -> u16 {
        self.http.local_addr().unwrap().port()
    }

    pub(crate) fn tls_port(&self) -> u16 {
        self.tls.local_addr().unwrap().port()
    }
}

impl Responder {
    pub(crate) fn start(ports: Ports, certs: &Certs) -> Self {
        let mut tasks = JoinSet::new();
        let (for_http, for_tls) = (certs.clone(), certs.clone());
        tasks.spawn(async move {
            loop {
                let (tcp, _) = ports.http.accept().await.unwrap();
                tokio::spawn(answer_http(tcp, for_http.clone()));
            }
        });
        tasks.spawn(async move {
            loop {
                let (tcp, _) = ports.tls.accept().await.unwrap();
                tokio::spawn(answer_tls(tcp, for_tls.clone()));
            }
        });
        Self { _tasks: tasks }
    }
}

async fn answer_http(mut tcp: TcpStream, certs: Certs) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = tcp.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let host = head
        .lines()
        .find_map(|line| line.strip_prefix("Host: "))
        .unwrap();
    let host = host.split(':').next().unwrap();
    let token = path
        .strip_prefix("/.well-known/acme-challenge/")
        .unwrap_or("");
    let answer = match certs.current().challenge_answer(host, token) {
        Some(body) => format!(
            "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
        None => "HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
    };
    let _ = tcp.write_all(answer.as_bytes()).await;
}

async fn answer_tls(tcp: TcpStream, certs: Certs) {
    let Ok(start) = LazyConfigAcceptor::new(Acceptor::default(), tcp).await else {
        return;
    };
    let hello = start.client_hello();
    let sni = hello.server_name().unwrap_or_default().to_owned();
    let challenge = hello
        .alpn()
        .is_some_and(|mut alpn| alpn.next() == Some(b"acme-tls/1"));
    let config = if challenge {
        certs.current().alpn_challenge(&sni).cloned()
    } else {
        let pattern = HostPattern::parse(&sni).unwrap();
        let served = certs.obtain(&pattern).await.ok();
        served.and_then(|served| served.config(Preference::Aes))
    };
    let Some(config) = config else { return };
    if let Ok(mut stream) = start.into_stream(config).await {
        let _ = stream.shutdown().await;
    }
}

/// A client as browsers are: post-quantum key exchange first.
pub(crate) fn client_config(roots: rustls::RootCertStore) -> rustls::ClientConfig {
    use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
    // The first is the one a client sends a key share for, as browsers do.
    let provider = Arc::new(rustls::crypto::CryptoProvider {
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
        ..default_provider()
    });
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A handshake with `host` at `port` that trusts only `root`.
pub(crate) async fn handshake(
    host: &str,
    port: u16,
    root: &str,
) -> std::io::Result<client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(root.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let mut config = client_config(roots);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}
