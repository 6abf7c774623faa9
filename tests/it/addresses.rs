//! Addresses that change or are given to other containers: requests follow the container.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use crate::support::docker::{App, Container, Network, unique};
use crate::support::eventually;
use crate::support::h2::H2;
use crate::support::http;
use crate::support::origin::{Full, Served, ok};
use crate::support::peer::{Message, Peer};
use crate::support::site::{Site, app, get};
use crate::support::wharf::{Builder, Wharf};

#[test]
fn a_container_that_moved_unheard_is_found_because_it_is_refused() {
    let closing = |body: &'static str| {
        move |_: &Message| {
            let ok = String::from_utf8(ok(body)).unwrap();
            ok.replacen("\r\n", "\r\nConnection: close\r\n", 1).into()
        }
    };
    let home = Served::by(closing("home"));
    let away = Ipv4Addr::new(127, 0, 0, 2);
    let listener = TcpListener::bind((away, home.port())).unwrap();
    let _moved = Served::on(listener, closing("moved"));
    let at_home = app("app", home.port(), "wharf.host: a.test\nwharf.tls: off");
    let site = Site::start([at_home.clone()]);
    assert_eq!(site.send(get("/")).message().text(), "home");
    site.engine.mute_events();
    site.engine.set_containers([at_home.at("web", away.into())]);
    drop(home);
    // Waits for 10 s at most; the next look was due in 30 s.
    let answer = site.send(get("/")).message();
    assert_eq!((answer.status(), answer.text()), (200, "moved".into()));
}

#[test]
fn a_connection_under_way_to_an_address_that_was_given_up_is_made_anew() {
    let full = Full::new();
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.hold: off\nwharf.timeout.connect: off";
    let site = Site::start([app("app", full.port(), labels)]);
    // Not sent again by anybody: nothing of it has been sent.
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi";
    let mut client = site.send(post);
    let failures = || site.metric("wharf_upstream_connects_total{result=\"failed\"}");
    sleep(Duration::from_millis(200));
    assert_eq!(failures(), 0.0, "it is refused instead of waited for");
    let new = Served::by(|request| ok(&request.body));
    site.engine.run(app("app", new.port(), labels));
    let answer = client.message();
    assert_eq!((answer.status(), answer.text()), (200, "hi".into()));
    // It was nobody's fault.
    assert_eq!(failures(), 0.0);
}

/// Clients of several sites, that ask all the time who answers.
struct Clients {
    stop: Arc<AtomicBool>,
    all: Vec<Client>,
}

struct Client {
    /// The site's.
    name: String,
    how: &'static str,
    /// So far.
    answers: Arc<AtomicUsize>,
    thread: JoinHandle<Tally>,
}

#[derive(Default)]
struct Tally {
    /// Answers of somebody else's container.
    wrong: Vec<String>,
    failed: Vec<String>,
}

impl Clients {
    /// On kept connections, new ones, and HTTP/2; the sample app behind `host` tells `name`.
    fn start(wharf: &Wharf, sites: &[(&str, &str)]) -> Self {
        let mut clients = Self {
            stop: Arc::default(),
            all: Vec::new(),
        };
        let address = wharf.http;
        for (host, name) in sites {
            let host = (*host).to_owned();
            clients.ask("kept", name, {
                let request = format!("GET /json HTTP/1.1\r\nHost: {host}\r\n\r\n");
                let mut kept = Peer::connect(address);
                move || {
                    let answer = kept.send(&request).message();
                    if answer.field("connection") == Some("close") {
                        kept = Peer::connect(address);
                    }
                    Ok((answer.status(), answer.body))
                }
            });
            clients.ask("new", name, {
                let host = host.clone();
                move || {
                    let answer = http::get(address, &host, "/json");
                    let answer = answer.map_err(|error| error.to_string())?;
                    Ok((answer.status, answer.body))
                }
            });
            clients.ask("HTTP/2", name, {
                let (client, url) = (H2::connect(address), format!("http://{host}/json"));
                move || {
                    let answer = client.get(&url, &[]).map_err(|error| error.to_string())?;
                    Ok((answer.status, answer.body))
                }
            });
        }
        clients
    }

    fn ask(
        &mut self,
        how: &'static str,
        name: &str,
        mut ask: impl FnMut() -> Result<(u16, Vec<u8>), String> + Send + 'static,
    ) {
        let (stop, name) = (Arc::clone(&self.stop), name.to_owned());
        let answers = Arc::<AtomicUsize>::default();
        let (mine, counted) = (name.clone(), Arc::clone(&answers));
        let thread = spawn(move || {
            let mut tally = Tally::default();
            while !stop.load(Ordering::SeqCst) {
                match ask() {
                    Ok((200, body)) => {
                        counted.fetch_add(1, Ordering::SeqCst);
                        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                        if body["name"] != *mine {
                            tally.wrong.push(body.to_string());
                        }
                    }
                    Ok((status, body)) => {
                        let text = String::from_utf8_lossy(&body);
                        tally.failed.push(format!("{status} {text}"));
                    }
                    Err(error) => tally.failed.push(error),
                }
                sleep(PAUSE);
            }
            tally
        });
        self.all.push(Client {
            name,
            how,
            answers,
            thread,
        });
    }

    /// Waits until each client of a site has got further answers.
    fn go_on(&self, name: &str) {
        for client in self.all.iter().filter(|client| client.name == name) {
            let enough = client.answers.load(Ordering::SeqCst) + 5;
            eventually(client.how, LIMIT, || {
                match client.answers.load(Ordering::SeqCst) {
                    answers if answers >= enough => Ok(()),
                    answers => Err(format!("{name}: {answers} of {enough}")),
                }
            });
        }
    }

    /// Ends it. Nobody may have got an answer that was not meant for him.
    fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.all {
            let what = format!("{}, {}", client.name, client.how);
            let tally = client.thread.join().expect(&what);
            let (answers, failed) = (client.answers.load(Ordering::SeqCst), tally.failed.len());
            println!("{what}: {answers} answered, {failed} failed");
            if let Some(first) = tally.failed.first() {
                println!("  first: {first:.300}");
            }
            assert_eq!(tally.wrong, Vec::<String>::new(), "{what}");
        }
    }
}

const LIMIT: Duration = Duration::from_secs(20);
/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(5);

/// The sample app under a host of its own, told apart by its name.
fn site(name: &str) -> (App, String) {
    let host = format!("{}.test", unique(name));
    let app = App::new(name).env("NAME", name);
    let app = app.label("wharf.host", &host).label("wharf.tls", "off");
    // An answer that was lost with an address is not waited for much longer.
    (app.label("wharf.timeout.read", "3s"), host)
}

fn wait_ok(wharf: &Wharf, host: &str) {
    wharf.wait_answer(host, "/", |answer| answer.status == 200);
}

#[test]
fn containers_that_exchange_their_addresses_under_load_never_answer_for_each_other() {
    let network = Network::subnetted();
    let ((a, a_host), (b, b_host)) = (site("a"), site("b"));
    let [one, two] = [10, 11].map(|last| network.address(last));
    let run = |app: App, ip: &str| app.network(&network).arg(&["--ip", ip]).run();
    let (a, b) = (run(a, &one), run(b, &two));
    let wharf = Builder::new().start();
    wait_ok(&wharf, &a_host);
    wait_ok(&wharf, &b_host);
    let clients = Clients::start(&wharf, &[(&a_host, "a"), (&b_host, "b")]);
    let mut addresses = [&one, &two];
    for _ in 0..SWAPS {
        addresses.swap(0, 1);
        // As fast as the engine can: the first to come gets what the first to leave had.
        network.disconnect(&a);
        network.disconnect(&b);
        network.connect_at(&b, addresses[1]);
        network.connect_at(&a, addresses[0]);
        clients.go_on("a");
        clients.go_on("b");
    }
    clients.end();
}

#[test]
fn an_address_that_goes_back_and_forth_between_two_containers_leads_to_the_right_one() {
    let network = Network::subnetted();
    let ((a, a_host), (b, b_host)) = (site("a"), site("b"));
    let ip = network.address(20);
    // Each has another network, so that it is never on none.
    let other = Network::new();
    let a = a.network(&other).run();
    let b = b.network(&other).run();
    network.connect_at(&a, &ip);
    let wharf = Builder::new().env("WHARF_NETWORK", &network.name).start();
    wait_ok(&wharf, &a_host);
    let clients = Clients::start(&wharf, &[(&a_host, "a"), (&b_host, "b")]);
    let (mut has, mut hasnt) = ((&a, "a"), (&b, "b"));
    for _ in 0..2 * SWAPS {
        network.disconnect(has.0);
        network.connect_at(hasnt.0, &ip);
        (has, hasnt) = (hasnt, has);
        clients.go_on(has.1);
    }
    clients.end();
}

#[test]
fn a_removed_containers_address_is_another_ones_at_once() {
    let network = Network::subnetted();
    let sites = [site("a"), site("b")];
    let ip = network.address(30);
    let run = |at: usize| -> Container {
        let app = sites[at].0.clone().network(&network);
        app.arg(&["--ip", &ip]).run()
    };
    let mut now = run(0);
    let wharf = Builder::new().start();
    wait_ok(&wharf, &sites[0].1);
    let hosts = [(&*sites[0].1, "a"), (&*sites[1].1, "b")];
    let clients = Clients::start(&wharf, &hosts);
    for round in 1..=SWAPS {
        drop(now);
        now = run(round % 2);
        clients.go_on(["a", "b"][round % 2]);
    }
    clients.end();
}

const SWAPS: usize = 8;
