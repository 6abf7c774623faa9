//! What decides about routes beside their own labels: presets, defaults, files, and which containers are this Wharf's.
//! Real containers of the engine, which those of other tests run on, too.

use std::fs;
use std::path::Path;

use crate::support::docker::{App, Network, Packed, docker, unique};
use crate::support::http::{self, Response};
use crate::support::origin::Served;
use crate::support::wharf::{Builder, Wharf};
use crate::support::{compose::Compose, eventually};

fn host(word: &str) -> String {
    format!("{}.test", unique(word))
}

/// The sample app under `host`, in clear.
fn app(name: &str, host: &str) -> App {
    let app = App::new(name).label("wharf.host", host);
    app.label("wharf.tls", "off")
}

/// A Wharf that follows the files of `folder`.
fn with_files(folder: &Path) -> Builder {
    Builder::new().env("WHARF_CONFIG", &folder.to_string_lossy())
}

/// Written as editors do it: the file is there as a whole at once.
fn write(folder: &Path, name: &str, text: &str) {
    let new = folder.join(format!("{name}.new"));
    fs::write(&new, text).unwrap();
    fs::rename(new, folder.join(name)).unwrap();
}

fn wait_header(wharf: &Wharf, host: &str, name: &str, value: Option<&str>) -> Response {
    wharf.wait_answer(host, "/", |answer| {
        answer.status == 200 && answer.header(name) == value
    })
}

/// The reasons told of a container or a file.
fn problems(wharf: &Wharf, whose: &str) -> Vec<String> {
    let status = wharf.status_json();
    let problems = status["problems"].as_array().unwrap().iter();
    let of_whose = problems.filter(|problem| problem["container"] == whose);
    of_whose
        .map(|problem| problem["reason"].as_str().unwrap().to_owned())
        .collect()
}

/// B81: a preset that is built in, and one of a file, which changes while Wharf runs; a label counts more than both.
#[test]
fn presets_are_used_and_follow_their_file() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "presets.yaml",
        "office:\n  headers: {response: X-Office=one}\n  security: strict\n",
    );
    let wharf = with_files(folder.path()).start();
    let (used, named, plain) = (host("used"), host("named"), host("plain"));
    let _used = app("used", &used)
        .label("wharf.use", "hardened, office")
        .run();
    let of_named = app("named", &named).label("wharf.use", "office");
    let of_named = of_named.label("wharf.security", "off");
    let _named = of_named
        .label("wharf.open.path", "/open")
        .label("wharf.open.use", "off")
        .run();
    let _plain = app("plain", &plain).run();

    let answer = wait_header(&wharf, &used, "x-office", Some("one"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        answer.header("content-security-policy"),
        Some("default-src 'self'"),
        "of the right one"
    );
    assert_eq!(
        wharf.get(&used, "/.git/config").unwrap().status,
        404,
        "of the left one"
    );
    let answer = wait_header(&wharf, &named, "x-office", Some("one"));
    assert_eq!(
        answer.header("x-content-type-options"),
        None,
        "the label says off"
    );
    let open = wharf.get(&named, "/open").unwrap();
    assert_eq!((open.status, open.header("x-office")), (200, None));
    wait_header(&wharf, &plain, "x-office", None);

    write(
        folder.path(),
        "presets.yaml",
        "office:\n  headers.response: X-Office=two\n",
    );
    wait_header(&wharf, &used, "x-office", Some("two"));
    // No YAML any more: what it said before counts on.
    write(
        folder.path(),
        "presets.yaml",
        "office: {headers.response: [\n",
    );
    let told = wharf.wait_log("no YAML");
    assert!(
        told.contains("presets.yaml") && told.contains("line "),
        "{told}"
    );
    wait_header(&wharf, &used, "x-office", Some("two"));
    assert!(!problems(&wharf, "file:presets.yaml").is_empty());
}

/// B81: a preset that is not there, or is wrong, costs the routes that use it and no other; where it is defined, it is
/// told once.
#[test]
fn a_preset_that_cannot_be_used_costs_its_routes() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "presets.yaml",
        "office:\n  alow: 10.0.0.0/8\nfine:\n  headers.response: X-Fine=1\n",
    );
    let wharf = with_files(folder.path()).start();
    let hosts = ["wrong", "unknown", "fine"].map(host);
    let uses = ["office", "hardend", "fine"];
    let apps: Vec<_> = { hosts.iter().zip(uses) }
        .map(|(host, used)| app("preset", host).label("wharf.use", used).run())
        .collect();
    wait_header(&wharf, &hosts[2], "x-fine", Some("1"));
    for (index, part) in [
        (0, "presets.yaml:2:3: office.alow"),
        (1, "did you mean `hardened`?"),
    ] {
        let answer = wharf.wait_answer(&hosts[index], "/", |answer| answer.status == 503);
        assert!(answer.text().contains(part), "{}", answer.text());
        let told = problems(&wharf, apps[index].name());
        assert!(told.len() == 1 && told[0].contains(part), "{told:?}");
    }
    let told = problems(&wharf, "file:presets.yaml");
    assert!(
        told.len() == 1 && told[0].contains("did you mean `allow`?"),
        "{told:?}"
    );

    write(
        folder.path(),
        "presets.yaml",
        "office:\n  allow: private, loopback\n",
    );
    wharf.wait_answer(&hosts[0], "/", |answer| answer.status == 200);
}

/// B81: Wharf in a container defines presets by its labels; those of other containers define none.
#[test]
fn labels_of_wharfs_own_container_define_presets() {
    let network = Network::new();
    let images = Packed::shared();
    let wharf = App::of_image(&images.wharf(), "wharf").network(&network);
    let wharf = wharf
        .arg(&["--volume", "/var/run/docker.sock:/var/run/docker.sock:ro"])
        .arg(&["--publish=127.0.0.1::80"])
        .label("wharf.preset.office.headers.response", "X-Office=wharf")
        .run();
    let address = docker(["port", &wharf.id, "80"]).parse().unwrap();
    let name = host("labelled");
    let used = app("labelled", &name)
        .network(&network)
        .label("wharf.use", "office");
    let _used = used
        .label("wharf.preset.office.headers.response", "X-Office=app")
        .run();
    eventually("the preset", std::time::Duration::from_secs(30), || {
        let answer = http::get(address, &name, "/").map_err(|error| error.to_string())?;
        match (answer.status, answer.header("x-office")) {
            (200, Some("wharf")) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// B81, and rule 15 of labels: what an environment variable says holds where nothing else does.
#[test]
fn defaults_hold_where_neither_label_nor_preset_says_anything() {
    let wharf = Builder::new()
        .env("WHARF_DEFAULT_HEADERS_RESPONSE", "X-Level=default")
        .env("WHARF_DEFAULT_BLOCK", "/closed")
        .env("WHARF_DEFAULT_HTTPS", "both")
        .start();
    let (plain, open) = (host("plain"), host("open"));
    let _plain = App::new("plain").label("wharf.host", &plain).run();
    let labelled = App::new("open").label("wharf.host", &open);
    let labelled = labelled.label("wharf.headers.response", "X-Level=label");
    let _open = labelled.label("wharf.block", "off").run();
    wait_header(&wharf, &plain, "x-level", Some("default"));
    wait_header(&wharf, &open, "x-level", Some("label"));
    assert_eq!(wharf.get(&plain, "/closed").unwrap().status, 404);
    assert_eq!(wharf.get(&open, "/closed").unwrap().status, 200);
}

/// B79: a container that says `wharf.enable: true` has the host of the template, and all have it where that is asked
/// for.
#[test]
fn a_default_host_is_made_of_the_service() {
    let compose = Compose::new();
    let zone = host("zone");
    let only = format!("label=com.docker.compose.project={}", compose.project);
    let template = format!("{{service}}-{{project}}.{zone}");
    let start = || {
        let builder = Builder::new().env("WHARF_FILTER", &only);
        let builder = builder.env("WHARF_DEFAULT_HOST", &template);
        builder.env("WHARF_DEFAULT_TLS", "off")
    };
    let (asking, all) = (
        start().start(),
        start().env("WHARF_EXPOSE_ALL", "on").start(),
    );
    let name = format!("web-{}.{zone}", compose.project.replace('_', "-"));
    compose.up(&[], &[]);
    all.wait_answer(&name, "/", |answer| answer.status == 200);
    let nobody = asking.get(&name, "/").unwrap();
    assert_eq!(nobody.status, 404, "it does not ask");
    compose.up(&[("wharf.enable", "true")], &[]);
    asking.wait_answer(&name, "/", |answer| answer.status == 200);
    compose.up(&[("wharf.enable", "false")], &[]);
    for wharf in [&asking, &all] {
        wharf.wait_answer(&name, "/", |answer| answer.status == 404);
    }
}

/// B78: two Wharfs on one engine, by filter and by prefix of labels.
#[test]
fn several_wharfs_share_an_engine() {
    let word = unique("env");
    let (left, right, edge) = (host("left"), host("right"), host("edge"));
    let key = format!("test.{word}");
    let filtered = Builder::new().env("WHARF_FILTER", &format!("label={key}=left"));
    let (filtered, others) = (filtered.start(), Builder::new().start());
    let prefixed = Builder::new().env("WHARF_LABEL_PREFIX", &word).start();
    let _left = app("left", &left).label(&key, "left").run();
    let both = app("right", &right).label(&key, "right");
    let both = both.label(&format!("{word}.host"), &edge);
    let _right = both.label(&format!("{word}.tls"), "off").run();
    let ok = |wharf: &Wharf, host: &str| wharf.wait_answer(host, "/", |a| a.status == 200);
    ok(&filtered, &left);
    ok(&others, &left);
    ok(&others, &right);
    ok(&prefixed, &edge);
    for (wharf, host) in [(&filtered, &right), (&others, &edge), (&prefixed, &right)] {
        assert_eq!(wharf.get(host, "/").unwrap().status, 404, "{host}");
    }
}

/// B82: routes of a file lead to apps that are no containers, change with it, and stay as they were while it is broken.
#[test]
fn routes_of_files_lead_out_of_docker() {
    let folder = tempfile::tempdir().unwrap();
    let wharf = with_files(folder.path()).start();
    let served = [Served::text("one"), Served::text("two")];
    let (nas, cam) = (host("nas"), host("cam"));
    let file = |port: u16, more: &str| {
        format!(
            "routes:\n  nas:\n    host: {nas}\n    upstream: http://127.0.0.1:{port}\n    tls: off\n    headers: {{response: [X-File=1, X-More=1]}}\n    closed: {{path: /closed, allow: 192.0.2.1}}\n{more}"
        )
    };
    let text = |answer: &Response| answer.status == 200 && answer.text() == "one";
    write(folder.path(), "nas.yaml", &file(served[0].port(), ""));
    let answer = wharf.wait_answer(&nas, "/", text);
    assert_eq!(
        (answer.header("x-file"), answer.header("x-more")),
        (Some("1"), Some("1"))
    );
    assert_eq!(
        wharf.get(&nas, "/closed").unwrap().status,
        403,
        "a named route"
    );
    let routes = http::get(wharf.admin, "localhost", "/routes")
        .unwrap()
        .text();
    assert!(routes.contains("file:nas.yaml/nas"), "{routes}");
    let query = format!("/explain?url=http%3A%2F%2F{nas}%2F");
    let told = http::get(wharf.admin, "localhost", &query).unwrap().text();
    assert!(told.contains("file:nas.yaml/nas"), "{told}");

    // A route that is wrong costs itself.
    let wrong =
        format!("  cam: {{host: {cam}, tls: off, upstream: \"http://192.0.2.1\", prot: 80}}\n");
    write(folder.path(), "nas.yaml", &file(served[1].port(), &wrong));
    wharf.wait_answer(&nas, "/", |answer| answer.text() == "two");
    let answer = wharf.wait_answer(&cam, "/", |answer| answer.status == 503);
    assert!(answer.text().contains("did you mean"), "{}", answer.text());
    let told = problems(&wharf, "file:nas.yaml/cam");
    assert!(
        told.len() == 1 && told[0].starts_with("line 8: "),
        "{told:?}"
    );

    write(
        folder.path(),
        "nas.yaml",
        "routes:\n  nas: {host: x.test,\n",
    );
    wharf.wait_log("no YAML");
    assert_eq!(wharf.get(&nas, "/").unwrap().text(), "two");
    fs::remove_file(folder.path().join("nas.yaml")).unwrap();
    wharf.wait_answer(&nas, "/", |answer| {
        answer.status == 404 || answer.status == 503
    });
}

/// B82 and B85: a host that a container has is not taken by a file, nor the other way round.
#[test]
fn files_and_containers_do_not_take_each_others_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let wharf = with_files(folder.path()).start();
    let served = Served::text("of the file");
    let (first, second) = (host("first"), host("second"));
    let container = app("holder", &first).run();
    wharf.wait_answer(&first, "/", |answer| answer.status == 200);
    let routes = format!(
        "routes:\n  both:\n    host: [{first}, {second}]\n    upstream: http://127.0.0.1:{}\n    tls: off\n",
        served.port()
    );
    write(folder.path(), "taken.yml", &routes);
    wharf.wait_answer(&second, "/", |answer| answer.text() == "of the file");
    assert_ne!(wharf.get(&first, "/").unwrap().text(), "of the file");
    let told = problems(&wharf, "file:taken.yml/both");
    assert!(
        told.iter().any(|reason| reason.contains(container.name())),
        "{told:?}"
    );
    let late = app("late", &second).run();
    wharf.wait_status("the refusal", |status| {
        let problems = status["problems"].as_array().unwrap();
        { problems.iter() }.any(|problem| problem["container"] == late.name())
    });
    assert_eq!(wharf.get(&second, "/").unwrap().text(), "of the file");
}

/// B87: secrets come from files and variables of Wharf's own container; nobody is shown what they hold, and they are
/// followed as they change.
#[test]
fn secrets_stand_in_files_and_variables() {
    let secrets = tempfile::tempdir().unwrap();
    write(secrets.path(), "api_key", "first-key\n");
    write(secrets.path(), "token", "of-wharf");
    let file = |name: &str| format!("file:{}", secrets.path().join(name).display());
    let wharf = Builder::new()
        .env("WHARF_SECRETS", &secrets.path().to_string_lossy())
        .env("WHARF_DNS", "duckdns")
        .env("WHARF_DNS_DUCKDNS_TOKEN", &file("token"))
        .env("WHARF_VALUE_USER", "alice-in-env")
        .env("WHARF_VALUE_NETWORKS", "192.0.2.7/32")
        .start();
    let (good, refused) = (host("good"), host("refused"));
    let edits = format!("X-Api-Key={}, X-User=env:WHARF_VALUE_USER", file("api_key"));
    let app_of = |host: &str| app("secret", host);
    let _good = app_of(&good)
        .label("wharf.headers.request", &edits)
        .label("wharf.closed.path", "/closed")
        .label("wharf.closed.allow", "env:WHARF_VALUE_NETWORKS")
        .run();
    let sent = |name: &str| {
        let answer = wharf.get(&good, "/json").ok().filter(|a| a.status == 200)?;
        let told = answer.json()["headers"].to_string().to_lowercase();
        told.contains(name).then_some(())
    };
    let wait = |text: &str| {
        eventually(text, std::time::Duration::from_secs(20), || {
            sent(text).ok_or_else(|| "not yet".to_owned())
        });
    };
    wait("first-key");
    wait("alice-in-env");
    assert_eq!(wharf.get(&good, "/closed").unwrap().status, 403);
    write(secrets.path(), "api_key", "second-key\n");
    wait("second-key");

    // Wharf's own secrets, its environment, files elsewhere.
    let refusals = [
        (file("token"), "one of Wharf's own secrets"),
        (
            "env:WHARF_DNS_DUCKDNS_TOKEN".to_owned(),
            "begin with WHARF_VALUE_",
        ),
        ("file:/etc/passwd".to_owned(), "only files in"),
        ("env:WHARF_VALUE_NONE".to_owned(), "no such variable"),
    ];
    for (value, part) in refusals {
        let container = app_of(&refused)
            .label("wharf.headers.response", &format!("X-Stolen={value}"))
            .run();
        let answer = wharf.wait_answer(&refused, "/", |answer| {
            answer.status == 503 && answer.text().contains(part)
        });
        assert_eq!(answer.header("x-stolen"), None);
        let told = problems(&wharf, container.name());
        assert!(told.iter().any(|reason| reason.contains(part)), "{told:?}");
        drop(container);
        wharf.wait_status("it is gone", |status| {
            !status["problems"].to_string().contains(part)
        });
    }
    // A value that cannot be used is not repeated.
    let wrong = app_of(&refused)
        .label("wharf.port", "env:WHARF_VALUE_USER")
        .run();
    wharf.wait_answer(&refused, "/", |answer| {
        answer.status == 503 && answer.text().contains("WHARF_VALUE_USER")
    });
    let ask = |path: &str| http::get(wharf.admin, "localhost", path).unwrap().text();
    let mut shown = vec![wharf.log_lines().join("\n"), wharf.status_text()];
    shown.extend(["/status", "/routes"].map(ask));
    for host in [&good, &refused] {
        shown.push(ask(&format!("/explain?url=http%3A%2F%2F{host}%2F")));
        shown.push(ask(&format!("/explain?url=http%3A%2F%2F{host}%2Fclosed")));
        shown.push(wharf.get(host, "/closed").unwrap().text());
    }
    for text in shown {
        for secret in [
            "first-key",
            "second-key",
            "alice-in-env",
            "192.0.2.7",
            "of-wharf",
        ] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    drop(wrong);
}
