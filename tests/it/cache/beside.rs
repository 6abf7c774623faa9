//! The same exchanges beside Debian's nginx (`proxy_cache`) and varnish.

use super::{status, with, word};
use crate::support::nginx::Nginx;
use crate::support::origin::Served;
use crate::support::peer::{Message, Peer};
use crate::support::site::{Site, app};
use crate::support::varnish::Varnish;

const NGINX: &str = "proxy_cache_path cache keys_zone=a:1m;\n\
    server { proxy_cache a; proxy_cache_valid 404 1m; proxy_cache_valid 200 301 302 10m;\n\
    proxy_cache_revalidate on; proxy_cache_bypass $arg_nocache; proxy_no_cache $arg_nocache;\n\
    add_header X-Cache-Status $upstream_cache_status always;\n\
    location / { proxy_pass http://127.0.0.1:@app; } }";
const LABELS: &str = "wharf.host: a.test\nwharf.tls: off\nwharf.cache: on\n\
    wharf.cache.valid: 200 301 302 10m, 404 1m\nwharf.cache.bypass: arg:nocache";

fn answer(request: &Message) -> Vec<u8> {
    let path = request.head.split(' ').nth(1).unwrap();
    let path = path.split('?').next().unwrap();
    match path {
        "/maxage" => with("Cache-Control: max-age=60", "x"),
        "/nostore" => with("Cache-Control: no-store", "x"),
        "/private" => with("Cache-Control: private", "x"),
        "/cookie" => with("Set-Cookie: a=b\nCache-Control: max-age=60", "x"),
        "/vary" => with(
            "Vary: Accept-Language\nCache-Control: max-age=60",
            request.field("accept-language").unwrap_or("none"),
        ),
        "/varyany" => with("Vary: *\nCache-Control: max-age=60", "x"),
        "/expired" => with("Expires: Thu, 01 Jan 1970 00:00:00 GMT", "x"),
        "/past" => with("Expires: Fri, 02 Jan 1981 00:00:00 GMT", "x"),
        "/error" => status(500, "", "x"),
        "/moved" => status(301, "Location: /elsewhere\nCache-Control: max-age=60", ""),
        "/404" => status(404, "", "x"),
        "/conditional" => with(
            "Accept-Ranges: bytes\nETag: \"t\"\nCache-Control: max-age=60",
            "0123456789",
        ),
        _ => with("", "x"),
    }
}

fn ask(address: std::net::SocketAddr, method: &str, target: &str, field: &str) -> Message {
    let field = match field {
        "" => String::new(),
        field => format!("{field}\r\n"),
    };
    let mut peer = Peer::connect(address);
    peer.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: a.test\r\n{field}\r\n"
    ));
    peer.message()
}

/// S40 to S42, S45, S50: whether the second of two requests is a hit, and what it says, is the same behind nginx.
#[test]
fn s40_hits_are_those_of_nginx() {
    let served = Served::by(answer);
    let site = Site::start([app("app", served.port(), LABELS)]);
    let servers = NGINX
        .replace("@app", &served.port().to_string())
        .replace("server {", "server { listen @listen;");
    let nginx = Nginx::start(&servers);
    for (target, first, second) in [
        ("/plain", "", ""),
        ("/maxage", "", ""),
        ("/nostore", "", ""),
        ("/private", "", ""),
        ("/cookie", "", ""),
        ("/vary", "Accept-Language: de", "Accept-Language: de"),
        ("/vary", "Accept-Language: de", "Accept-Language: en"),
        ("/varyany", "", ""),
        ("/expired", "", ""),
        ("/past", "", ""),
        ("/error", "", ""),
        ("/moved", "", ""),
        ("/404", "", ""),
        ("/plain?nocache=1", "", ""),
        ("/plain?a", "", ""),
        ("/conditional", "", "If-None-Match: \"t\""),
        ("/conditional", "", "If-None-Match: \"u\""),
        ("/conditional", "", "Range: bytes=2-3"),
        ("/conditional", "", "Range: bytes=20-"),
    ] {
        let [ours, theirs] = [site.http(), nginx.address].map(|address| {
            ask(address, "GET", target, first);
            let again = ask(address, "GET", target, second);
            // What nginx calls a miss it may call a bypass, too; it says so twice on a page of its own.
            let hit = again.fields("x-cache-status").any(|word| word == "HIT");
            let range = again.field("content-range").map(str::to_owned);
            // The pages of errors are each one's own.
            let text = (again.status() != 416).then(|| again.text());
            (hit, again.status(), range, text)
        });
        assert_eq!(ours, theirs, "{target} {first} {second}");
    }
}

/// S40 to S42: the same beside varnish, for what the app itself says.
#[test]
fn s40_hits_are_those_of_varnish() {
    let served = Served::by(answer);
    let site = Site::start([app("app", served.port(), LABELS)]);
    let varnish = Varnish::start(served.port());
    for (method, target, first, second) in [
        ("GET", "/maxage", "", ""),
        ("GET", "/private", "", ""),
        ("GET", "/cookie", "", ""),
        ("GET", "/vary", "Accept-Language: de", "Accept-Language: de"),
        ("GET", "/vary", "Accept-Language: de", "Accept-Language: en"),
        ("GET", "/varyany", "", ""),
        ("GET", "/past", "", ""),
        ("GET", "/moved", "", ""),
        (
            "GET",
            "/maxage?login",
            "Authorization: Basic dTpw",
            "Authorization: Basic dTpw",
        ),
        ("GET", "/conditional", "", "If-None-Match: \"t\""),
        ("GET", "/conditional", "", "Range: bytes=2-3"),
        (
            "POST",
            "/maxage?post",
            "Content-Length: 0",
            "Content-Length: 0",
        ),
    ] {
        let [ours, theirs] = [site.http(), varnish.address].map(|address| {
            ask(address, method, target, first);
            let again = ask(address, method, target, second);
            (word(&again) == "HIT", again.status(), again.text())
        });
        assert_eq!(ours, theirs, "{method} {target} {first} {second}");
    }
}

/// The one difference: varnish takes the beginning of 1970, which is how many an app says "expired", for no date at all,
/// and keeps the answer for its two minutes (`default_ttl`).
#[test]
fn s40_an_epoch_is_in_the_past_whatever_varnish_makes_of_it() {
    let served = Served::by(answer);
    let site = Site::start([app("app", served.port(), LABELS)]);
    let varnish = Varnish::start(served.port());
    let hits = [site.http(), varnish.address].map(|address| {
        ask(address, "GET", "/expired", "");
        word(&ask(address, "GET", "/expired", "")) == "HIT"
    });
    assert_eq!(hits, [false, true]);
}
