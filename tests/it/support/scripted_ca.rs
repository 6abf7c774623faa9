//! An ACME endpoint that has a directory and nonces, and answers everything else as scripted.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Runs until dropped.
pub(crate) struct ScriptedCa {
    files: tempfile::TempDir,
    port: u16,
    posts: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl ScriptedCa {
    /// `answer` is the whole HTTP response to any POST.
    pub(crate) async fn start(answer: Vec<u8>) -> Self {
        let files = tempfile::tempdir().unwrap();
        super::pebble::write_listener_certificate(files.path());
        let chain = vec![CertificateDer::from_pem_file(files.path().join("leaf.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(files.path().join("leaf.key")).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = rustls::ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let posts = Arc::new(AtomicUsize::new(0));
        let (counter, answer) = (Arc::clone(&posts), Arc::new(answer));
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (tls, answer) = (tls.clone(), Arc::clone(&answer));
                tokio::spawn(serve(tls, tcp, port, answer, Arc::clone(&counter)));
            }
        });
        Self {
            files,
            port,
            posts,
            task,
        }
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    pub(crate) fn listener_root(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }

    pub(crate) fn posts(&self) -> usize {
        self.posts.load(Ordering::Relaxed)
    }
}

async fn serve(
    tls: TlsAcceptor,
    tcp: TcpStream,
    port: u16,
    answer: Arc<Vec<u8>>,
    posts: Arc<AtomicUsize>,
) {
    let Ok(stream) = tls.accept(tcp).await else {
        return;
    };
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (Vec::new(), 0);
        while !head.ends_with(b"\r\n\r\n") {
            let start = head.len();
            if stream.read_until(b'\n', &mut head).await.unwrap_or(0) == 0 {
                return;
            }
            let line = String::from_utf8_lossy(&head[start..]).to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        let written = if head.starts_with(b"POST") {
            posts.fetch_add(1, Ordering::Relaxed);
            stream.write_all(&answer).await
        } else {
            let base = format!("https://localhost:{port}");
            let body = format!(
                r#"{{"newNonce":"{base}/nonce","newAccount":"{base}/account","newOrder":"{base}/order"}}"#
            );
            let body = if head.starts_with(b"GET") { &body } else { "" };
            let head = format!(
                "HTTP/1.1 200 OK\r\nReplay-Nonce: bm9uY2U\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(head.as_bytes()).await
        };
        if written.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

impl Drop for ScriptedCa {
    fn drop(&mut self) {
        self.task.abort();
    }
}
