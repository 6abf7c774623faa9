//! Clients that stay with one replica by a cookie: over restarts and swaps, and what moves them.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use crate::support::crew::{Crew, with};
use crate::support::h2::H2;
use crate::support::origin::{Origin, Served, refused_port};
use crate::support::site::{Site, app, get};

/// Who answers a request with these cookies, and the cookie that comes back, whole.
fn ask(site: &Site, path: &str, cookies: &str) -> (String, Option<String>) {
    let fields = match cookies {
        "" => String::new(),
        cookies => format!("Cookie: {cookies}\r\n"),
    };
    let answer = site.send(with(path, &fields)).message();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    (answer.text(), answer.field("set-cookie").map(str::to_owned))
}

/// `name=value` of a cookie.
fn pair(cookie: &str) -> &str {
    cookie.split(';').next().unwrap()
}

#[test]
fn a_client_with_a_cookie_stays_and_the_others_take_turns() {
    let crew = Crew::start(2, "wharf.sticky: on", &["", "", ""]);
    let site = &crew.site;
    let mut cookies = BTreeSet::new();
    for n in 0..9 {
        let (name, cookie) = ask(site, "/", "theme=dark");
        let cookie = cookie.expect("a cookie for a new client");
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax");
        let (key, value) = pair.split_once('=').unwrap();
        assert!(key.starts_with("wharf_") && key.len() == 14, "{key}");
        // 128 bits of a keyed hash: nothing of the replica shows.
        assert!(value.len() == 32 && value.bytes().all(|b| b.is_ascii_hexdigit()));
        cookies.insert(cookie.clone());
        for _ in 0..20 {
            let again = ask(site, "/deep/down?x", &format!("theme=dark; {pair}"));
            assert_eq!(again, (name.clone(), None), "client {n}");
        }
    }
    assert_eq!(cookies.len(), 3);
    // Nobody's: another comes.
    for forged in ["", "x", "127.0.0.1:80", &"0".repeat(32)] {
        let first = cookies.first().unwrap();
        let name = pair(first).split_once('=').unwrap().0;
        let (_, cookie) = ask(site, "/", &format!("{name}={forged}"));
        assert!(cookies.contains(&cookie.unwrap()), "{forged}");
    }
}

#[test]
fn cookies_hold_over_a_restart_and_a_table_swap() {
    let data = tempfile::tempdir().unwrap();
    let served: Vec<Served> = (0..4).map(crate::support::crew::named).collect();
    let containers: Vec<_> = (0..4)
        .map(|i| {
            let labels =
                "wharf.host: a.test\nwharf.tls: off\nwharf.pool: p\nwharf.sticky:  cookie=srv";
            app(&format!("app{i}"), served[i].port(), labels)
        })
        .collect();
    let start = || Site::with(containers.clone(), |builder| builder.data(data.path()));
    let site = start();
    let clients: Vec<_> = (0..8).map(|_| ask(&site, "/", "")).collect();
    assert!(
        clients
            .iter()
            .all(|(_, c)| c.as_ref().unwrap().starts_with("srv="))
    );
    let stay = |site: &Site| {
        for (name, cookie) in &clients {
            let again = ask(site, "/", pair(cookie.as_ref().unwrap()));
            assert_eq!(again, (name.clone(), None));
        }
    };
    site.engine
        .run(app("other", 1, "wharf.host: b.test\nwharf.tls: off"));
    site.wharf.wait_status("another route", |status| {
        status["routes"]
            .as_array()
            .is_some_and(|routes| routes.len() == 2)
    });
    stay(&site);
    site.wharf.stop();
    stay(&start());
    let key = std::fs::metadata(data.path().join("sticky.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    // Without the key nobody knows the cookies any more: new ones.
    std::fs::remove_file(data.path().join("sticky.key")).unwrap();
    let site = start();
    let (_, cookie) = ask(&site, "/", pair(clients[0].1.as_ref().unwrap()));
    assert!(clients.iter().all(|(_, old)| *old != cookie) && cookie.is_some());
}

#[test]
fn a_client_moves_when_its_replica_is_gone_fails_or_takes_nothing() {
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.pool: p\nwharf.sticky: on";
    let crew = Crew::start(1, "wharf.sticky: on", &["", ""]);
    let site = &crew.site;
    let (name, cookie) = ask(site, "/", "");
    let cookie = cookie.unwrap();
    let cookie = pair(&cookie);
    let (mine, other) = if name == "a" { (0, "b") } else { (1, "a") };
    let replace = |port, more: &str, what: &str| {
        let own = format!("{labels}\n{more}");
        site.engine.run(app(&format!("app{mine}"), port, &own));
        site.wharf
            .wait_status(what, |status| status.to_string().contains(what));
    };
    // It moves for good: the new cookie is the other's.
    let moved = || {
        let (now, new) = ask(site, "/", cookie);
        let new = new.expect("a new cookie");
        assert_eq!(now, other);
        for _ in 0..4 {
            assert_eq!(ask(site, "/", pair(&new)), (other.to_owned(), None));
        }
    };
    let port = crew.port(mine);
    replace(port, "wharf.weight: 0", "no new requests");
    moved();
    replace(port, "wharf.weight: 3", "\"weight\":3");
    assert_eq!(ask(site, "/", cookie), (name.clone(), None));
    // The same container on another port is another endpoint; so is what refuses.
    let dead = refused_port();
    replace(dead, "", &format!(":{dead}"));
    moved();
    site.engine.remove(&format!("app{mine}"));
    site.wharf.wait_status("one replica", |status| {
        status["upstreams"][0]["endpoints"]
            .as_array()
            .is_some_and(|all| all.len() == 1)
    });
    moved();
}

#[test]
fn an_endpoint_that_refuses_loses_its_clients() {
    let served = Served::text("alive");
    let dead = refused_port();
    let containers = [dead, served.port()].into_iter().enumerate();
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.pool: p\nwharf.sticky: on";
    let containers = containers.map(|(i, port)| app(&format!("app{i}"), port, labels));
    let site = Site::start(containers.collect::<Vec<_>>());
    for _ in 0..4 {
        let (name, cookie) = ask(&site, "/", "");
        assert_eq!(name, "alive");
        // The cookie is of who answered, not of who was asked first.
        assert_eq!(ask(&site, "/", pair(&cookie.unwrap())).1, None);
    }
}

#[test]
fn the_cookie_comes_with_every_protocol_and_is_secure_behind_tls() {
    let served = Served::text("hi");
    let labels = "wharf.host: a.test\nwharf.https: both\nwharf.tls: internal\nwharf.path: /app\nwharf.sticky: on";
    let site = Site::start([app("app", served.port(), labels)]);
    let plain = site.send(get("/app/x")).message();
    let plain = plain.field("set-cookie").unwrap();
    let attributes = "; Path=/app; HttpOnly; SameSite=Lax";
    assert!(plain.ends_with(attributes), "{plain}");
    let secure = format!("{plain}; Secure");
    let mut tls = site.tls("a.test").unwrap();
    let answer = tls.send(get("/app")).message();
    assert_eq!(answer.field("set-cookie"), Some(&*secure));
    let h2 = H2::connect_tls(site.wharf.https, "a.test", site.wharf.data());
    let answer = h2.get("https://a.test/app", &[]).unwrap();
    assert_eq!(answer.headers["set-cookie"], *secure);
    // Crumbs of cookies, as HTTP/2 clients may send them.
    let crumbs = [("cookie", "a=b"), ("cookie", pair(plain))];
    let answer = h2.get("https://a.test/app", &crumbs).unwrap();
    assert_eq!(answer.headers.get("set-cookie"), None);
}

#[test]
fn the_apps_own_cookies_stay_and_a_websocket_gets_one_too() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.sticky: on");
    let mut client = site.send(get("/"));
    let answer = "HTTP/1.1 204 No Content\r\nSet-Cookie: own=1\r\nConnection: close\r\n\r\n";
    let _upstream = origin.answer(answer);
    let answer = client.message();
    let cookies: Vec<_> = answer.fields("set-cookie").collect();
    assert!(cookies.len() == 2 && cookies[0] == "own=1", "{cookies:?}");
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut client = site.send(upgrade);
    let mut upstream = origin.accept();
    upstream.head();
    upstream.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi",
    );
    let head = client.head();
    assert!(
        head.contains(&format!("set-cookie: {}\r\n", cookies[1])),
        "{head}"
    );
    assert_eq!(client.exactly(2), b"hi");
}
