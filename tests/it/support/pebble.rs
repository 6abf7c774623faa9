//! A Pebble of our own: an ACME CA for tests, with its DNS, on free ports, stopped on drop.
//! Needs the Debian package `pebble`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

/// One CA. Made stopped, so that tests can begin with a CA that is down.
pub(crate) struct Pebble {
    files: tempfile::TempDir,
    port: u16,
    management: u16,
    dns: u16,
    /// Another name server than challtestsrv.
    names: Option<SocketAddr>,
    children: Vec<Child>,
    log: Arc<Mutex<String>>,
}

impl Pebble {
    /// Writes the files of a CA that validates at these ports of 127.0.0.1; starts nothing.
    pub(crate) fn prepare(http_port: u16, tls_port: u16) -> Self {
        Self::prepare_with(http_port, tls_port, 0)
    }

    /// As [`Pebble::prepare`]; certificates are valid for that many seconds, 0 is five years.
    pub(crate) fn prepare_with(http_port: u16, tls_port: u16, validity: u64) -> Self {
        let files = tempfile::tempdir().unwrap();
        let pebble = Self {
            port: free_port(),
            management: free_port(),
            dns: free_port(),
            names: None,
            files,
            children: Vec::new(),
            log: Arc::default(),
        };
        write_listener_certificate(pebble.files.path());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", pebble.port),
            "managementListenAddress": format!("127.0.0.1:{}", pebble.management),
            "certificate": pebble.path("leaf.pem"),
            "privateKey": pebble.path("leaf.key"),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "externalAccountBindingRequired": false,
            "domainBlocklist": ["blocked.example.com"],
            "certificateValidityPeriod": validity,
        }});
        fs::write(pebble.path("pebble.json"), config.to_string()).unwrap();
        pebble
    }

    /// Prepared and started.
    pub(crate) fn start(http_port: u16, tls_port: u16) -> Self {
        let mut pebble = Self::prepare(http_port, tls_port);
        pebble.run(&[]);
        pebble
    }

    /// Validates with what this name server says, instead of one that answers 127.0.0.1 for every name.
    pub(crate) fn ask(&mut self, server: SocketAddr) {
        self.names = Some(server);
    }

    /// Starts the CA; it has forgotten all earlier runs. `env` overrides or adds variables.
    pub(crate) fn run(&mut self, env: &[(&str, &str)]) {
        let dns = format!("127.0.0.1:{}", self.dns);
        let dns_management = free_port();
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]);
        names.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.args(["-dns01", &dns, "-management"]);
        names.arg(format!("127.0.0.1:{dns_management}"));
        names.stdout(Stdio::null()).stderr(Stdio::null());
        self.children.push(
            names
                .spawn()
                .expect("pebble-challtestsrv (Debian package pebble)"),
        );
        wait_for_port(dns_management);

        let mut ca = Command::new("pebble");
        ca.arg("-config").arg(self.path("pebble.json"));
        let dns = self.names.map_or(dns, |server| server.to_string());
        ca.args(["-dnsserver", &dns, "-strict"]);
        ca.env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "0");
        ca.envs(env.iter().copied());
        ca.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = ca.spawn().expect("pebble (Debian package pebble)");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        self.children.push(child);
        let log = Arc::clone(&self.log);
        let (ready, listening) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains("ACME directory available") {
                    let _ = ready.send(());
                }
                let mut log = log.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        listening
            .recv_timeout(PATIENCE)
            .expect("pebble did not start");
        wait_for_port(self.port);
        wait_for_port(self.management);
    }

    pub(crate) fn stop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.children.clear();
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// URL of the ACME directory.
    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// PEM file of the root the ACME endpoint itself is signed by.
    pub(crate) fn listener_root(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// PEM of the root of the certificates it issues; a new one at each start.
    pub(crate) fn issuing_root(&self) -> String {
        let ca = CertificateDer::from_pem_file(self.listener_root()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca).unwrap();
        let config = super::responder::client_config(roots);
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut tcp = TcpStream::connect(("127.0.0.1", self.management)).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
        stream
            .write_all(b"GET /roots/0 HTTP/1.0\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        // Go ends HTTP/1.0 connections without close_notify.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        answer[answer.find("-----BEGIN").unwrap()..].to_owned()
    }

    /// Orders made since the first start.
    pub(crate) fn orders(&self) -> usize {
        self.count("Added order ")
    }

    /// Accounts registered since the first start.
    pub(crate) fn accounts(&self) -> usize {
        self.count(" accounts in memory")
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    fn count(&self, needle: &str) -> usize {
        self.log.lock().unwrap().matches(needle).count()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            println!("--- pebble ---\n{}", self.log());
        }
    }
}

/// `ca.pem`, and signed by it `leaf.pem` with `leaf.key` for this machine.
pub(crate) fn write_listener_certificate(dir: &Path) {
    write_certificate(dir, &["localhost", "127.0.0.1", "::1"]);
}

/// The same for these names.
pub(crate) fn write_certificate(dir: &Path, names: &[&str]) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(dir.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &Issuer::new(ca, ca_key))
        .unwrap();
    fs::write(dir.join("leaf.pem"), leaf.pem()).unwrap();
    fs::write(dir.join("leaf.key"), key.serialize_pem()).unwrap();
}

/// A port of 127.0.0.1 for a program that cannot be given 0: free for TCP and UDP, and nobody else's
/// until this process ends.
///
/// It is none of those the kernel gives away itself, to whoever binds 0 or connects, and no other
/// test process takes it: each has blocks of ports of its own, by the lock of a file.
pub(crate) fn free_port() -> u16 {
    static BLOCKS: Mutex<Vec<(File, Range<u16>)>> = Mutex::new(Vec::new());
    let mut blocks = BLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let ports = blocks.last_mut().into_iter().flat_map(|(_, left)| left);
        if let Some(port) = { ports }.find(|port| is_free(*port)) {
            return port;
        }
        blocks.push(reserve_block());
    }
}

fn is_free(port: u16) -> bool {
    let address = ("127.0.0.1", port);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}

/// Ports no other test process has, for as long as the file is open.
fn reserve_block() -> (File, Range<u16>) {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let ends: Vec<u16> = range
        .split_whitespace()
        .map(|end| end.parse().unwrap())
        .collect();
    let below = PORT_LEAST.max(ends[0].saturating_sub(PORTS))..ends[0];
    let above = ends[1].saturating_add(1)..u16::MAX;
    for first in below
        .step_by(BLOCK.into())
        .chain(above.step_by(BLOCK.into()))
    {
        let path = std::env::temp_dir().join(format!("wharf-test-ports-{first}.lock"));
        // What cannot be opened is another user's.
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        if let Some(file) = file.ok().filter(|file| file.try_lock().is_ok()) {
            let end = if first < ends[0] { ends[0] } else { u16::MAX };
            return (file, first..first.saturating_add(BLOCK).min(end));
        }
    }
    panic!("no ports beside {ends:?}, which the kernel gives away");
}

fn wait_for_port(port: u16) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nothing listens on port {port}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
/// Ports one lock is for, and how many below the kernel's there are.
const BLOCK: u16 = 64;
const PORTS: u16 = 16_384;
const PORT_LEAST: u16 = 2_048;
