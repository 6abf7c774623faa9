//! `wharf check` beside docker-compose, and `wharf routes` of a running Wharf.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wharf::check::{Files, Question, resolved, variables};

use crate::support::compose;
use crate::support::docker::{App, unique};
use crate::support::wharf::Builder;

/// What compose is given: anchors, merge keys, `extends` from this and another file, an override, a list over
/// a mapping, variables with and without defaults, `$$`, numbers and truth values without quotes.
const COMPOSE: &str = r#"
x-labels: &labels
  wharf.host: "app.${DOMAIN}"
  wharf.timeout: read=5s
x-more: &more
  wharf.timeout: read=9s
  wharf.hold: 20s
services:
  merged:
    image: x
    labels:
      <<: [*labels, *more]
      wharf.path: "~^/api$$"
      wharf.port: ${PORT:-3000}
  same:
    image: x
    labels: *labels
  listed:
    image: x
    labels:
      - wharf.host=${EMPTY:-a.test}
      - "wharf.${OPTION}=/x=y"
      - wharf.strip
  plain:
    image: x
    labels:
      wharf.port: 0100
      wharf.weight: 1_0
      wharf.tls.min: 1.3
      wharf.hsts: on
      wharf.backup: true
      wharf.slow_start:
      wharf.priority: -5
      wharf.host: >-
        one.test,
        two.test
  base:
    image: x
    labels: {wharf.host: base.test, wharf.hold: 1s}
  child:
    extends: {service: base}
    labels: [wharf.hold=2s, "wharf.x.path=${NONE-/n}"]
  far:
    extends: {file: other.yml, service: grandchild}
"#;

const OTHER: &str = r#"
services:
  grandchild:
    extends: {service: parent}
    labels: [wharf.port=1]
  parent:
    image: x
    labels: {wharf.port: "2", wharf.host: "far.$DOMAIN"}
"#;

const OVER: &str = r#"
services:
  same:
    labels: [wharf.hold=3s, wharf.timeout=read=1s]
  late:
    image: x
    labels: {wharf.host: late.test}
"#;

#[test]
fn labels_are_resolved_as_docker_compose_does() {
    let folder = tempfile::tempdir().unwrap();
    let env = "DOMAIN=shop.test\nOPTION=path\nEMPTY=\n";
    for (name, text) in [
        ("compose.yml", COMPOSE),
        ("other.yml", OTHER),
        ("over.yml", OVER),
        (".env", env),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let output = compose::command()
        .args(["-f", "compose.yml", "-f", "over.yml", "config"])
        .current_dir(&folder)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    std::fs::write(folder.path().join("config.yml"), output.stdout).unwrap();

    let ours = labels(folder.path(), &["compose.yml", "over.yml"], env);
    let theirs = labels(folder.path(), &["config.yml"], "");
    assert_eq!(ours.len(), 8);
    assert_eq!(ours, theirs);
    assert_eq!(ours["merged"]["wharf.path"], "~^/api$");
}

/// Labels by service. Truth values in one spelling: compose has one of its own, which labels do not mind.
fn labels(folder: &Path, files: &[&str], env: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let paths: Vec<PathBuf> = files.iter().map(|file| folder.join(file)).collect();
    let question = Question {
        projects: vec![Files {
            paths,
            variables: variables(env),
        }],
        ..Question::default()
    };
    let mut services = resolved(&question).unwrap();
    for value in services.values_mut().flat_map(|labels| labels.values_mut()) {
        if matches!(value.to_lowercase().as_str(), "on" | "yes" | "true") {
            *value = "true".to_owned();
        }
    }
    services
}

#[test]
fn s11_routes_stand_in_the_order_in_which_they_are_looked_at() {
    let host = format!("{}.test", unique("order"));
    let wharf = Builder::new().start();
    let _app = App::new("app")
        .label("wharf.host", &host)
        .label("wharf.wild.host", &format!("*.{host}, **.{host}"))
        .label("wharf.wild.tls", "internal")
        .label("wharf.regex.host", &format!("~^x.*{host}$"))
        .label("wharf.long.path", "/api/v1")
        .label("wharf.short.path", "/api")
        .label("wharf.beta.path", "/api")
        .label("wharf.beta.match", "header:X-Beta=1")
        .label("wharf.first.path", "/zz")
        .label("wharf.first.priority", "5")
        .label("wharf.exact.path", "=/api")
        .run();
    wharf.wait_route(&host);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_wharf"))
        .args(["routes", "--json", "--admin", &wharf.admin.to_string()])
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines = told.as_array().unwrap().iter();
    let mine = lines.filter(|line| line["host"].as_str().unwrap().contains(&host));
    let mine: Vec<String> = mine
        .map(|line| {
            let host = line["host"].as_str().unwrap().replace(&host, "H");
            let conditions = line["conditions"].as_array().unwrap().len();
            format!("{host} {} {conditions}", line["path"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        mine,
        [
            "H /zz 0",
            "H =/api 0",
            "H /api/v1 0",
            "H /api 1",
            "H /api 0",
            "H / 0",
            "*.H / 0",
            "**.H / 0",
            "~^x.*H$ / 0",
        ]
    );
}
