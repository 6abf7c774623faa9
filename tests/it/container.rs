//! Wharf in a container, packed by `scripts/pack`: which networks it reaches apps on, what it
//! needs from the engine, how it ends.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::curl::{Answer, curl};
use crate::support::docker::{App, Container, Network, Packed, docker, unique};
use crate::support::eventually;
use crate::support::http::{self, Response};
use crate::support::origin::free_port;

/// A container of Wharf, its ports published on loopback.
struct Contained {
    container: Container,
    http: SocketAddr,
    https: SocketAddr,
    _images: Arc<Packed>,
}

impl Contained {
    /// As the README says for somebody other than root, and with nothing it does not need.
    fn start(network: &Network) -> Self {
        let group = std::fs::metadata(SOCKET).unwrap().gid().to_string();
        Self::start_with(
            network,
            &[
                "--user=65532:65532",
                &format!("--group-add={group}"),
                "--read-only",
                "--cap-drop=ALL",
                "--security-opt=no-new-privileges",
            ],
        )
    }

    fn start_with(network: &Network, args: &[&str]) -> Self {
        let images = Packed::shared();
        let app = App::of_image(&images.wharf(), "wharf").network(network);
        let app = app.arg(&["--volume", &format!("{SOCKET}:/var/run/docker.sock:ro")]);
        let app = app.arg(&["--publish=127.0.0.1::80", "--publish=127.0.0.1::443"]);
        // The image's own interval would make the test wait.
        let container = app.arg(&["--health-interval=500ms"]).arg(args).run();
        let published = |port: &str| docker(["port", &container.id, port]).parse().unwrap();
        Self {
            http: published("80"),
            https: published("443"),
            container,
            _images: images,
        }
    }

    fn wait_answer(&self, host: &str, is: impl Fn(&Response) -> bool) -> Response {
        eventually(host, LIMIT, || match http::get(self.http, host, "/") {
            Ok(response) if is(&response) => Ok(response),
            Ok(response) => Err(format!("{}: {}", response.status, response.text())),
            Err(error) => Err(error.to_string()),
        })
    }

    fn status(&self) -> String {
        docker(["exec", &self.container.id, "/wharf", "status"])
    }

    /// `docker cp`, as the quick start does it.
    fn root(&self) -> String {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        let from = format!("{}:/data/ca/ca.crt", self.container.id);
        docker(["cp", &from, file.to_str().unwrap()]);
        std::fs::read_to_string(file).unwrap()
    }

    fn https(&self, host: &str, root: &str) -> Result<Answer, String> {
        curl(&format!("https://{host}/json"), self.https)
            .root(root)
            .run()
    }
}

/// Always of the built-in CA.
fn local_host(word: &str) -> String {
    format!("{}.localhost", unique(word))
}

#[test]
fn an_unprivileged_container_serves_apps_on_its_network_over_https() {
    let network = Network::new();
    let name = local_host("shared");
    let app = App::new("shared")
        .label("wharf.host", &name)
        .network(&network)
        .run();
    let wharf = Contained::start(&network);

    let redirect = wharf.wait_answer(&name, |answer| answer.status == 301);
    let port = wharf.https.port();
    assert_eq!(
        redirect.header("location").unwrap(),
        format!("https://{name}:{port}/")
    );
    let answer = wharf.https(&name, &wharf.root()).unwrap();
    let seen = answer.json();
    assert_eq!((answer.status, answer.version.as_str()), (200, "2"));
    assert_eq!(seen["hostname"], app.id[..12]);
    assert_eq!(seen["headers"]["x-forwarded-proto"][0], "https");
    let stranger = rcgen::generate_simple_self_signed([name.clone()]).unwrap();
    let refused = wharf.https(&name, &stranger.cert.pem()).unwrap_err();
    assert!(refused.contains("certificate"), "{refused}");

    let health = || wharf.container.inspect("{{.State.Health.Status}}");
    eventually("health", LIMIT, || match health().as_str() {
        "healthy" => Ok(()),
        other => Err(other.to_owned()),
    });
    let status = wharf.status();
    assert!(
        status.contains(&name) && status.contains("ready"),
        "{status}"
    );
    // Containers of other tests may have problems.
    let problem = |line: &str| {
        let words = line.trim_start();
        (words.starts_with("error ") || words.starts_with("warning ")) && line.contains(&name)
    };
    assert!(!status.lines().any(problem), "{status}");

    let started = Instant::now();
    wharf.container.stop(10);
    assert_eq!(wharf.container.inspect("{{.State.ExitCode}}"), "0");
    let took = started.elapsed();
    // The engine itself may take seconds when it is busy.
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn an_app_on_another_network_is_a_502_that_names_both_sides_until_it_is_connected() {
    let (ours, theirs) = (Network::new(), Network::new());
    let name = local_host("apart");
    let app = App::new("apart").label("wharf.host", &name);
    let app = app.label("wharf.https", "both").network(&theirs).run();
    let wharf = Contained::start_with(&ours, &[]);

    let page = wharf
        .wait_answer(&name, |answer| answer.status == 502)
        .text();
    let status = wharf.status();
    for word in [app.name(), &ours.name, &theirs.name] {
        assert!(page.contains(word), "{page}");
        assert!(status.contains(word), "{status}");
    }
    let log = wharf.container.logs();
    assert!(log.contains("shares no network with Wharf"), "{log}");

    ours.connect(&app);
    wharf.wait_answer(&name, |answer| answer.status == 200);
    let log = wharf.container.logs();
    assert!(log.contains("gone: shares no network"), "{log}");

    // And the other way round: Wharf joins the app's network.
    ours.disconnect(&app);
    let apart = format!("Wharf is on {} container=\"{}\"", ours.name, app.name());
    eventually("apart again", LIMIT, || {
        let log = wharf.container.logs();
        let apart = |line: &&str| line.contains("ERROR") && line.contains(&apart);
        match log.lines().filter(apart).count() {
            2 => Ok(()),
            _ => Err(log),
        }
    });
    theirs.connect(&wharf.container);
    wharf.wait_answer(&name, |answer| answer.status == 200);
}

#[test]
fn a_published_port_and_an_app_on_the_hosts_network_are_behind_the_gateway() {
    let (ours, theirs) = (Network::new(), Network::new());
    let labelled = |word: &str| {
        let name = local_host(word);
        let app = App::new(word).env("NAME", word);
        let app = app.label("wharf.host", &name);
        (app.label("wharf.https", "both"), name)
    };
    let (app, name) = labelled("published");
    let app = app.label("wharf.upstream", "published").network(&theirs);
    let _app = app.arg(&["--publish=3000"]).run();
    let (hidden, hidden_name) = labelled("hidden");
    let hidden = hidden.label("wharf.upstream", "published");
    let hidden = hidden.network(&theirs).arg(&["--publish=127.0.0.1::3000"]);
    let _hidden = hidden.run();
    let (on_host, on_host_name) = labelled("on-host");
    let port = free_port().to_string();
    let on_host = on_host.label("wharf.port", &port).env("PORT", &port);
    let _on_host = on_host.arg(&["--network=host"]).run();
    let wharf = Contained::start(&ours);
    for (name, word) in [(&name, "published"), (&on_host_name, "on-host")] {
        let answer = wharf.wait_answer(name, |answer| answer.status == 200);
        assert!(answer.text().contains(word), "{}", answer.text());
    }
    let answer = wharf.wait_answer(&hidden_name, |answer| answer.status == 502);
    let log = wharf.container.logs();
    let why = "publishes port 3000 on 127.0.0.1 only";
    assert!(log.contains(why), "{} {log}", answer.text());
}

const SOCKET: &str = "/var/run/docker.sock";
const LIMIT: Duration = Duration::from_secs(20);
