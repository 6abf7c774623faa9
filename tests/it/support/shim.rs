//! An ACME server in front of Pebble that hands everything on, but for what a test wants answered in
//! another way: limits, breakdowns, lost answers, and what Pebble 2.4 does not know, renewal
//! information (RFC 9773), profiles and DNS-PERSIST-01.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::pebble::Pebble;

/// Runs until dropped.
pub(crate) struct Shim {
    files: tempfile::TempDir,
    port: u16,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// What happens to a request instead of being handed on.
#[derive(Clone)]
pub(crate) enum Instead {
    /// This whole HTTP response.
    Answer(Vec<u8>),
    /// The connection is reset before the request is handed on.
    Reset,
    /// The connection is reset after it was.
    Lost,
    /// Nothing, for ever; the test is told.
    Silence(Arc<Notify>),
}

struct State {
    port: u16,
    pebble: u16,
    connector: TlsConnector,
    rules: Mutex<Vec<(String, usize, Instead)>>,
    /// Method and path of every request, and what orders asked for.
    seen: Mutex<Vec<String>>,
    orders: Mutex<Vec<Value>>,
    /// The renewal window that is told of any certificate, in Unix seconds, and Retry-After.
    window: Mutex<Option<(i64, i64, u64)>>,
    profiles: Mutex<Vec<String>>,
    /// What it calls itself in DNS records; whether its directory says so, too.
    issuers: Mutex<(Vec<String>, bool)>,
    /// Seconds its clock is ahead.
    ahead: AtomicI64,
}

impl Shim {
    pub(crate) async fn start(pebble: &Pebble) -> Self {
        let files = tempfile::tempdir().unwrap();
        super::pebble::write_listener_certificate(files.path());
        let chain = vec![CertificateDer::from_pem_file(files.path().join("leaf.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(files.path().join("leaf.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        let root = CertificateDer::from_pem_file(pebble.listener_root()).unwrap();
        roots.add(root).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            port,
            pebble: pebble.port(),
            connector: Arc::new(super::responder::client_config(roots)).into(),
            rules: Mutex::default(),
            seen: Mutex::default(),
            orders: Mutex::default(),
            window: Mutex::default(),
            profiles: Mutex::default(),
            issuers: Mutex::default(),
            ahead: AtomicI64::default(),
        });
        let tls = TlsAcceptor::from(Arc::new(config));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(tls.clone(), tcp, Arc::clone(&shared)));
            }
        });
        Self {
            files,
            port,
            state,
            task,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    pub(crate) fn listener_root(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }

    /// The next `times` requests whose `METHOD /path` begins so get something else.
    pub(crate) fn instead(&self, request: &str, times: usize, what: Instead) {
        let mut rules = self.state.rules.lock().unwrap();
        rules.push((request.into(), times, what));
    }

    /// The next `times` such requests get this answer.
    pub(crate) fn answer(&self, request: &str, times: usize, head: &str, body: &str) {
        let length = body.len();
        let nonce = "Replay-Nonce: bm9uY2U";
        let text = format!("HTTP/1.1 {head}\r\n{nonce}\r\nContent-Length: {length}\r\n\r\n{body}");
        self.instead(request, times, Instead::Answer(text.into_bytes()));
    }

    /// Offers renewal information from now on: begin and end of the window for any certificate, in Unix
    /// seconds, and when to ask again, in seconds.
    pub(crate) fn window(&self, start: i64, end: i64, again: u64) {
        *self.state.window.lock().unwrap() = Some((start, end, again));
    }

    pub(crate) fn profiles(&self, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned());
        *self.state.profiles.lock().unwrap() = names.collect();
    }

    /// Offers DNS-PERSIST-01 from now on, beside what Pebble offers, which does the validation. It calls
    /// itself by these names, in the directory, too, if asked to.
    pub(crate) fn persist(&self, issuers: &[&str], in_directory: bool) {
        let issuers = issuers.iter().map(|name| (*name).to_owned());
        *self.state.issuers.lock().unwrap() = (issuers.collect(), in_directory);
    }

    /// Tells a time that many seconds ahead of this machine's from now on.
    pub(crate) fn set_clock(&self, ahead: i64) {
        self.state.ahead.store(ahead, Ordering::Relaxed);
    }

    /// Requests so far whose `METHOD /path` begins so.
    pub(crate) fn seen(&self, request: &str) -> usize {
        let seen = self.state.seen.lock().unwrap();
        seen.iter().filter(|one| one.starts_with(request)).count()
    }

    /// Payloads of the orders that were asked for.
    pub(crate) fn orders(&self) -> Vec<Value> {
        self.state.orders.lock().unwrap().clone()
    }
}

impl State {
    fn rule(&self, request: &str) -> Option<Instead> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules
            .iter_mut()
            .find(|(begin, times, _)| *times > 0 && request.starts_with(begin.as_str()))?;
        rule.1 -= 1;
        Some(rule.2.clone())
    }

    /// Asks Pebble. Over HTTP/1.0, so that the end of the answer is the end of the connection.
    async fn hand_on(&self, request: &str, body: &[u8]) -> (String, Vec<u8>) {
        let tcp = TcpStream::connect(("127.0.0.1", self.pebble))
            .await
            .unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = self.connector.connect(name, tcp).await.unwrap();
        let head = format!(
            "{request} HTTP/1.0\r\nHost: localhost:{}\r\nUser-Agent: shim\r\n\
             Content-Type: application/jose+json\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        tls.write_all(head.as_bytes()).await.unwrap();
        tls.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        // Go ends HTTP/1.0 connections without close_notify.
        let _ = tls.read_to_end(&mut answer).await;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let body = answer.split_off(end.unwrap() + 4);
        let head = String::from_utf8(answer).unwrap();
        let lines = head.lines().filter(|line| {
            let line = line.to_ascii_lowercase();
            !line.is_empty()
                && !line.starts_with("content-length:")
                && !line.starts_with("connection:")
                && !line.starts_with("date:")
        });
        let date = format!("Date: {}", self.date());
        let head: Vec<_> = lines.chain([date.as_str()]).collect();
        (head.join("\r\n").replacen("HTTP/1.0", "HTTP/1.1", 1), body)
    }

    fn date(&self) -> String {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let apart = Duration::from_secs(ahead.unsigned_abs());
        let now = SystemTime::now();
        httpdate::fmt_http_date(if ahead < 0 { now - apart } else { now + apart })
    }

    /// What Pebble's answer lacks.
    fn improve(&self, request: &str, asked: &[u8], head: &str, body: Vec<u8>) -> Vec<u8> {
        let Ok(Value::Object(mut object)) = serde_json::from_slice(&body) else {
            return body;
        };
        if request == "GET /dir" {
            if self.window.lock().unwrap().is_some() {
                let url = format!("https://localhost:{}/ari", self.port);
                object.insert("renewalInfo".into(), url.into());
            }
            let profiles = self.profiles.lock().unwrap();
            let profiles = profiles
                .iter()
                .map(|name| (name.clone(), "of a test".into()));
            object["meta"]["profiles"] = Value::Object(profiles.collect());
            let issuers = self.issuers.lock().unwrap();
            if issuers.1 {
                object["meta"]["caaIdentities"] = issuers.0.clone().into();
            }
        }
        let (issuers, _) = self.issuers.lock().unwrap().clone();
        if let (Some(Value::Array(challenges)), false) =
            (object.get_mut("challenges"), issuers.is_empty())
        {
            let mut challenge = challenges[0].clone();
            challenge["type"] = "dns-persist-01".into();
            challenge["issuer-domain-names"] = issuers.into();
            challenge.as_object_mut().unwrap().remove("token");
            challenges.push(challenge);
        }
        if request == "POST /order-plz" && head.contains(" 201 ") {
            let jws: Value = serde_json::from_slice(asked).unwrap();
            let payload = jws["payload"].as_str().unwrap();
            let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
            let payload: Value = serde_json::from_slice(&payload).unwrap();
            for field in ["replaces", "profile"] {
                if let Some(value) = payload.get(field) {
                    object.insert(field.into(), value.clone());
                }
            }
            self.orders.lock().unwrap().push(payload);
        }
        Value::Object(object).to_string().into_bytes()
    }

    /// RFC 9773 section 4.2.
    fn renewal_info(&self) -> Vec<u8> {
        let (start, end, again) = self.window.lock().unwrap().unwrap();
        let time = |unix: i64| {
            let mut date = std::process::Command::new("date");
            let date = date.args(["-u", "+%FT%TZ", "-d", &format!("@{unix}")]);
            let text = String::from_utf8(date.output().unwrap().stdout).unwrap();
            text.trim().to_owned()
        };
        let body = json!({
            "suggestedWindow": { "start": time(start), "end": time(end) },
            "explanationURL": "https://ca.example/why",
        });
        let body = body.to_string();
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nRetry-After: {again}\r\nContent-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    }
}

async fn serve(tls: TlsAcceptor, tcp: TcpStream, state: Arc<State>) {
    tcp.set_nodelay(true).unwrap();
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
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let head = String::from_utf8(head).unwrap();
        let request = head.lines().next().unwrap();
        let request = request.trim_end_matches(" HTTP/1.1").to_owned();
        state.seen.lock().unwrap().push(request.clone());
        let answer = match state.rule(&request) {
            Some(Instead::Answer(answer)) => answer,
            Some(Instead::Reset) => return reset(&stream),
            Some(Instead::Lost) => {
                state.hand_on(&request, &body).await;
                return reset(&stream);
            }
            Some(Instead::Silence(told)) => {
                told.notify_one();
                return std::future::pending().await;
            }
            None if request.starts_with("GET /ari/") => state.renewal_info(),
            None => {
                let (head, answer) = state.hand_on(&request, &body).await;
                let answer = state.improve(&request, &body, &head, answer);
                let head = format!("{head}\r\nContent-Length: {}\r\n\r\n", answer.len());
                [head.into_bytes(), answer].concat()
            }
        };
        if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// The connection ends with a reset when the stream is dropped.
fn reset(stream: &BufReader<tokio_rustls::server::TlsStream<TcpStream>>) {
    let tcp = stream.get_ref().get_ref().0;
    let _ = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.task.abort();
    }
}
