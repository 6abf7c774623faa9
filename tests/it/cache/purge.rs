//! S49: what is forgotten on purpose, and what is told of the rest.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use super::{Stage, with, word};
use crate::support::docker::{Network, docker};
use crate::support::eventually;
use crate::support::http;
use crate::support::site::{Site, app, get};

/// What `wharf cache` prints.
fn wharf(site: &Site, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    let admin = site.wharf.admin.to_string();
    let output = command
        .arg("cache")
        .args(args)
        .args(["--admin", &admin])
        .env_clear();
    let output = output.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// S49: by URL, host and tag; in memory and on disk.
#[test]
fn s49_a_command_makes_it_forget() {
    let stage = Stage::new(
        "wharf.host: a.test, b.test\nwharf.cache: 10m",
        |n, request| {
            let tag = match request.head.contains("/tagged") {
                true => "Cache-Tag: shoes, Size 9",
                false => "Surrogate-Key: hats gloves",
            };
            with(tag, &n.to_string())
        },
    );
    let hit = |host: &str, path: &str| word(&stage.ask_as("GET", path, host, &[])) == "HIT";
    let fill = || {
        for (host, path) in [
            ("a.test", "/x"),
            ("a.test", "/x?y"),
            ("a.test", "/tagged"),
            ("b.test", "/x"),
        ] {
            stage.ask_as("GET", path, host, &[]);
            assert!(hit(host, path));
        }
    };
    let purge = |what: &str| wharf(&stage.site, &["purge", what]);
    fill();
    assert_eq!(
        purge("http://a.test/x"),
        (true, "1 entry forgotten\n".into())
    );
    assert!(!hit("a.test", "/x") && hit("a.test", "/x?y") && hit("b.test", "/x"));
    assert_eq!(purge("a.test/x?y"), (true, "1 entry forgotten\n".into()));
    assert_eq!(
        purge("https://a.test/x"),
        (true, "0 entries forgotten\n".into())
    );
    fill();
    assert_eq!(purge("a.test"), (true, "3 entries forgotten\n".into()));
    assert!(!hit("a.test", "/tagged") && hit("b.test", "/x"));
    fill();
    assert_eq!(purge("Size 9"), (true, "1 entry forgotten\n".into()));
    assert!(!hit("a.test", "/tagged"));
    assert_eq!(purge("gloves"), (true, "3 entries forgotten\n".into()));
    fill();
    assert_eq!(
        wharf(&stage.site, &["purge", "--all"]),
        (true, "4 entries forgotten\n".into())
    );
    for (what, why) in [
        ("http://c.test/", "no route names c.test"),
        ("ftp://a.test/", "neither http"),
    ] {
        let (done, told) = purge(what);
        assert!(!done && told.contains(why), "{what}: {told}");
    }
}

/// S49, D5: another image of the app is a reason to forget.
#[test]
fn s49_a_new_image_makes_it_forget() {
    let stage = Stage::new(
        "wharf.cache: 10m\nwharf.cache.purge_on_deploy: true",
        |n, _| with("", &n.to_string()),
    );
    let port = stage.app.as_ref().unwrap().port();
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.pool: p\nwharf.cache: 10m\nwharf.cache.purge_on_deploy: true";
    let of = |name: &str, image: &str| app(name, port, labels).image(image);
    let engine = &stage.site.engine;
    let route = |version: &str| {
        eventually(version, std::time::Duration::from_secs(20), || {
            let (_, told) = wharf(&stage.site, &["stats", "--json"]);
            told.contains(version).then_some(()).ok_or(told)
        });
    };
    engine.remove("app");
    engine.run(of("one", "sha256:aaaaaaaaaaaaaaaa"));
    route("\"owner\": \"pool:p@aaaaaaaaaaaa\"");
    stage.get("/");
    let kept = stage.get("/");
    assert_eq!(word(&kept), "HIT");
    let count = |what: &str, count: usize| {
        stage.site.wharf.wait_status(what, |status| {
            status["upstreams"][0]["endpoints"]
                .as_array()
                .is_some_and(|all| all.len() == count)
        });
    };
    // The same image once more: a replica.
    engine.run(of("two", "sha256:aaaaaaaaaaaaaaaa"));
    count("two replicas", 2);
    assert_eq!(
        (word(&stage.get("/")), stage.get("/").text()),
        ("HIT", kept.text())
    );
    // Nobody runs: it stands in.
    engine.remove("one");
    engine.remove("two");
    count("none", 0);
    assert_eq!(stage.get("/").text(), kept.text());
    engine.run(of("three", "sha256:bbbbbbbbbbbbbbbb"));
    route("\"owner\": \"pool:p@bbbbbbbbbbbb\"");
    let new = stage.get("/");
    assert_eq!(word(&new), "MISS");
    assert_ne!(new.text(), kept.text());
    stage.site.wharf.wait_log("another version of the app");
}

/// What is told: `wharf cache stats`, `/metrics`.
#[test]
fn s49_what_it_did_is_told_by_route_and_status() {
    let stage = Stage::new(
        "wharf.cache: 10m\nwharf.live.path: /live\nwharf.live.cache: on",
        |_, _| with("", "x"),
    );
    for _ in 0..3 {
        stage.get("/");
    }
    stage.get("/live");
    let metric = |status: &str, route: &str| {
        let name = format!("wharf_cache_requests_total{{route=\"{route}\",status=\"{status}\"}}");
        stage.site.metric(&name)
    };
    assert_eq!((metric("HIT", "app"), metric("MISS", "app")), (2.0, 1.0));
    assert_eq!(
        (metric("HIT", "app#live"), metric("MISS", "app#live")),
        (0.0, 1.0)
    );
    assert_eq!(
        stage.site.metric("wharf_cache_entries{tier=\"memory\"}"),
        2.0
    );
    let (done, told) = wharf(&stage.site, &["stats"]);
    assert!(
        done && told.contains("66 % of 3 requests were hits"),
        "{told}"
    );
    assert!(told.contains("HIT 2  MISS 1"), "{told}");
    let mut explain = Command::new(env!("CARGO_BIN_EXE_wharf"));
    let admin = stage.site.wharf.admin.to_string();
    let told = explain
        .args(["explain", "http://a.test/", "--admin", &admin])
        .env_clear();
    let told = String::from_utf8(told.output().unwrap().stdout).unwrap();
    assert!(told.contains("wharf.cache"), "{told}");
    // Whoever may read metrics from elsewhere cannot make it forget, and no page can without being asked.
    let answer = http::request(
        stage.site.wharf.admin,
        "POST",
        "localhost",
        "/cache?all",
        &[],
        b"",
    )
    .unwrap();
    assert_eq!(answer.status, 405);
    assert_eq!(word(&stage.site.send(get("/")).message()), "HIT");
}

/// S49: forgetting is for those on the machine itself, by address, whatever name they give.
#[test]
fn s49_nobody_from_elsewhere_makes_it_forget() {
    let stage = Stage::with(
        "wharf.cache: 10m",
        |builder| builder.env("WHARF_ADMIN", "0.0.0.0:0"),
        |_, _| with("", "x"),
    );
    stage.get("/");
    let port = stage.site.wharf.admin.port();
    let delete = |address: IpAddr, host: &str, fields: &[(&str, &str)]| {
        http::request(
            (address, port).into(),
            "DELETE",
            host,
            "/cache?all",
            fields,
            b"",
        )
        .unwrap()
    };
    let network = Network::new();
    let gateway = docker([
        "network",
        "inspect",
        "--format",
        "{{(index .IPAM.Config 0).Gateway}}",
        &network.name,
    ]);
    let bridge: IpAddr = gateway.parse().unwrap();
    let claims = [
        ("X-Forwarded-For", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1"),
        ("X-Real-IP", "127.0.0.1"),
    ];
    for (host, fields) in [("localhost", &claims[..]), (&*gateway, &[])] {
        let answer = delete(bridge, host, fields);
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    // What is read-only is answered; and nothing was forgotten.
    let stats = http::get((bridge, port).into(), &gateway, "/cache").unwrap();
    assert_eq!(stats.status, 200);
    assert_eq!(word(&stage.get("/")), "HIT");
    let near = delete(Ipv4Addr::LOCALHOST.into(), "localhost", &[]);
    assert_eq!((near.status, &*near.text()), (200, "1 entry forgotten\n"));
    assert_eq!(word(&stage.get("/")), "MISS");
}
