//! Podman by its Docker-compatible socket: its lists and events tell less than Docker's.

use crate::support::docker::unique;
use crate::support::podman::Podman;
use crate::support::wharf::Builder;

#[test]
fn podman_is_served_like_docker() {
    let Some(podman) = Podman::start() else {
        eprintln!("not tested: there is no podman, or no right to run it");
        return;
    };
    let wharf = Builder::new().env("DOCKER_HOST", &podman.host()).start();
    let labels = |host: &str| {
        [
            format!("wharf.host={host}"),
            "wharf.tls=off".into(),
            "wharf.hold=off".into(),
        ]
    };
    let host = format!("{}.test", unique("pod"));
    podman.app("app", &labels(&host), false);
    // Its port is in no list of Podman's, only in the inspect.
    wharf.wait_answer(&host, "/", |answer| answer.status == 200);
    podman.run(&["pause", "app"]);
    // Not asked before: Podman tells up to 0.3 s later, and a paused app leaves what it got unanswered.
    wharf.wait_status("that it is paused", |status| {
        status.to_string().contains("app is paused")
    });
    assert_eq!(wharf.get(&host, "/").unwrap().status, 503);
    podman.run(&["unpause", "app"]);
    wharf.wait_answer(&host, "/", |answer| answer.status == 200);
    podman.run(&["stop", "-t", "1", "app"]);
    wharf.wait_answer(&host, "/", |answer| {
        answer.status == 503 && answer.text().contains("app has exited")
    });
    podman.run(&["start", "app"]);
    wharf.wait_answer(&host, "/", |answer| answer.status == 200);

    // So is health. Its checks are run by systemd, where there is one; here by hand.
    let ill = format!("{}.test", unique("ill"));
    podman.app("ill", &labels(&ill), true);
    wharf.wait_answer(&ill, "/", |answer| {
        answer.status == 503 && answer.text().contains("HEALTHCHECK")
    });
    podman.run(&["healthcheck", "run", "ill"]);
    wharf.wait_answer(&ill, "/", |answer| answer.status == 200);
    podman.run(&["rm", "-f", "-t", "0", "ill"]);
    wharf.wait_answer(&ill, "/", |answer| answer.status == 503);
    let status = wharf.status_json();
    assert_eq!(status["engine"]["last_error"], serde_json::Value::Null);
    assert!(
        status["problems"].as_array().unwrap().is_empty(),
        "{}",
        status["problems"]
    );
}
