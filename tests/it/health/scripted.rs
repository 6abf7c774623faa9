//! Checks on a port of their own, each answered by the test.

use super::{LIMIT, wait_state};
use crate::support::eventually;
use crate::support::origin::{Origin, Served, ok};
use crate::support::peer::Peer;
use crate::support::site::{Site, app, get};

/// An app on `a.test` whose checks go to a port of their own, where the test answers each.
struct Scripted {
    site: Site,
    checks: Origin,
    app: Served,
}

impl Scripted {
    /// `old`: the container was there long before Wharf, else it has come just now.
    fn start(old: bool, check: &str) -> Self {
        let (checks, served) = (Origin::new(), Served::text("app"));
        let labels = format!(
            "wharf.host: a.test\nwharf.tls: off\nwharf.hold: off\n\
             wharf.health: {check} port={}",
            checks.port()
        );
        let container = app("app", served.port(), &labels);
        let site = match old {
            true => Site::start([container]),
            false => {
                let site = Site::start([]);
                site.engine.run(container);
                site.wharf
                    .wait_status("the route", |s| s["routes"].to_string().contains("a.test"));
                site
            }
        };
        Self {
            site,
            checks,
            app: served,
        }
    }

    /// Takes the next check and gives it this status; by then all before it have been judged.
    fn next(&self) -> Check {
        let mut peer = self.checks.accept();
        let head = peer.message().head;
        Check { peer, head }
    }

    fn status(&self) -> u16 {
        self.site.send(get("/")).message().status()
    }

    /// Answers the next checks; after each, once the one behind it has come, requests get this.
    fn row(&self, mut next: Check, answers: &[(u16, u16)]) -> Check {
        for (index, (status, then)) in answers.iter().enumerate() {
            next.answer(*status);
            next = self.next();
            assert_eq!(self.status(), *then, "after {status}, number {index}");
        }
        next
    }
}

/// A check that waits for its answer.
struct Check {
    peer: Peer,
    head: String,
}

impl Check {
    fn answer(&mut self, status: u16) {
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok");
        self.peer.send(text);
    }
}

#[test]
fn so_many_in_a_row_decide_and_the_first_success_is_enough() {
    let check = "/healthz?deep=1 interval=100ms fails=3 passes=2 host=app.example.com";
    let scripted = Scripted::start(false, check);
    let first = scripted.next();
    for line in [
        "GET /healthz?deep=1 HTTP/1.1\r\n",
        "\r\nHost: app.example.com\r\n",
        "\r\nUser-Agent: Wharf-Health/",
        "\r\nConnection: close\r\n",
    ] {
        assert!(first.head.contains(line), "no {line} in {}", first.head);
    }
    assert_eq!(scripted.status(), 503, "not ready before the first answer");
    assert_eq!(scripted.app.connections(), 0);
    let next = scripted.row(
        first,
        &[
            (503, 503),
            (500, 503),
            (200, 200),
            // Two failures and a success are nothing ...
            (500, 200),
            (404, 200),
            (302, 200),
            // ... three failures are.
            (500, 200),
            (500, 200),
            (500, 503),
            (200, 503),
            (500, 503),
            (200, 503),
            (200, 200),
        ],
    );
    drop(next);
    let wharf = &scripted.site.wharf;
    let count = |text: &str| {
        let lines = wharf.log_lines();
        lines.iter().filter(|line| line.contains(text)).count()
    };
    // The last line may still be on its way.
    wharf.wait_log("does not pass its health check");
    eventually("two lines", LIMIT, || {
        match count("passes its health check") {
            2 => Ok(()),
            found => Err(format!("{found}")),
        }
    });
    assert_eq!(count("does not pass its health check"), 1);
}

#[test]
fn what_was_there_long_before_is_taken_to_be_ready_until_checks_say_otherwise() {
    let scripted = Scripted::start(true, "/healthz interval=1h fails=2 passes=5");
    // Nobody has answered a check yet.
    let first = scripted.next();
    assert_eq!(scripted.status(), 200);
    // Until the first verdict they do not wait for the interval; after a wrong guess it counts as new.
    let next = scripted.row(first, &[(500, 200), (500, 503), (500, 503)]);
    let mut next = next;
    next.answer(200);
    scripted
        .site
        .wharf
        .wait_answer("a.test", "/", |answer| answer.status == 200);
}

#[test]
fn in_flight_requests_go_on_when_their_replica_goes_out() {
    let (origin, checks) = (Origin::new(), Origin::new());
    let labels = format!(
        "wharf.hold: off\nwharf.health: /up interval=100ms fails=1 port={}",
        checks.port()
    );
    let site = Site::plain(origin.port(), &labels);
    let mut client = site.send(get("/"));
    let mut upstream = origin.accept();
    upstream.head();
    let mut check = checks.accept();
    check.message();
    check.send("HTTP/1.1 500 X\r\n\r\n");
    // Asked before, a request would still go there.
    wait_state(&site.wharf, "app", "unhealthy");
    assert_eq!(site.send(get("/")).message().status(), 503);
    upstream.send(ok("finished"));
    assert_eq!(client.message().text(), "finished");
    assert!(origin.accepted().is_none(), "nothing new");
}
