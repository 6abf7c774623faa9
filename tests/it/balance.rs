//! Which replica gets a request: shares over thousands of them, and over workers and table swaps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::crew::{Crew, counts, with};
use crate::support::origin::{Origin, Served, ok, refused_port};
use crate::support::peer::Peer;
use crate::support::site::{Site, app, get};

#[test]
fn weights_are_exact_over_ten_thousand_requests_on_three_workers() {
    let crew = Crew::start(
        3,
        "",
        &[
            "wharf.weight: 5",
            "wharf.weight: 3",
            "wharf.weight: 2",
            "wharf.weight: 0",
        ],
    );
    let shares = crew.ask(8, 1250, |_| get("/"));
    assert_eq!(shares, counts(&[("a", 5000), ("b", 3000), ("c", 2000)]));
}

#[test]
fn the_other_algorithms_keep_their_shares_over_ten_thousand_requests() {
    let own = ["wharf.weight: 5", "wharf.weight: 3", "wharf.weight: 2"];
    // Each request with a key that no other has.
    let client = |n: u32| format!("X-Forwarded-For: 10.{}.{}.{}\r\n", n >> 8, n & 255, n % 250);
    let header = |n: u32| format!("X-User: user{n}\r\n");
    let cookie = |n: u32| format!("Cookie: a=b; session={n}\r\n");
    let request = |path: &str, fields: &str| with(path, fields);
    type Ask<'a> = &'a (dyn Fn(u32) -> String + Sync);
    let all: [(&str, u32, u32, Ask<'_>); 5] = [
        // One at a time: all are idle, and take turns by weight.
        ("least_conn", 1, 0, &|_| get("/")),
        // By chance, so within five standard deviations of a binomial distribution: 5 * 50.
        ("ip_hash", 8, 250, &|n| request("/", &client(n))),
        ("hash header:X-User", 8, 250, &|n| request("/", &header(n))),
        ("hash cookie:session", 8, 250, &|n| request("/", &cookie(n))),
        ("hash path", 8, 250, &|n| request(&format!("/{n}?x"), "")),
    ];
    for (lb, connections, off, ask) in all {
        let crew = Crew::start(2, &format!("wharf.lb: {lb}"), &own);
        let shares = crew.ask(connections, 10_000 / connections, ask);
        assert_eq!(shares.values().sum::<u32>(), 10_000, "{lb}: {shares:?}");
        for (name, due) in [("a", 5000), ("b", 3000), ("c", 2000)] {
            let share = shares.get(name).copied().unwrap_or(0);
            assert!(share.abs_diff(due) <= off, "{lb}: {shares:?}");
        }
    }
}

#[test]
fn turns_go_on_over_table_swaps() {
    let crew = Crew::start(2, "", &["wharf.weight: 7", "wharf.weight: 3"]);
    let other = Served::text("other");
    let shares = std::thread::scope(|scope| {
        let asking = scope.spawn(|| crew.ask(4, 2500, |_| get("/")));
        while !asking.is_finished() {
            let labels = "wharf.host: b.test\nwharf.tls: off";
            crew.site.engine.run(app("other", other.port(), labels));
            std::thread::sleep(Duration::from_millis(30));
            crew.site.engine.remove("other");
            std::thread::sleep(Duration::from_millis(30));
        }
        asking.join().unwrap()
    });
    assert_eq!(shares, counts(&[("a", 7000), ("b", 3000)]));
}

#[test]
fn requests_under_way_decide_with_least_conn_and_are_remembered_over_a_swap() {
    let origins = [Origin::new(), Origin::new()];
    let containers = [(0, 2), (1, 1)].map(|(index, weight)| {
        let shared = "wharf.host: a.test\nwharf.tls: off\nwharf.pool: p\nwharf.lb: least_conn";
        let labels = format!("{shared}\nwharf.weight: {weight}");
        app(&format!("app{index}"), origins[index].port(), &labels)
    });
    let site = Site::start(containers);
    // A request that gets no answer yet, and who has it.
    let send = || {
        let client = site.send(get("/"));
        loop {
            for (index, origin) in origins.iter().enumerate() {
                if let Some(mut upstream) = origin.accepted() {
                    upstream.head();
                    return (index, client, upstream);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let under_way: Vec<_> = (0..6).map(|_| send()).collect();
    let at = |index: usize, all: &[(usize, Peer, Peer)]| {
        all.iter().filter(|(one, ..)| *one == index).count()
    };
    // Twice the weight, twice as many at once.
    assert_eq!((at(0, &under_way), at(1, &under_way)), (4, 2));
    // The table is swapped, and the clients of one replica leave: it is its turn until it is level.
    site.engine
        .run(app("other", 1, "wharf.host: b.test\nwharf.tls: off"));
    site.wharf.wait_status("another route", |status| {
        status["routes"]
            .as_array()
            .is_some_and(|routes| routes.len() == 2)
    });
    let (left, mut under_way): (Vec<_>, Vec<_>) =
        under_way.into_iter().partition(|(index, ..)| *index == 1);
    // Their upstream connections stay: one that ended first would be a reason to try again.
    let _upstreams: Vec<Peer> = left.into_iter().map(|(.., upstream)| upstream).collect();
    crate::support::eventually(
        "the clients' leaving",
        Duration::from_secs(5),
        || match site.metric("wharf_requests_open") {
            4.0 => Ok(()),
            open => Err(open.to_string()),
        },
    );
    for _ in 0..2 {
        let next = send();
        assert_eq!(next.0, 1);
        under_way.push(next);
    }
}

#[test]
fn a_client_network_stays_with_its_replica() {
    let crew = Crew::start(2, "wharf.lb: ip_hash", &["", "", "wharf.weight: 2"]);
    let ask = |crew: &Crew, network: u32, host: u32| {
        let field = format!(
            "X-Forwarded-For: 203.{}.{}.{host}\r\n",
            network / 256,
            network % 256
        );
        crew.one("/", &field)
    };
    let before: Vec<String> = (0..400).map(|network| ask(&crew, network, 1)).collect();
    for (network, name) in (0_u32..).zip(&before) {
        assert_eq!(ask(&crew, network, 200), *name, "network {network}");
    }
    let count = |name: &str| before.iter().filter(|one| *one == name).count();
    // By weight, within five standard deviations.
    assert!(count("a").abs_diff(100) < 44, "{}", count("a"));
    assert!(count("b").abs_diff(100) < 44, "{}", count("b"));
    // A replica leaves: its clients move, nobody else.
    crew.site.engine.remove("app0");
    crew.site.wharf.wait_status("two replicas", |status| {
        status["upstreams"][0]["endpoints"]
            .as_array()
            .is_some_and(|all| all.len() == 2)
    });
    for (network, name) in (0_u32..).zip(&before) {
        let now = ask(&crew, network, 1);
        assert!(
            name == "a" || now == *name,
            "network {network}: {name} -> {now}"
        );
    }
}

#[test]
fn a_part_of_the_request_chooses_its_replica() {
    for (lb, field) in [
        ("hash header:X-User", "x-user: "),
        ("hash cookie:session", "Cookie: other=1; session="),
        ("hash path", ""),
    ] {
        let crew = Crew::start(1, &format!("wharf.lb: {lb}"), &["", "", ""]);
        let ask = |key: u32| match field {
            "" => crew.one(&format!("/{key}?{key}"), ""),
            field => crew.one("/", &format!("{field}{key}\r\n")),
        };
        let before: Vec<String> = (0..60).map(ask).collect();
        let again: Vec<String> = (0..60).map(ask).collect();
        assert_eq!(before, again, "{lb}");
        let used: std::collections::BTreeSet<_> = before.iter().collect();
        assert_eq!(used.len(), 3, "{lb}");
        if !field.is_empty() {
            // Nothing to go by: in turn.
            let shares = crew.ask(1, 30, |_| get("/"));
            assert_eq!(shares, counts(&[("a", 10), ("b", 10), ("c", 10)]), "{lb}");
        }
    }
}

#[test]
fn two_random_choices_keep_to_the_weights() {
    let own = ["wharf.weight: 3", "wharf.weight: 1", "wharf.weight: 0"];
    let crew = Crew::start(2, "wharf.lb: random2", &own);
    let shares = crew.ask(1, 10_000, |_| get("/"));
    assert!(shares["a"].abs_diff(7500) < 250, "{shares:?}");
    assert_eq!(shares.len(), 2, "{shares:?}");
}

#[test]
fn a_replica_that_joins_gets_its_share_by_and_by() {
    let crew = Crew::start(2, "wharf.slow_start: 3s", &[""]);
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.pool: p\nwharf.slow_start: 3s";
    let new = Served::text("new");
    crew.site.engine.run(app("new", new.port(), labels));
    crew.site.wharf.wait_status("two replicas", |status| {
        status.to_string().contains("\"new\"")
    });
    let began = Instant::now();
    let mut shares = Vec::new();
    while began.elapsed() < Duration::from_millis(3300) {
        let third = began.elapsed().as_millis() / 1000;
        let counts = crew.ask(2, 100, |_| get("/"));
        let new = counts.get("new").copied().unwrap_or(0);
        shares.resize_with(third as usize + 1, || (0, 0));
        let share: &mut (u32, u32) = &mut shares[third as usize];
        *share = (share.0 + new, share.1 + 200);
        std::thread::sleep(Duration::from_millis(20));
    }
    let share = |at: usize| f64::from(shares[at].0) / f64::from(shares[at].1);
    // About a seventh, a third and nearly a half of what the other gets.
    assert!(share(0) > 0.02 && share(0) < 0.25, "{shares:?}");
    assert!(share(1) > share(0) && share(2) > share(1), "{shares:?}");
    assert_eq!(
        crew.ask(2, 100, |_| get("/")),
        counts(&[("a", 100), ("new", 100)])
    );
}

/// Two replicas of a pool; the first at this port, with labels of its own.
fn pair(port: u16, own: &str, other: u16) -> Site {
    let shared = "wharf.host: a.test\nwharf.tls: off\nwharf.pool: p";
    Site::start([
        app("app0", port, &format!("{shared}\n{own}")),
        app("app1", other, shared),
    ])
}

#[test]
fn a_replica_that_fails_rests_and_one_request_finds_out_whether_it_is_back() {
    let served = Served::text("alive");
    for (own, tries) in [
        ("", 1.0),
        ("wharf.fail: 3/30s", 3.0),
        ("wharf.fail: off", 20.0),
    ] {
        let site = pair(refused_port(), own, served.port());
        for _ in 0..20 {
            assert_eq!(site.send(get("/")).message().text(), "alive");
        }
        let retries = site.metric("wharf_upstream_retries_total");
        // Without a limit each request finds out anew: its second try takes the turn of the next one.
        assert_eq!(retries, tries, "{own}");
        let resting = site.wharf.status_json().to_string();
        assert_eq!(
            resting.contains("resting after failures"),
            tries < 20.0,
            "{own}"
        );
    }
    // An answer that is none counts as well, and the way back is one request.
    let broken = Arc::new(AtomicBool::new(true));
    let asked = Arc::new(AtomicUsize::new(0));
    let first = {
        let (broken, asked) = (broken.clone(), asked.clone());
        Served::by(move |_| {
            asked.fetch_add(1, Ordering::SeqCst);
            match broken.load(Ordering::SeqCst) {
                true => b"garbage\r\n\r\n".to_vec(),
                false => ok("back"),
            }
        })
    };
    let site = pair(first.port(), "wharf.fail: 2/1s", served.port());
    let ask = |count: usize| -> Vec<u16> {
        (0..count)
            .map(|_| site.send(get("/")).message().status())
            .collect()
    };
    let bad = |statuses: &[u16]| statuses.iter().filter(|status| **status == 502).count();
    assert_eq!(bad(&ask(20)), 2);
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(bad(&ask(20)), 1, "one finds out that it is not");
    broken.store(false, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(1100));
    let before = asked.load(Ordering::SeqCst);
    assert_eq!(bad(&ask(20)), 0);
    assert_eq!(asked.load(Ordering::SeqCst) - before, 10, "its whole share");
    site.wharf.wait_log("answers again");
}

#[test]
fn the_last_one_left_never_rests() {
    let broken = Arc::new(AtomicUsize::new(3));
    let served = Served::by(move |_| {
        let left = broken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        match left {
            Ok(_) => b"garbage\r\n\r\n".to_vec(),
            Err(_) => ok("back"),
        }
    });
    let site = Site::plain(served.port(), "");
    let statuses = [0; 5].map(|_| site.send(get("/")).message().status());
    assert_eq!(statuses, [502, 502, 502, 200, 200]);
}

#[test]
fn a_backup_serves_while_all_others_are_out() {
    let served = [
        Served::text("one"),
        Served::text("two"),
        Served::text("backup"),
    ];
    let shared = "wharf.host: a.test\nwharf.tls: off\nwharf.pool: p";
    for lb in [
        "round_robin",
        "least_conn",
        "random2",
        "ip_hash",
        "hash path",
    ] {
        let app = |name: &str, port: u16, own: &str| {
            app(name, port, &format!("{shared}\nwharf.lb: {lb}\n{own}"))
        };
        let site = Site::start([
            app("one", served[0].port(), ""),
            app("two", served[1].port(), ""),
            app(
                "backup",
                served[2].port(),
                "wharf.backup: true\nwharf.weight: 5",
            ),
        ]);
        let ask = || site.send(get("/")).message().text();
        assert!((0..10).all(|_| ask() != "backup"), "{lb}");
        site.engine.run(app("one", refused_port(), ""));
        site.engine
            .run(app("two", served[1].port(), "wharf.weight: 0"));
        site.wharf.wait_status("one replica drained", |status| {
            status.to_string().contains("no new requests")
        });
        assert!((0..10).all(|_| ask() == "backup"), "{lb}");
        // Nobody listens on the first, which is known without asking it.
        assert_eq!(site.metric("wharf_upstream_retries_total"), 0.0, "{lb}");
        site.engine
            .run(app("two", served[1].port(), "wharf.weight: 1"));
        site.wharf.wait_status("no replica drained", |status| {
            !status.to_string().contains("no new requests")
        });
        assert!((0..10).all(|_| ask() == "two"), "{lb}");
    }
}
