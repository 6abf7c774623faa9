//! One host and path, several services: their shares, who is sent to one of them, and who stays.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::crew::{Crew, counts, with};
use crate::support::site::{app, get};

/// Blue with two replicas, `a` and `b`, and green with two, `c` and `d`; each with these labels.
fn blue_green(workers: u32, blue: &str, green: &str) -> Crew {
    let labels = |service: &str, own: &str| format!("{}\n{own}", member(service));
    let (blue, green) = (labels("blue", blue), labels("green", green));
    Crew::of(workers, &[&blue, &blue, &green, &green])
}

fn member(service: &str) -> String {
    format!(
        "wharf.host: a.test\nwharf.tls: off\ncom.docker.compose.project: shop\ncom.docker.compose.service: {service}"
    )
}

#[test]
fn ninety_to_ten_over_ten_thousand_requests_divided_over_replicas() {
    let crew = blue_green(3, "wharf.weight: 90", "wharf.weight: 10");
    let shares = crew.ask(8, 1250, |_| get("/"));
    let exact = [("a", 4500), ("b", 4500), ("c", 500), ("d", 500)];
    assert_eq!(shares, counts(&exact));
}

#[test]
fn shares_are_the_services_however_many_replicas_they_have_and_survive_swaps() {
    let crew = blue_green(2, "wharf.weight: 1", "wharf.weight: 1");
    // Green is down to one replica: still half of the requests.
    crew.site.engine.remove("app3");
    crew.site.wharf.wait_status("three replicas", |status| {
        !status.to_string().contains("app3")
    });
    let shares = std::thread::scope(|scope| {
        let asking = scope.spawn(|| crew.ask(4, 2500, |_| get("/")));
        while !asking.is_finished() {
            let labels = "wharf.host: b.test\nwharf.tls: off";
            crew.site.engine.run(app("other", 1, labels));
            std::thread::sleep(Duration::from_millis(30));
            crew.site.engine.remove("other");
            std::thread::sleep(Duration::from_millis(30));
        }
        asking.join().unwrap()
    });
    assert_eq!(shares, counts(&[("a", 2500), ("b", 2500), ("c", 5000)]));
    // Green goes: blue has it all, and nobody is refused.
    crew.site.engine.remove("app2");
    crew.site.wharf.wait_status("two replicas", |status| {
        status.to_string().contains("app2 has been removed")
    });
    assert_eq!(crew.ask(1, 10, |_| get("/")), counts(&[("a", 5), ("b", 5)]));
}

#[test]
fn a_canary_goes_to_who_asks_for_it() {
    let crew = blue_green(
        1,
        "wharf.weight: 100",
        "wharf.weight: 0\nwharf.canary: header:X-Canary=1, cookie:beta",
    );
    assert_eq!(
        crew.ask(2, 50, |_| get("/")),
        counts(&[("a", 50), ("b", 50)])
    );
    for fields in [
        "x-canary: 1\r\n",
        "Cookie: a=b; beta=\r\n",
        "X-Canary: 0\r\nX-Canary: 1\r\n",
    ] {
        let shares = crew.ask(1, 10, |_| with("/", fields));
        assert_eq!(shares, counts(&[("c", 5), ("d", 5)]), "{fields}");
    }
    for fields in ["x-canary: 10\r\n", "Cookie: beta2=1\r\n", "beta: 1\r\n"] {
        let shares = crew.ask(1, 10, |_| with("/", fields));
        assert_eq!(shares, counts(&[("a", 5), ("b", 5)]), "{fields}");
    }
    // Its containers are gone, its route is kept: the others answer.
    for name in ["app2", "app3"] {
        crew.site.engine.remove(name);
    }
    crew.site.wharf.wait_status("no canary", |status| {
        status.to_string().contains("has been removed")
    });
    let shares = crew.ask(1, 10, |_| with("/", "x-canary: 1\r\n"));
    assert_eq!(shares, counts(&[("a", 5), ("b", 5)]));
}

#[test]
fn a_sticky_client_stays_with_its_service_until_that_is_emptied() {
    let labels = |weight| format!("wharf.weight: {weight}\nwharf.sticky: on");
    let crew = blue_green(2, &labels(50), &labels(50));
    let ask = |cookies: &str| {
        let field = match cookies {
            "" => String::new(),
            cookies => format!("Cookie: {cookies}\r\n"),
        };
        let answer = crew.site.send(with("/", &field)).message();
        let cookie = answer.field("set-cookie").map(str::to_owned);
        (answer.text(), cookie)
    };
    let clients: BTreeMap<String, String> = (0..12)
        .map(|_| ask(""))
        .map(|(name, cookie)| {
            let cookie = cookie.unwrap();
            (name, cookie.split(';').next().unwrap().to_owned())
        })
        .collect();
    assert_eq!(clients.keys().cloned().collect::<String>(), "abcd");
    for (name, cookie) in &clients {
        for _ in 0..10 {
            assert_eq!(ask(cookie), (name.clone(), None));
        }
    }
    for index in [2, 3] {
        let labels = format!("{}\n{}", member("green"), labels(0));
        let replica = app(&format!("app{index}"), crew.port(index), &labels);
        crew.site.engine.run(replica);
    }
    crew.site.wharf.wait_status("green is emptied", |status| {
        status.to_string().matches("no new requests").count() == 2
    });
    for (name, cookie) in &clients {
        let (now, _) = ask(cookie);
        let blue = ["a", "b"].contains(&&*now);
        assert!(
            blue && (now == *name || ["c", "d"].contains(&&**name)),
            "{name} -> {now}"
        );
    }
}

#[test]
fn each_service_has_its_own_settings_and_both_schemes_work() {
    let shared = "com.docker.compose.project: shop\nwharf.host: a.test\nwharf.tls: internal\nwharf.https: both";
    let label = |service: &str, own: &str| {
        format!("{shared}\ncom.docker.compose.service: {service}\nwharf.weight: 1\n{own}")
    };
    let (blue, green) = (label("blue", ""), label("green", "wharf.websocket: off"));
    let crew = Crew::of(1, &[&blue, &green]);
    let site = &crew.site;
    let upgrade = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let statuses: Vec<u16> = (0..4)
        .map(|_| site.send(upgrade).message().status())
        .collect();
    // Blue's app knows no WebSocket and answers 200; green's route refuses.
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        2,
        "{statuses:?}"
    );
    let mut tls = site.tls("a.test").unwrap();
    let answers = [0; 4].map(|_| tls.send(get("/")).message().text());
    assert_eq!(
        answers.iter().filter(|name| *name == "a").count(),
        2,
        "{answers:?}"
    );
}
