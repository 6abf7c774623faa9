//! `wharf.hsts`: who is told to come by HTTPS alone, and who must not be.

use crate::support::h2::H2;
use crate::support::origin::{Served, refused_port};
use crate::support::site::{Site, app, get};

#[test]
fn browsers_are_told_over_tls_on_every_answer_and_once() {
    let served = Served::by(|_| {
        b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 0\r\n\r\n"
            .to_vec()
    });
    let labels = "wharf.https: both\nwharf.hsts: max-age=2y subdomains";
    let site = Site::start([
        app("a", served.port(), &format!("wharf.host: a.test\n{labels}")),
        app("b", served.port(), "wharf.host: b.test"),
        app(
            "down",
            refused_port(),
            &format!("wharf.host: down.test\nwharf.hold: off\n{labels}"),
        ),
    ]);
    let ours = "max-age=63072000; includeSubDomains";
    let name = "strict-transport-security";
    let ask = |host: &str| {
        let mut client = site.tls(host).unwrap();
        let message = client
            .send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .message();
        (message.status(), message.field(name).map(str::to_owned))
    };
    assert_eq!(
        ask("a.test"),
        (200, Some(ours.to_owned())),
        "instead of the app's"
    );
    assert_eq!(
        ask("b.test"),
        (200, Some("max-age=1".to_owned())),
        "no label, the app's"
    );
    assert_eq!(
        ask("down.test"),
        (502, Some(ours.to_owned())),
        "Wharf's own page"
    );
    let client = H2::connect_tls(site.wharf.https, "a.test", site.wharf.data());
    let whole = client.get("https://a.test/", &[]).unwrap();
    let told: Vec<_> = whole.headers.get_all(name).iter().collect();
    assert_eq!(told, [ours]);
    // RFC 6797 section 7.2: never over plain HTTP. The app's own word is the app's.
    let plain = site.send(get("/")).message();
    assert_eq!(plain.field(name), Some("max-age=1"));
    let plain = site
        .send("GET / HTTP/1.1\r\nHost: down.test\r\n\r\n")
        .message();
    assert_eq!((plain.status(), plain.field(name)), (502, None));
}
