//! Request targets and hosts: the bytes the upstream gets, and paths that could mean two routes.

use crate::support::origin::Origin;
use crate::support::peer::Message;
use crate::support::site::{Site, app, get, refused};

#[test]
fn targets_and_hosts_reach_the_upstream_in_origin_form() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    for (request, line, host) in [
        (
            "GET /x HTTP/1.1\r\nHost: A.Test.:80\r\n",
            "GET /x",
            "A.Test.:80",
        ),
        ("GET /x HTTP/1.0\r\nHost: a.test\r\n", "GET /x", "a.test"),
        (
            "GET http://a.test/x?y HTTP/1.1\r\nHost: b.test\r\n",
            "GET /x?y",
            "a.test",
        ),
        (
            "GET http://a.test HTTP/1.1\r\nHost: b.test\r\n",
            "GET /",
            "a.test",
        ),
        (
            "GET http://a.test?y HTTP/1.1\r\nHost: b.test\r\n",
            "GET /?y",
            "a.test",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n",
            "OPTIONS *",
            "a.test",
        ),
        (
            "purge /x HTTP/1.1\r\nHost: a.test\r\n",
            "purge /x",
            "a.test",
        ),
        (
            "GET /a%2Fb/%7e;x=1/..//caf%C3%A9?q=%20&z=/../ HTTP/1.1\r\nHost: a.test\r\n",
            "GET /a%2Fb/%7e;x=1/..//caf%C3%A9?q=%20&z=/../",
            "a.test",
        ),
    ] {
        let mut client = site.send(format!("{request}Connection: close\r\n\r\n"));
        let (_upstream, message) =
            origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert!(
            message.head.starts_with(&format!("{line} HTTP/1.1\r\n")),
            "{}",
            message.head
        );
        assert_eq!(message.field("host"), Some(host), "{request}");
        assert_eq!(client.message().status(), 204);
    }
}

#[test]
fn a_path_that_decoding_moves_to_another_route_is_refused() {
    let (site_root, admin) = (Origin::new(), Origin::new());
    let site = Site::start([
        app(
            "root",
            site_root.port(),
            "wharf.host: a.test\nwharf.tls: off",
        ),
        app(
            "admin",
            admin.port(),
            "wharf.host: a.test\nwharf.path: /admin\nwharf.tls: off",
        ),
    ]);
    for path in [
        "/admin/../x",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/%2E./admin",
        "//admin",
        "/./admin",
        "/x/..%2fadmin",
        "/..",
        "/../admin",
        "/x%00",
        "/admin/..",
        "/x\\..\\admin",
        "/x/..%5cadmin",
    ] {
        refused(&site, &site_root, &[(400, &get(path))]);
        assert!(admin.accepted().is_none(), "{path}");
    }
    // The same route both ways: passed as written.
    for (path, origin) in [
        ("/admin/a/../b", &admin),
        ("/x//%2e/y", &site_root),
        ("/admin%2f..%2fx", &site_root),
        // An escape without a meaning of its own is seen through, and passed on.
        ("/%61dmin", &admin),
    ] {
        let mut client = site.send(get(path));
        received(origin, path);
        assert_eq!(client.message().status(), 204);
    }
}

#[test]
fn a_stripped_prefix_is_told_to_the_upstream() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.path: /api\nwharf.strip: true");
    for (path, target) in [
        ("/api/v1?x=1", "/v1?x=1"),
        ("/api", "/"),
        ("/api/", "/"),
        ("/api?x=/api", "/?x=/api"),
        ("/api/a%2Fb", "/a%2Fb"),
        ("/%61p%69/%61", "/%61"),
    ] {
        let mut client = site.send(get(path));
        let request = received(&origin, target);
        assert_eq!(request.field("x-forwarded-prefix"), Some("/api"));
        assert_eq!(client.message().status(), 204);
    }
    refused(
        &site,
        &origin,
        &[
            (404, &get("/apix")),
            (404, &get("/")),
            (400, &get("/x/../api")),
        ],
    );
}

/// The one request `origin` gets next, which must ask for `target`.
fn received(origin: &Origin, target: &str) -> Message {
    let (_, request) = origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    let line = format!("GET {target} HTTP/1.1\r\n");
    assert!(request.head.starts_with(&line), "{}", request.head);
    request
}
