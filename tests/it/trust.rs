//! Whose word counts: trusted proxies, strangers, and who is told of containers.

use crate::support::origin::{Served, ok, refused_port};
use crate::support::peer::Message;
use crate::support::site::{Site, app};

/// A site that trusts `proxies`, if any, and echoes heads on `a.test` and `b.test`, which are
/// different tenants' under different certificates.
fn two_tenants(served: &Served, proxies: &str) -> Site {
    let labels = |host| format!("wharf.host: {host}\nwharf.tls: internal");
    let apps = ["a.test", "b.test"].map(|host| app(host, served.port(), &labels(host)));
    Site::with(apps, |wharf| wharf.env("WHARF_TRUSTED_PROXIES", proxies))
}

/// `GET /` with these header lines over TLS with `a.test` as SNI.
fn ask(site: &Site, lines: &str) -> Message {
    let mut client = site.tls("a.test").unwrap();
    client.send(format!("GET / HTTP/1.1\r\n{lines}\r\n"));
    client.message()
}

fn echo() -> Served {
    Served::by(|request| ok(&request.head))
}

#[test]
fn a_trusted_proxy_may_use_one_connection_for_all_hosts() {
    let served = echo();
    for (proxies, status) in [("", 421), ("192.0.2.0/24", 421), ("127.0.0.0/8", 200)] {
        let site = two_tenants(&served, proxies);
        assert_eq!(ask(&site, "Host: a.test\r\n").status(), 200);
        assert_eq!(ask(&site, "Host: b.test\r\n").status(), status, "{proxies}");
    }
}

#[test]
fn a_trusted_proxy_knows_better_whether_the_client_used_tls() {
    let served = echo();
    let plain = "Host: a.test\r\nX-Forwarded-Proto: http\r\n";
    let site = two_tenants(&served, "127.0.0.0/8");
    // So the client is sent to HTTPS.
    let answer = ask(&site, plain);
    let port = site.wharf.https.port();
    let location = format!("https://a.test:{port}/");
    assert_eq!(answer.status(), 301);
    assert_eq!(answer.field("location"), Some(&*location));
    for scheme in ["https", "HTTPS"] {
        let lines = format!("Host: a.test\r\nX-Forwarded-Proto: {scheme}\r\n");
        let answer = ask(&site, &lines).text();
        assert!(answer.contains("x-forwarded-proto: https\r\n"), "{answer}");
    }
    let stranger = ask(&two_tenants(&served, ""), plain).text();
    assert!(
        stranger.contains("x-forwarded-proto: https\r\n"),
        "{stranger}"
    );
}

#[test]
fn the_forwarded_port_is_the_one_of_host_or_else_the_schemes_own() {
    let served = echo();
    let labels = "wharf.host: a.test\nwharf.https: both\nwharf.tls: internal";
    let site = Site::with([app("app", served.port(), labels)], |wharf| {
        wharf.env("WHARF_TRUSTED_PROXIES", "127.0.0.0/8")
    });
    for (lines, port) in [
        ("Host: a.test", "443"),
        ("Host: a.test:", "443"),
        ("Host: a.test:8443", "8443"),
        ("Host: a.test\r\nX-Forwarded-Proto: http", "80"),
        ("Host: a.test:8080\r\nX-Forwarded-Proto: http", "8080"),
        ("Host: a.test:8443\r\nX-Forwarded-Port: 99", "99"),
    ] {
        let answer = ask(&site, &format!("{lines}\r\n")).text();
        let expected = format!("x-forwarded-port: {port}\r\n");
        assert!(answer.contains(&expected), "{lines}: {answer}");
    }
    let plain = |lines: &str| {
        let mut client = site.send(format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n"));
        client.message().text()
    };
    // Not the listener's.
    assert!(plain("Host: a.test").contains("x-forwarded-port: 80\r\n"));
    assert!(plain("Host: a.test:8080").contains("x-forwarded-port: 8080\r\n"));
}

#[test]
fn containers_are_named_to_private_clients_that_come_directly_or_through_a_trusted_proxy() {
    let labels = "wharf.host: a.test\nwharf.tls: off";
    let start = |proxies: &str| {
        Site::with([app("secret", refused_port(), labels)], |wharf| {
            wharf.env("WHARF_TRUSTED_PROXIES", proxies)
        })
    };
    let (strict, trusting) = (start(""), start("127.0.0.0/8"));
    for (site, lines, told) in [
        (&strict, "", true),
        (&strict, "X-Forwarded-For: 10.0.0.1\r\n", false),
        (&strict, "Forwarded: for=10.0.0.1\r\n", false),
        (&strict, "Via: 1.1 somebody\r\n", false),
        (&trusting, "X-Forwarded-For: 10.0.0.1\r\n", true),
        (&trusting, "X-Forwarded-For: 203.0.113.7\r\n", false),
    ] {
        let mut client = site.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"));
        let answer = client.message();
        assert_eq!(answer.status(), 502);
        let text = answer.text();
        assert_eq!(text.contains("secret"), told, "{lines}: {text}");
        assert_eq!(text.contains("127.0.0.1"), told, "{lines}: {text}");
    }
}
