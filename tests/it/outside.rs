//! `wharf.upstream`: published ports, and addresses and names that are no container's. Networks of all
//! kinds beside them.

use std::net::{Ipv6Addr, TcpListener};

use crate::support::docker::{App, Container, Network, unique};
use crate::support::engine::FakeContainer;
use crate::support::origin::{Served, free_port, ok};
use crate::support::site::{Site, app, get};
use crate::support::wharf::{Builder, Wharf};

/// A container that only carries labels.
fn carrier(name: &str, upstream: &str) -> FakeContainer {
    let container = FakeContainer::new(name).label("wharf.host", "a.test");
    let container = container.label("wharf.tls", "off");
    container.label("wharf.upstream", upstream)
}

#[test]
fn addresses_outside_are_served_for_a_container_that_has_exited_and_survive_its_replacement() {
    let served = [Served::text("one"), Served::text("two")];
    let urls = served.each_ref();
    let urls = urls.map(|one| format!("http://127.0.0.1:{}", one.port()));
    let of_service = |name: &str| {
        let container = carrier(name, &urls.join(", ")).state("exited");
        let container = container.label("wharf.hold", "off");
        let container = container.label("com.docker.compose.project", "p");
        container.label("com.docker.compose.service", "s")
    };
    let site = Site::start([of_service("first")]);
    let texts = || {
        let mut texts = [0, 1].map(|_| site.send(get("/")).message().text());
        texts.sort();
        texts
    };
    assert_eq!(texts(), ["one", "two"]);
    // A container of another id; Wharf's connections to these are those of before.
    site.engine.run(of_service("second"));
    site.engine.remove("first");
    site.wharf.wait_status("the second one", |status| {
        let shown = status.to_string();
        shown.contains("second") && !shown.contains("first")
    });
    assert_eq!(texts(), ["one", "two"]);
    assert_eq!(served.each_ref().map(Served::connections), [1, 1]);
    site.engine.remove("second");
    site.wharf.wait_answer("a.test", "/", |answer| {
        answer.status == 503 && answer.text().contains("second has been removed")
    });
}

#[test]
fn a_name_is_looked_up_and_one_that_cannot_be_is_told() {
    let served = Served::text("by name");
    let good = carrier("good", &format!("http://localhost:{}", served.port()));
    let bad = carrier("bad", "http://nowhere.invalid:80").label("wharf.host", "b.test");
    let bad = bad.label("wharf.hold", "off");
    let site = Site::start([good, bad]);
    let answer = site.send(get("/")).message();
    assert_eq!((answer.status(), answer.text()), (200, "by name".into()));
    let answer = site
        .wharf
        .wait_answer("b.test", "/", |answer| answer.status == 502);
    assert!(
        answer
            .text()
            .contains("`nowhere.invalid` cannot be looked up")
    );
    let told = site.wharf.wait_log("`nowhere.invalid` cannot be looked up");
    assert!(
        told.contains("ERROR") && told.contains("wharf.upstream"),
        "{told}"
    );
}

#[test]
fn an_address_outside_that_is_wrong_costs_its_route_and_says_what_to_write() {
    let cases = [
        (
            "http://10.0.0.1, unix:app.sock",
            "a Unix socket stands alone",
        ),
        ("http://10.0.0.1/base", "wharf.rewrite"),
        ("http://169.254.169.254", "link-local"),
    ];
    for (value, part) in cases {
        let site = Site::start([carrier("carrier", value)]);
        let answer = site.send(get("/")).message();
        assert_eq!(answer.status(), 503, "{value}");
        assert!(answer.text().contains(part), "{value}: {}", answer.text());
    }
}

#[test]
fn an_app_on_ipv6_alone_is_reached() {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let _served = Served::on(listener, |_| ok("six"));
    let container = app("app", port, "wharf.host: a.test\nwharf.tls: off");
    let site = Site::start([container.at("web", Ipv6Addr::LOCALHOST.into())]);
    let answer = site.send(get("/")).message();
    assert_eq!((answer.status(), answer.text()), (200, "six".into()));
}

/// The sample app under a host of its own.
fn labelled(name: &str) -> (App, String) {
    let host = format!("{}.test", unique(name));
    let app = App::new(name).env("NAME", name);
    (
        app.label("wharf.host", &host).label("wharf.tls", "off"),
        host,
    )
}

fn wait_name(wharf: &Wharf, host: &str, name: &str) {
    wharf.wait_answer(host, "/json", |answer| {
        answer.status == 200 && answer.json()["name"] == name
    });
}

/// The address of the one endpoint of a container's upstream.
fn endpoint(wharf: &Wharf, container: &Container) -> String {
    let status = wharf.status_json();
    let mut upstreams = status["upstreams"].as_array().unwrap().iter();
    let ours = upstreams.find(|one| one["name"] == container.name());
    let address = &ours.unwrap()["endpoints"][0]["address"];
    address.as_str().unwrap().to_owned()
}

fn warned(wharf: &Wharf, container: &Container) -> bool {
    let status = wharf.status_json();
    let mut problems = status["problems"].as_array().unwrap().iter();
    problems.any(|problem| {
        let reason = problem["reason"].as_str().unwrap();
        problem["container"] == container.name() && reason.contains("go past Wharf")
    })
}

#[test]
fn a_published_port_is_the_way_where_that_is_asked_for_and_a_warning_where_not() {
    let network = Network::with(&["--internal"]);
    let (through, host) = labelled("through");
    let through = through.label("wharf.upstream", "published");
    let through = through.arg(&["--publish=127.0.0.1::3000"]).run();
    let (beside, beside_host) = labelled("beside");
    let beside = beside.arg(&["--publish=3000"]).run();
    let (apart, apart_host) = labelled("apart");
    let apart = apart
        .label("wharf.upstream", "published")
        .network(&network)
        .run();
    let wharf = Builder::new().start();
    wait_name(&wharf, &host, "through");
    let published =
        through.inspect("{{(index (index .NetworkSettings.Ports \"3000/tcp\") 0).HostPort}}");
    assert_eq!(endpoint(&wharf, &through), format!("127.0.0.1:{published}"));
    wait_name(&wharf, &beside_host, "beside");
    assert_eq!(
        endpoint(&wharf, &beside),
        format!("{}:3000", beside.inspect("{{.NetworkSettings.IPAddress}}"))
    );
    assert!(warned(&wharf, &beside) && !warned(&wharf, &through));
    let answer = wharf.wait_answer(&apart_host, "/", |answer| answer.status == 502);
    assert!(
        answer.text().contains("publishes no port"),
        "{} {}",
        apart.name(),
        answer.text()
    );
}

#[test]
fn apps_on_the_hosts_network_and_on_another_containers_are_reached() {
    let (on_host, host) = labelled("on-host");
    let port = free_port().to_string();
    let on_host = on_host.label("wharf.port", &port).env("PORT", &port);
    let on_host = on_host.arg(&["--network=host"]).run();
    let network = Network::new();
    let owner = App::new("owner").network(&network).run();
    let (guest, guest_host) = labelled("guest");
    let guest = guest.label("wharf.port", "4000").env("PORT", "4000");
    let guest = guest
        .arg(&["--network", &format!("container:{}", owner.id)])
        .run();
    let wharf = Builder::new().start();
    wait_name(&wharf, &host, "on-host");
    assert_eq!(endpoint(&wharf, &on_host), format!("127.0.0.1:{port}"));
    wait_name(&wharf, &guest_host, "guest");
    let address = format!("{}:4000", owner.ip(&network));
    assert_eq!(endpoint(&wharf, &guest), address);
    // It follows the container whose network it uses.
    let other = Network::new();
    other.connect(&owner);
    network.disconnect(&owner);
    let moved = format!("{}:4000", owner.ip(&other));
    wharf.wait_status("its new address", |status| {
        status.to_string().contains(&moved)
    });
    wait_name(&wharf, &guest_host, "guest");
}

#[test]
fn on_a_network_with_both_families_ipv4_is_used() {
    let subnet = format!("fd00:{:x}::/64", std::process::id() % 0xffff);
    let network = Network::with(&["--ipv6", "--subnet", &subnet]);
    let (app, host) = labelled("dual");
    let app = app.network(&network).run();
    let six = app.inspect("{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}");
    assert!(six.starts_with("fd00:"), "the engine gives no IPv6: {six}");
    let wharf = Builder::new().start();
    wait_name(&wharf, &host, "dual");
    assert_eq!(endpoint(&wharf, &app), app.address(&network).to_string());
}
