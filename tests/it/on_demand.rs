//! `wharf.tls.ask`: names nobody lists, Pebble, and a real container that says which of them may have a
//! certificate.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use socket2::{Domain, Socket, Type};
use tokio::task::JoinHandle;
use wharf::model::{HostPattern, TlsMode};
use wharf::tls::{Answer, ObtainError, Preference, Wanted};

use crate::explain::explain;
use crate::support::curl::{self, curl};
use crate::support::docker::{APP_PORT, App, Container, unique};
use crate::support::eventually;
use crate::support::pebble::{Pebble, free_port};
use crate::support::responder::{Ports, Responder};
use crate::support::wharf::{Builder, Wharf};
use crate::tls::{Running, config, pattern, stored};

/// Wharf beside a CA. Its labels have a prefix of their own: a route for every name must not be one for
/// the other tests on this engine.
struct Stage {
    ca: Pebble,
    prefix: String,
    builder: Builder,
    data: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let (http, https) = (free_port(), free_port());
        let ca = Pebble::start(http, https);
        let prefix = unique("p");
        let builder = Builder::new()
            .env("WHARF_ACME", &ca.directory())
            .env("WHARF_ACME_ROOT", ca.listener_root().to_str().unwrap())
            .env("WHARF_HTTP", &format!("127.0.0.1:{http}"))
            .env("WHARF_HTTPS", &format!("127.0.0.1:{https}"))
            .env("WHARF_LABEL_PREFIX", &prefix);
        Self {
            ca,
            prefix,
            builder,
            data: tempfile::tempdir().unwrap(),
        }
    }

    fn start(&self) -> Wharf {
        self.builder.clone().data(self.data.path()).start()
    }

    fn app(&self, labels: &[(&str, &str)]) -> App {
        let app = App::new("asked");
        let labels = labels.iter();
        labels.fold(app, |app, (option, value)| {
            app.label(&format!("{}.{option}", self.prefix), value)
        })
    }

    /// An app for every name it says yes to.
    fn for_all(&self) -> Container {
        self.app(&[("host", "default"), ("tls.ask", "/ask")]).run()
    }
}

/// A name of this test alone, which the app says this to.
fn name(answer: &str) -> String {
    format!("{answer}{}.example.com", unique(""))
}

fn get(wharf: &Wharf, host: &str, root: &str) -> Result<curl::Answer, String> {
    let curl = curl(&format!("https://{host}/json"), wharf.https);
    curl.root(root).run()
}

fn wait_route(wharf: &Wharf, host: &str) {
    wharf.wait_status("the route", |status| {
        let routes = status["routes"].as_array().unwrap();
        routes.iter().any(|route| route["hosts"][0] == host)
    });
}

/// The names the app was asked about, by itself.
fn asked(app: &Container) -> Vec<String> {
    let address = app.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    let address: SocketAddr = format!("{address}:{APP_PORT}").parse().unwrap();
    let answer = curl("http://app/asked", address).run().unwrap();
    answer.text().lines().map(str::to_owned).collect()
}

fn metric(wharf: &Wharf, line: &str) -> bool {
    wharf.metrics().lines().any(|one| one == line)
}

#[test]
fn names_the_app_knows_get_a_certificate_each_and_others_none() {
    let stage = Stage::new();
    let wharf = stage.start();
    let root = stage.ca.issuing_root();
    let app = stage.for_all();
    wait_route(&wharf, "default");
    let (yes, no, fail) = (name("yes"), name("no"), name("fail"));

    for _ in 0..2 {
        let answer = get(&wharf, &yes, &root).unwrap();
        assert_eq!(answer.json()["hostname"], app.id[..12]);
        let refused = get(&wharf, &no, &root).unwrap_err();
        assert!(refused.contains("unrecognized name"), "{refused}");
        let failed = get(&wharf, &fail, &root).unwrap_err();
        assert!(failed.contains("internal error"), "{failed}");
    }
    assert_eq!(asked(&app), [&*yes, &no, &fail], "each once");
    let trouble = &wharf.status_json()["on_demand"]["trouble"];
    let trouble = trouble.as_str().unwrap();
    assert!(
        trouble.ends_with(&format!("answered 500 about {fail}")),
        "{trouble}"
    );
    assert_eq!(stage.ca.orders(), 1);
    let told = wharf.wait_log("may have no certificate");
    assert!(
        told.contains("404") && told.contains("no such customer"),
        "{told}"
    );
    let told = wharf.wait_log("neither yes nor no");
    assert!(
        told.contains("500") && told.contains("no database"),
        "{told}"
    );

    // Plain HTTP leads to HTTPS where that works, and nowhere else.
    let by_http = name("yes");
    let redirect = curl(&format!("http://{by_http}/"), wharf.http)
        .run()
        .unwrap();
    assert_eq!(redirect.status, 301);
    assert_eq!(get(&wharf, &by_http, &root).unwrap().status, 200);
    let unknown = curl(&format!("http://{no}/"), wharf.http).run().unwrap();
    assert_eq!(unknown.status, 404);
    assert_eq!(stage.ca.orders(), 2);

    let status = wharf.status_json();
    let on_demand = &status["on_demand"];
    assert_eq!(
        (&on_demand["yes"], &on_demand["no"]),
        (&2.into(), &1.into())
    );
    assert_eq!(
        (&on_demand["unknown"], &on_demand["open"]),
        (&1.into(), &0.into())
    );
    assert_eq!(on_demand["patterns"][0]["names"], 2);
    let text = wharf.status_text();
    assert!(
        text.contains("On demand") && text.contains("/ask of"),
        "{text}"
    );
    assert!(metric(
        &wharf,
        r#"wharf_certificate_questions_total{answer="yes"} 2"#
    ));
    let explained = explain(&wharf, &[&format!("https://{no}/")]).stdout;
    let explained = String::from_utf8(explained).unwrap();
    assert!(
        explained.contains("has said no to this name"),
        "{explained}"
    );

    // What the store has needs neither CA nor app.
    assert!(wharf.stop().success());
    let (before, wharf) = (asked(&app), stage.start());
    wait_route(&wharf, "default");
    assert_eq!(get(&wharf, &yes, &root).unwrap().status, 200);
    assert_eq!((asked(&app), stage.ca.orders()), (before, 2));
}

#[test]
fn many_who_come_for_a_new_name_make_one_question_and_one_order() {
    let stage = Stage::new();
    let wharf = stage.start();
    let root = stage.ca.issuing_root();
    let app = stage.for_all();
    wait_route(&wharf, "default");
    let yes = name("yes");
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| get(&wharf, &yes, &root).unwrap().status))
            .collect();
        for client in clients {
            assert_eq!(client.join().unwrap(), 200);
        }
    });
    assert_eq!((asked(&app).len(), stage.ca.orders()), (1, 1));
}

#[test]
fn an_app_that_is_being_replaced_is_asked_once_it_listens() {
    let stage = Stage::new();
    let wharf = stage.start();
    let root = stage.ca.issuing_root();
    let app = stage.app(&[("host", "default"), ("tls.ask", "/ask")]);
    let app = app.env("START_DELAY_MS", "700").run();
    wait_route(&wharf, "default");
    assert_eq!(get(&wharf, &name("yes"), &root).unwrap().status, 200);
    assert_eq!(asked(&app).len(), 1);

    // Nobody is there at all.
    app.stop(0);
    let away = name("yes");
    let failed = get(&wharf, &away, &root).unwrap_err();
    assert!(failed.contains("internal error"), "{failed}");
    wharf.wait_log("nobody answers");
    app.start();
    eventually("an answer", Duration::from_secs(20), || {
        get(&wharf, &away, &root)
    });
}

#[test]
fn a_flood_of_names_at_an_app_that_hangs_holds_up_no_other_host() {
    let stage = Stage::new();
    let wharf = stage.start();
    let root = stage.ca.issuing_root();
    let app = stage.for_all();
    let listed = name("listed");
    let _other = stage.app(&[("host", &listed)]).run();
    wait_route(&wharf, "default");
    wait_route(&wharf, &listed);

    // One client: ten questions.
    let mut flood = Vec::new();
    for _ in 0..100 {
        flood.push(hello(&wharf, [127, 0, 0, 9], &name("hang")));
    }
    wharf.wait_status("what is held back", |status| {
        status["on_demand"]["held_back"] == 90
    });
    // Many: as many as there is room for.
    for n in 0..100 {
        flood.push(hello(&wharf, [127, 0, 1, n], &name("hang")));
    }
    wharf.wait_status("what is held back", |status| {
        status["on_demand"]["held_back"].as_u64() >= Some(90 + 100 - 54)
    });
    assert_eq!(get(&wharf, &listed, &root).unwrap().status, 200);
    assert_eq!(get(&wharf, &listed, &root).unwrap().status, 200);
    assert_eq!(stage.ca.orders(), 1);
    assert!(
        wharf.status_json()["on_demand"]["open"].as_u64() > Some(0),
        "still hanging"
    );

    // Each question ends, and with it each who waits.
    let status = wharf.wait_status("the end of all", |status| status["on_demand"]["open"] == 0);
    let unknown = status["on_demand"]["unknown"].as_u64().unwrap();
    assert!((10..=64).contains(&unknown), "{unknown}");
    assert!(asked(&app).len() as u64 <= unknown);
    drop(flood);
    assert!(metric(&wharf, "wharf_certificate_waiting 0"));
    assert_eq!(get(&wharf, &name("yes"), &root).unwrap().status, 200);
}

/// A ClientHello from this address of loopback; its connection.
fn hello(wharf: &Wharf, from: [u8; 4], name: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&wharf.https.into()).unwrap();
    let mut tcp = TcpStream::from(socket);
    let name = name.to_owned().try_into().unwrap();
    let config = crate::support::tls::anybody();
    let mut tls = rustls::ClientConnection::new(config, name).unwrap();
    tls.write_tls(&mut tcp).unwrap();
    tcp
}

#[test]
fn names_below_a_wildcard_are_asked_about_at_a_url_and_listed_ones_are_not() {
    let stage = Stage::new();
    let wharf = stage.start();
    let root = stage.ca.issuing_root();
    let below = format!("shop{}.example.com", unique(""));
    let knows = stage.app(&[]).run();
    let address = knows.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    let url = format!("http://{address}:{APP_PORT}/ask");
    let (wildcard, listed) = (format!("*.{below}"), format!("no-need.{below}"));
    let _shops = stage.app(&[("host", &wildcard), ("tls.ask", &url)]).run();
    let _listed = stage.app(&[("host", &listed)]).run();
    wait_route(&wharf, &wildcard);
    wait_route(&wharf, &listed);

    let (yes, no) = (format!("yes.{below}"), format!("no.{below}"));
    assert_eq!(get(&wharf, &yes, &root).unwrap().status, 200);
    let refused = get(&wharf, &no, &root).unwrap_err();
    assert!(refused.contains("unrecognized name"), "{refused}");
    assert_eq!(get(&wharf, &listed, &root).unwrap().status, 200);
    let deeper = get(&wharf, &format!("yes.deep.{below}"), &root).unwrap_err();
    assert!(deeper.contains("unrecognized name"), "{deeper}");
    assert_eq!(asked(&knows), [yes, no]);
    assert_eq!(stage.ca.orders(), 2);
}

/// Answers questions by a switch, and counts them.
struct Knows {
    yes: Arc<AtomicU32>,
    asked: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Knows {
    fn start(running: &Running) -> Self {
        let (yes, asked) = (Arc::new(AtomicU32::new(1)), Arc::new(AtomicU32::new(0)));
        let certs = running.certs.clone();
        let (switch, count) = (Arc::clone(&yes), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            loop {
                let question = certs.question().await;
                count.fetch_add(1, Ordering::SeqCst);
                let answer = match switch.load(Ordering::SeqCst) {
                    0 => Answer::No,
                    _ => Answer::Yes,
                };
                certs.answer(&question.name, answer, None);
            }
        });
        Self { yes, asked, task }
    }
}

impl Drop for Knows {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A route for every name, and whatever else is declared with it.
fn declare(running: &Running, more: &[&str]) {
    let ask = Wanted {
        ask: Some("a test".into()),
        ..Wanted::new(HostPattern::Default, TlsMode::Auto)
    };
    let more = more
        .iter()
        .map(|host| Wanted::new(pattern(host), TlsMode::Auto));
    running
        .certs
        .declare(std::iter::once(ask).chain(more).collect());
}

fn of_name(running: &Running, name: &str) -> Option<SystemTime> {
    let index = running.certs.current();
    let served = index.named(name)?;
    // As a handshake does.
    assert!(served.config(Preference::Aes).is_some());
    Some(served.not_after)
}

fn open(ca: &Pebble, data: &Path) -> Running {
    Running::open_with(config(ca, Some(data)))
}

#[tokio::test]
async fn a_renewal_is_asked_about_and_a_no_ends_a_name_with_its_certificate() {
    const NAME: &str = "leaving.example.com";
    let ports = Ports::bind().await;
    let mut ca = Pebble::prepare_with(ports.http_port(), ports.tls_port(), 12);
    ca.run(&[]);
    let data = tempfile::tempdir().unwrap();
    let running = open(&ca, data.path());
    let server = Responder::start(ports.clone(), &running.certs);
    let knows = Knows::start(&running);
    declare(&running, &[]);
    let obtained = running
        .certs
        .obtain_named(&HostPattern::Default, NAME, None)
        .await;
    let first = obtained.unwrap().not_after;
    // Those who wait are told first.
    stored(data.path(), &format!("{NAME}.json")).await;
    drop((knows, server));
    running.close().await;

    // After a restart nobody has said yes yet: the certificate is used, and its renewal asked about.
    let running = open(&ca, data.path());
    let _server = Responder::start(ports, &running.certs);
    let knows = Knows::start(&running);
    knows.yes.store(0, Ordering::SeqCst);
    declare(&running, &[]);
    assert_eq!(of_name(&running, NAME), Some(first));
    declare(&running, &["other.example.com"]);
    until("a question", || knows.asked.load(Ordering::SeqCst) > 0).await;
    let found = running.certs.current().named(NAME).is_some();
    assert!(found || SystemTime::now() >= first, "good until its end");
    until("its end", || running.certs.current().named(NAME).is_none()).await;
    assert!(SystemTime::now() >= first);
    let refused = running
        .certs
        .obtain_named(&HostPattern::Default, NAME, None)
        .await;
    assert_eq!(refused.unwrap_err(), ObtainError::Refused);
    assert_eq!(ca.orders(), 1);
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let patience = tokio::time::Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(tokio::time::Instant::now() < patience, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_name_is_ordered_no_more_once_its_pattern_is_gone() {
    let ports = Ports::bind().await;
    let ca = Pebble::start(ports.http_port(), ports.tls_port());
    let running = Running::open(&ca, None);
    let _server = Responder::start(ports, &running.certs);
    let knows = Knows::start(&running);
    declare(&running, &[]);
    let default = HostPattern::Default;
    let obtain = |name: &'static str| running.certs.obtain_named(&default, name, None);
    obtain("first.example.com").await.unwrap();
    running.certs.declare(Vec::new());
    let gone = obtain("second.example.com").await.unwrap_err();
    assert_eq!(gone, ObtainError::Undeclared);
    let listed: BTreeSet<String> = (running.certs.report().iter())
        .map(|line| line.host.to_string())
        .collect();
    assert!(listed.is_empty(), "{listed:?}");
    assert_eq!((knows.asked.load(Ordering::SeqCst), ca.orders()), (1, 1));
}

#[tokio::test]
async fn eleven_new_names_at_once_make_ten_orders() {
    let ports = Ports::bind().await;
    let ca = Pebble::start(ports.http_port(), ports.tls_port());
    let running = Running::open(&ca, None);
    let _server = Responder::start(ports, &running.certs);
    let _knows = Knows::start(&running);
    declare(&running, &[]);
    let mut held_back = 0;
    for n in 0..11 {
        let name = format!("n{n}.example.com");
        let obtained = running
            .certs
            .obtain_named(&HostPattern::Default, &name, None);
        match obtained.await {
            Ok(_) => {}
            Err(ObtainError::HeldBack) => held_back += 1,
            Err(error) => panic!("{name}: {error}"),
        }
    }
    // One more comes every six seconds.
    assert!(held_back <= 1, "{held_back}");
    assert_eq!(ca.orders(), 11 - held_back);
    assert_eq!(running.certs.ask_totals().held_back as usize, held_back);
}
