//! Labels of real containers -> who answers. Wharf runs on the host; hosts are `both`, so that plain
//! HTTP reaches the app.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::compose::Compose;
use crate::support::docker::{App, Container, Network, build_image, docker, example, unique};
use crate::support::http::{self, Response};
use crate::support::wharf::{Builder, Wharf};

/// A host name that is this test's alone: Wharf sees the containers of all tests.
fn host(word: &str) -> String {
    format!("{}.test", unique(word))
}

/// The sample app under `host`.
fn app(name: &str, host: &str) -> App {
    let app = App::new(name).label("wharf.host", host);
    app.label("wharf.https", "both")
}

/// The container's host name, which is what the sample app tells.
fn hostname(container: &Container) -> String {
    container.id[..12].to_owned()
}

fn answered_by(response: &Response) -> String {
    response.json()["hostname"].as_str().unwrap().to_owned()
}

/// Who answers `count` requests, and how often.
fn shares(wharf: &Wharf, host: &str, count: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        let response = wharf.get(host, "/json").unwrap();
        assert_eq!(response.status, 200, "{}", response.text());
        *shares.entry(answered_by(&response)).or_default() += 1;
    }
    shares
}

/// Waits until the upstream has so many endpoints.
fn wait_endpoints(wharf: &Wharf, upstream: &str, count: usize) {
    let what = format!("{count} endpoints of {upstream}");
    wharf.wait_status(&what, |status| {
        let mut upstreams = status["upstreams"].as_array().unwrap().iter();
        let found = upstreams.find(|one| one["name"] == upstream);
        found.map_or(0, |one| one["endpoints"].as_array().unwrap().len()) == count
    });
}

/// The reasons of a container's problems.
fn problems(wharf: &Wharf, container: &str) -> Vec<String> {
    let status = wharf.status_json();
    let problems = status["problems"].as_array().unwrap().iter();
    let of_container = problems.filter(|problem| problem["container"] == container);
    of_container
        .map(|problem| problem["reason"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits for the app: it listens some time after its container has started.
fn wait_ok(wharf: &Wharf, host: &str) {
    wharf.wait_answer(host, "/", |response| response.status == 200);
}

/// Waits for the answer of a route that nobody serves for a time.
fn wait_away(wharf: &Wharf, host: &str, why: &str) {
    wharf.wait_answer(host, "/", |answer| {
        answer.status == 503 && answer.text().contains(why)
    });
}

fn wait_gone(wharf: &Wharf, host: &str) {
    wharf.wait_answer(host, "/", |response| response.status == 404);
}

#[test]
fn a_container_is_served_from_start_to_stop() {
    let wharf = Builder::new().start();
    let name = host("one");
    let container = app("one", &name).run();
    wait_ok(&wharf, &name);
    assert_eq!(shares(&wharf, &name, 1), [(hostname(&container), 1)].into());
    container.stop(5);
    wait_away(&wharf, &name, &format!("{} has exited", container.name()));
    container.start();
    wait_ok(&wharf, &name);
    container.kill("KILL");
    wait_away(&wharf, &name, &format!("{} has exited", container.name()));
    let container = container.recreate();
    wait_ok(&wharf, &name);
    assert_eq!(shares(&wharf, &name, 1), [(hostname(&container), 1)].into());
    let removed = format!("{} has been removed", container.name());
    drop(container);
    wait_away(&wharf, &name, &removed);
}

#[test]
fn replicas_of_a_compose_service_share_exactly_and_a_one_off_gets_nothing() {
    let wharf = Builder::new().start();
    let (compose, name) = (Compose::new(), host("scaled"));
    let labels = [("wharf.host", name.as_str()), ("wharf.https", "both")];
    compose.up(&labels, &[]);
    wait_ok(&wharf, &name);
    // Has the service's labels.
    compose.run(&["run", "-d", "web"]);
    // Later than the one-off: once these are there, it has been seen, too.
    compose.up(&labels, &["--scale", "web=3"]);
    wait_endpoints(&wharf, &compose.upstream(), 3);
    let three = shares(&wharf, &name, 30);
    assert_eq!(three.into_values().collect::<Vec<_>>(), [10, 10, 10]);

    compose.up(&labels, &["--scale", "web=1"]);
    wait_endpoints(&wharf, &compose.upstream(), 1);
    assert_eq!(
        shares(&wharf, &name, 10).into_values().collect::<Vec<_>>(),
        [10]
    );
    assert_eq!(
        problems(&wharf, &format!("{}_web_1", compose.project)),
        NONE
    );
}

#[test]
fn a_changed_label_moves_the_service_to_its_new_host() {
    let wharf = Builder::new().start();
    let (compose, old, new) = (Compose::new(), host("old"), host("new"));
    compose.up(&[("wharf.host", &old), ("wharf.https", "both")], &[]);
    wait_ok(&wharf, &old);
    compose.up(&[("wharf.host", &new), ("wharf.https", "both")], &[]);
    wait_ok(&wharf, &new);
    wait_gone(&wharf, &old);
    wait_endpoints(&wharf, &compose.upstream(), 1);
}

#[test]
fn a_pool_spans_services_and_weights_are_exact() {
    let wharf = Builder::new().start();
    let (name, pool) = (host("pooled"), unique("pool"));
    let heavy = app("blue", &name).label("wharf.pool", &pool);
    let heavy = heavy.label("wharf.weight", "5").run();
    // Without a host of its own it serves the pool's.
    let light = App::new("green").label("wharf.pool", &pool).run();
    let off = App::new("grey").label("wharf.pool", &pool);
    let off = off.label("wharf.weight", "0").run();
    let upstream = format!("pool:{pool}");
    wait_endpoints(&wharf, &upstream, 3);
    let expected = [(hostname(&heavy), 50), (hostname(&light), 10)];
    assert_eq!(shares(&wharf, &name, 60), expected.into());
    drop(off);
    wait_endpoints(&wharf, &upstream, 2);
    drop(heavy);
    // Nobody names a host any more; the pool's is kept.
    wait_endpoints(&wharf, &upstream, 1);
    let expected = [(hostname(&light), 10)];
    assert_eq!(shares(&wharf, &name, 10), expected.into());
    wharf.wait_status("a problem", |status| {
        let problems = status["problems"].as_array().unwrap().iter();
        let mut ours = problems.filter(|problem| problem["container"] == light.name());
        ours.any(|problem| problem["reason"].as_str().unwrap().contains("wharf.host"))
    });
}

#[test]
fn named_routes_reach_their_own_ports_and_paths() {
    let wharf = Builder::new().start();
    let (shop, admin) = (host("shop"), host("admin"));
    let two = app("two", &shop).label("wharf.admin.host", &admin);
    let two = two.label("wharf.admin.port", "4000");
    let two = two.label("wharf.api.path", "/api");
    let two = two.label("wharf.api.strip", "true").run();
    // Listens on the second port of the same network.
    let second = App::new("second").env("PORT", "4000").env("NAME", "second");
    let _second = second
        .arg(&["--network", &format!("container:{}", two.id)])
        .run();

    wait_ok(&wharf, &admin);
    let json = |host: &str, path: &str| wharf.get(host, path).unwrap().json();
    assert_eq!(json(&admin, "/json")["name"], "second");
    assert_eq!(json(&shop, "/json")["name"], "");
    let api = json(&shop, "/api/json?q=%2F");
    assert_eq!(api["uri"], "/json?q=%2F");
    assert_eq!(api["headers"]["x-forwarded-prefix"][0], "/api");
    // Another word, not below the prefix.
    let whole = wharf.get(&shop, "/apiary").unwrap().text();
    assert!(whole.contains("GET /apiary HTTP/1.1"), "{whole}");
}

#[test]
fn the_network_label_decides_the_address_and_internal_networks_do_from_the_host() {
    let wharf = Builder::new().start();
    let (first, second) = (Network::new(), Network::with(&["--internal"]));
    let name = host("networks");
    let app = app("networks", &name).network(&first);
    let app = app.label("wharf.network", &second.name).run();
    let told = wharf.wait_log("is not on network");
    assert!(
        told.contains(app.name()) && told.contains(&first.name),
        "{told}"
    );
    wharf.wait_answer(&name, "/", |answer| answer.status == 502);

    second.connect(&app);
    wait_ok(&wharf, &name);
    let status = wharf.status_json();
    let upstreams = status["upstreams"].as_array().unwrap();
    let ours = upstreams.iter().find(|one| one["name"] == app.name());
    let address = app.address(&second).to_string();
    assert_eq!(ours.unwrap()["endpoints"][0]["address"], address);
    assert_eq!(problems(&wharf, app.name()), NONE);

    second.disconnect(&app);
    // Not asked before: what is sent into the gap between the two gets no answer.
    wait_endpoints(&wharf, app.name(), 0);
    wharf.wait_answer(&name, "/", |answer| answer.status == 502);
}

#[test]
fn wrong_labels_are_told_with_container_label_value_and_reason_and_cost_nobody_else() {
    let wharf = Builder::new().start();
    let good = host("good");
    let _good = app("good", &good).run();
    let cases = [
        ("wharf.prot", "8080", "did you mean `port`"),
        ("wharf.idle", "30m", "not supported yet"),
        ("wharf.timeout", "read=soon", "read"),
        ("wharf.weight", "-1", ""),
    ];
    let bad = cases.map(|(label, value, reason)| {
        let name = host("bad");
        let container = app("bad", &name).label(label, value).run();
        (container, name, label, value, reason)
    });
    let hidden_host = host("hidden");
    let hidden = app("hidden", &hidden_host).label("wharf.enable", "false");
    let hidden = hidden.label("wharf.prot", "1").run();
    // Later than all others: once it is served, they have been seen.
    let last = host("last");
    let _last = app("last", &last).run();
    wait_ok(&wharf, &last);

    let status = wharf.status_text();
    for (container, name, label, value, reason) in &bad {
        let answer = wharf.get(name, "/").unwrap();
        assert_eq!(answer.status, 503, "{label}: {}", answer.text());
        assert!(answer.text().contains(label), "{}", answer.text());
        let says = |line: &str| {
            let words = [container.name(), label, value, reason];
            words.iter().all(|word| line.contains(word))
        };
        assert!(status.lines().any(says), "{label}:\n{status}");
        assert!(wharf.log_lines().iter().any(|line| says(line)), "{label}");
    }
    let mut lines = status.lines().filter(|line| line.contains(hidden.name()));
    let line = lines.next().unwrap();
    assert!(
        line.contains("left out") && lines.next().is_none(),
        "{status}"
    );
    assert_eq!(wharf.get(&hidden_host, "/").unwrap().status, 404);
    assert_eq!(wharf.get(&good, "/").unwrap().status, 200);
}

#[test]
fn of_two_services_with_one_host_the_older_keeps_it() {
    let name = host("wanted");
    // By name the newcomer would come first.
    let older = app("z-older", &name).run();
    let created = |container: &Container| container.inspect("{{.Created}}")[..19].to_owned();
    let mut newer = app("a-newer", &name).run();
    while created(&newer) == created(&older) {
        newer = newer.recreate();
    }
    let wharf = Builder::new().start();
    wait_ok(&wharf, &name);
    assert_eq!(shares(&wharf, &name, 4), [(hostname(&older), 4)].into());
    // Other tests have such pairs, too.
    let told = wharf.wait_log(&format!("`{name}` with path / is already served"));
    assert!(
        told.contains(newer.name()) && told.contains(older.name()),
        "{told}"
    );

    docker(["rm", "-f", &older.id]);
    let newcomer = hostname(&newer);
    wharf.wait_answer(&name, "/json", |answer| {
        answer.status == 200 && answered_by(answer) == newcomer
    });
    assert_eq!(problems(&wharf, newer.name()), NONE);
}

#[test]
fn of_two_services_the_older_keeps_its_host_while_it_is_ill_but_takes_none_from_one_that_is_well() {
    let image = format!("wharf-test-ill:{}", std::process::id());
    let check = "HEALTHCHECK --interval=1s --retries=1 CMD [\"/whoami\", \"healthcheck\"]";
    let instructions =
        format!("COPY whoami /whoami\nEXPOSE 3000\nENTRYPOINT [\"/whoami\"]\n{check}\n");
    build_image(&image, &[("whoami", &example("whoami"))], &instructions);
    let name = host("ill");
    let service = |word| {
        let app = App::of_image(&image, word).label("wharf.host", &name);
        app.label("wharf.https", "both").label("wharf.hold", "off")
    };
    let older = service("z-older").run();
    let created = |container: &Container| container.inspect("{{.Created}}")[..19].to_owned();
    let health = |container: &Container, status: &str| {
        let ip = container.inspect("{{.NetworkSettings.IPAddress}}");
        let address = (ip.parse::<std::net::IpAddr>().unwrap(), 3000).into();
        crate::support::eventually("the app", LIMIT, || {
            http::request(address, "POST", "app", "/health", &[], status.as_bytes())
                .map_err(|error| error.to_string())
        });
        let word = if status == "200" {
            "healthy"
        } else {
            "unhealthy"
        };
        crate::support::eventually(word, LIMIT, || {
            match container.inspect("{{.State.Health.Status}}") {
                state if state == word => Ok(()),
                state => Err(state),
            }
        });
    };
    let mut newer = service("a-newer").run();
    while created(&newer) == created(&older) {
        newer = newer.recreate();
    }
    health(&older, "500");
    health(&newer, "200");

    // Nobody had the place before: who can answer gets it.
    let wharf = Builder::new().start();
    wait_ok(&wharf, &name);
    assert_eq!(shares(&wharf, &name, 4), [(hostname(&newer), 4)].into());
    let told = problems(&wharf, older.name());
    assert!(told[0].contains("which has it and keeps it"), "{told:?}");

    // It keeps the place, well or ill.
    health(&older, "200");
    health(&newer, "500");
    let answer = wharf.wait_answer(&name, "/", |answer| answer.status == 503);
    assert!(answer.text().contains("is unhealthy"), "{}", answer.text());
    health(&newer, "200");
    wait_ok(&wharf, &name);
    assert_eq!(shares(&wharf, &name, 4), [(hostname(&newer), 4)].into());

    // An older one that has it keeps it, too.
    drop(wharf);
    let wharf = Builder::new().start();
    wait_ok(&wharf, &name);
    assert_eq!(shares(&wharf, &name, 4), [(hostname(&older), 4)].into());
    health(&older, "500");
    wharf.wait_answer(&name, "/", |answer| answer.status == 503);
    let told = problems(&wharf, newer.name());
    assert!(told[0].contains("which is older and keeps it"), "{told:?}");
    drop((older, newer));
    docker(["image", "rm", "-f", &image]);
}

const NONE: [&str; 0] = [];
const LIMIT: Duration = Duration::from_secs(20);
