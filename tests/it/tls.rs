//! Certificates from Pebble: what works.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use wharf::model::{HostPattern, TlsMode};
use wharf::tls::{CaConfig, CertReport, CertState, Certs, CertsConfig, ObtainError, Wanted};

use crate::support::pebble::Pebble;
use crate::support::responder::{Ports, Responder, handshake};

/// Certificates with a running issuer, until dropped.
pub(crate) struct Running {
    pub(crate) certs: Certs,
    issuer: JoinHandle<()>,
}

impl Running {
    pub(crate) fn open(ca: &Pebble, data: Option<&Path>) -> Self {
        Self::open_with(config(ca, data))
    }

    pub(crate) fn open_with(config: CertsConfig) -> Self {
        let (certs, issuer) = Certs::open(config).unwrap();
        let issuer = tokio::spawn(issuer.run());
        Self { certs, issuer }
    }

    pub(crate) fn declare(&self, hosts: &[&str], mode: TlsMode) {
        let wanted = hosts.iter().map(|host| Wanted::new(pattern(host), mode));
        self.certs.declare(wanted.collect());
    }

    pub(crate) async fn obtain(&self, host: &str) -> Result<(), ObtainError> {
        self.certs.obtain(&pattern(host)).await.map(drop)
    }

    pub(crate) fn report(&self, host: &str) -> CertReport {
        let mut all = self.certs.report().into_iter();
        all.find(|line| line.host == pattern(host)).unwrap()
    }

    /// Looks until `done`, for at most `patience`.
    pub(crate) async fn until(
        &self,
        host: &str,
        patience: Duration,
        done: impl Fn(&CertReport) -> bool,
    ) {
        let deadline = Instant::now() + patience;
        while !done(&self.report(host)) {
            assert!(Instant::now() < deadline, "{:?}", self.report(host));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the issuer is gone, as at the end of a process.
    pub(crate) async fn close(mut self) {
        self.issuer.abort();
        let _ = (&mut self.issuer).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.issuer.abort();
    }
}

pub(crate) fn config(ca: &Pebble, data: Option<&Path>) -> CertsConfig {
    CertsConfig {
        data: data.map(Path::to_owned),
        own: None,
        ca_names: Vec::new(),
        cas: vec![authority(ca.directory(), &ca.listener_root())],
        http_01: true,
        email: Some("ops@example.com".into()),
        dns: Vec::new(),
        dns_resolvers: Vec::new(),
        dns_wait: CertsConfig::DNS_WAIT,
        hold: CertsConfig::HOLD,
    }
}

/// A private CA.
pub(crate) fn authority(directory: String, root: &Path) -> CaConfig {
    CaConfig {
        public: false,
        roots: vec![CertificateDer::from_pem_file(root).unwrap()],
        ..CaConfig::new(directory)
    }
}

pub(crate) fn pattern(host: &str) -> HostPattern {
    HostPattern::parse(host).unwrap()
}

#[tokio::test]
async fn the_first_handshake_gets_a_certificate_by_http_01() {
    let ports = Ports::bind().await;
    let tls = ports.tls_port();
    let ca = Pebble::start(ports.http_port(), tls);
    let data = tempfile::tempdir().unwrap();
    let running = Running::open(&ca, Some(data.path()));
    let _server = Responder::start(ports, &running.certs);
    running.declare(&["first.example.com", "second.example.com"], TlsMode::Auto);
    let root = ca.issuing_root();

    for host in [
        "first.example.com",
        "second.example.com",
        "second.example.com",
    ] {
        let started = Instant::now();
        let stream = handshake(host, tls, &root).await.unwrap();
        println!("{host}: handshake after {:?}", started.elapsed());
        let tls = stream.get_ref().1;
        assert_eq!(tls.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(
            tls.negotiated_cipher_suite().unwrap().suite(),
            rustls::CipherSuite::TLS13_AES_128_GCM_SHA256
        );
        assert_eq!(
            tls.negotiated_key_exchange_group().unwrap().name(),
            rustls::NamedGroup::X25519MLKEM768
        );
    }
    assert_eq!((ca.orders(), ca.accounts()), (2, 1));
    assert_eq!(running.report("first.example.com").state, CertState::Valid);
}

#[tokio::test]
async fn with_port_80_closed_tls_alpn_01_takes_over_and_is_remembered() {
    let ports = Ports::bind().await;
    let closed = crate::support::pebble::free_port();
    let tls = ports.tls_port();
    let ca = Pebble::start(closed, tls);
    let data = tempfile::tempdir().unwrap();
    let running = Running::open(&ca, Some(data.path()));
    let _server = Responder::start(ports, &running.certs);
    running.declare(&["alpn.example.com"], TlsMode::Auto);
    let root = ca.issuing_root();

    let started = Instant::now();
    handshake("alpn.example.com", tls, &root).await.unwrap();
    println!("by TLS-ALPN-01 after {:?}", started.elapsed());
    assert_eq!(ca.orders(), 2, "one for each challenge");

    let record = stored(data.path(), "alpn.example.com.json").await;
    assert!(record.contains("\"challenge\": \"tls-alpn-01\""));
}

#[tokio::test]
async fn a_hundred_first_handshakes_make_one_order() {
    let ports = Ports::bind().await;
    let tls = ports.tls_port();
    let ca = Pebble::start(ports.http_port(), tls);
    let running = Running::open(&ca, None);
    let _server = Responder::start(ports, &running.certs);
    running.declare(&["busy.example.com"], TlsMode::Auto);
    let root = ca.issuing_root();

    let clients = (0..100).map(|_| handshake("busy.example.com", tls, &root));
    for stream in futures_util::future::join_all(clients).await {
        stream.unwrap();
    }
    assert_eq!(ca.orders(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_cancel_the_order() {
    let ports = Ports::bind().await;
    let ca = Pebble::start(ports.http_port(), ports.tls_port());
    let running = Running::open(&ca, None);
    let _server = Responder::start(ports, &running.certs);
    running.declare(&["gone.example.com"], TlsMode::Auto);
    let name = pattern("gone.example.com");
    let left = tokio::time::timeout(Duration::from_millis(1), running.certs.obtain(&name)).await;
    assert!(left.is_err());
    let valid = |line: &CertReport| line.state == CertState::Valid;
    running
        .until("gone.example.com", Duration::from_secs(5), valid)
        .await;
    assert_eq!(ca.orders(), 1);
}

#[tokio::test]
async fn names_nobody_declares_are_never_ordered() {
    let ports = Ports::bind().await;
    let ca = Pebble::start(ports.http_port(), ports.tls_port());
    let running = Running::open(&ca, None);
    running.declare(&["mine.example.com"], TlsMode::Auto);
    assert_eq!(
        running.obtain("other.example.com").await,
        Err(ObtainError::Undeclared)
    );
    running.declare(&[], TlsMode::Auto);
    assert_eq!(
        running.obtain("mine.example.com").await,
        Err(ObtainError::Undeclared)
    );
    running.declare(&["*.example.com"], TlsMode::Eager);
    assert_eq!(
        running.obtain("*.example.com").await,
        Err(ObtainError::Wildcard)
    );
    assert_eq!((ca.orders(), ca.accounts()), (0, 0));
}

#[tokio::test]
async fn eager_names_are_ordered_without_a_request() {
    let ports = Ports::bind().await;
    let ca = Pebble::start(ports.http_port(), ports.tls_port());
    let running = Running::open(&ca, None);
    let _server = Responder::start(ports, &running.certs);
    let hosts = ["a.example.com", "b.example.com", "c.example.com"];
    running.declare(&hosts, TlsMode::Eager);
    let valid = |line: &CertReport| line.state == CertState::Valid;
    for host in hosts {
        running.until(host, Duration::from_secs(10), valid).await;
    }
    assert_eq!(ca.orders(), 3);
}

#[tokio::test]
async fn certificates_are_renewed_in_the_background() {
    let ports = Ports::bind().await;
    let mut ca = Pebble::prepare_with(ports.http_port(), ports.tls_port(), 12);
    ca.run(&[]);
    let running = Running::open(&ca, None);
    let _server = Responder::start(ports, &running.certs);
    running.declare(&["short.example.com"], TlsMode::Auto);
    running.obtain("short.example.com").await.unwrap();
    let first = running.report("short.example.com").not_after;
    let later = |line: &CertReport| line.not_after > first;
    running
        .until("short.example.com", Duration::from_secs(11), later)
        .await;
    assert_eq!(ca.orders(), 2);
}

#[tokio::test]
async fn local_names_come_from_the_built_in_ca() {
    let ports = Ports::bind().await;
    let tls = ports.tls_port();
    let ca = Pebble::start(ports.http_port(), tls);
    let running = Running::open(&ca, None);
    let _server = Responder::start(ports, &running.certs);
    running.declare(
        &["app.localhost", "127.0.0.1", "*.home.arpa", "default"],
        TlsMode::Auto,
    );
    let root = running.certs.local_root().to_owned();
    handshake("app.localhost", tls, &root).await.unwrap();
    for host in ["127.0.0.1", "*.home.arpa", "default"] {
        running.obtain(host).await.unwrap();
    }
    assert_eq!((ca.orders(), ca.accounts()), (0, 0));
}

/// The text of the file of that name somewhere under `dir`.
pub(crate) fn walk(dir: &Path, name: &str) -> String {
    let path = find(dir, name).unwrap_or_else(|| panic!("no {name} under {dir:?}"));
    std::fs::read_to_string(path).unwrap()
}

pub(crate) fn find(dir: &Path, name: &str) -> Option<std::path::PathBuf> {
    let mut entries = std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    entries.find_map(|path| match path.is_dir() {
        true => find(&path, name),
        false => (path.file_name()? == name).then_some(path),
    })
}

/// As [`walk`], once there is such a file and it tells of no order under way: certificates are written
/// after they are put into use.
pub(crate) async fn stored(dir: &Path, name: &str) -> String {
    stored_with(dir, name, |record| !record.contains(ORDER)).await
}

/// As [`stored`], once the CA was asked about the renewal, too: nothing more is written then.
pub(crate) async fn settled(dir: &Path, name: &str) -> String {
    let asked = |record: &str| {
        let record: serde_json::Value = serde_json::from_str(record).unwrap();
        record["ari"]["check_at"].as_u64() > Some(0)
    };
    stored_with(dir, name, |record| !record.contains(ORDER) && asked(record)).await
}

/// As [`walk`], once the file says what `done` wants.
pub(crate) async fn stored_with(dir: &Path, name: &str, done: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let path = find(dir, name);
        // Replaced whole: there is always one to read.
        let record = path.map(|path| std::fs::read_to_string(path).unwrap());
        if let Some(record) = record.filter(|record| done(record)) {
            return record;
        }
        assert!(Instant::now() < deadline, "no such {name} under {dir:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// In the URL of each order of Pebble.
pub(crate) const ORDER: &str = "/my-order/";
