//! `wharf.auth.forward` (B51). The servers of the real containers are `examples/whoami`, which answers as Authelia,
//! oauth2-proxy and authentik do; those themselves are not here.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::ask;
use crate::support::curl::Answer;
use crate::support::docker::{App, Container, unique};
use crate::support::eventually;
use crate::support::h2::H2;
use crate::support::nginx::Both;
use crate::support::origin::{Origin, Served, free_port, ok};
use crate::support::peer::Message;
use crate::support::site::{Site, app};
use crate::support::wharf::{Builder, Wharf};

const HTML: [&str; 2] = ["-H", "Accept: text/html"];

/// An app that a container of its own guards, and Wharf.
struct Guarded {
    host: String,
    wharf: Wharf,
    auth: Container,
    _app: Container,
}

impl Guarded {
    /// `label` with the container's name for `@`.
    fn start(label: &str) -> Self {
        let auth = App::new("auth").run();
        let host = format!("{}.test", unique("guarded"));
        let app = App::new("guarded")
            .label("wharf.host", &host)
            .label("wharf.tls", "off")
            .label("wharf.auth.forward", &label.replace('@', auth.name()))
            .run();
        let wharf = Builder::new().start();
        let guarded = Self {
            host,
            wharf,
            auth,
            _app: app,
        };
        eventually(
            "the server answers",
            Duration::from_secs(30),
            || match guarded.ask("/", &["-H", "Cookie: user=joe"]).status {
                200 => Ok(()),
                status => Err(status.to_string()),
            },
        );
        guarded
    }

    fn ask(&self, path: &str, args: &[&str]) -> Answer {
        let url = format!("http://{}{path}", self.host);
        ask(self.wharf.http, "127.0.0.1", &url, args)
    }

    /// The last question, its fields as lines.
    fn question(&self) -> String {
        let address = self
            .auth
            .inspect("{{.NetworkSettings.Networks.bridge.IPAddress}}");
        let address = format!("{address}:3000").parse().unwrap();
        let asked = ask(address, "0.0.0.0", "http://auth/questions", &[]).json();
        let fields = asked[0]["fields"].as_array().unwrap().iter();
        let fields: Vec<&str> = fields.map(|field| field.as_str().unwrap()).collect();
        let line = asked[0]["line"].as_str().unwrap();
        format!("{line}\n{}\n", fields.join("\n"))
    }
}

#[test]
fn b51_another_container_decides_who_gets_in_and_tells_the_app_who_it_is() {
    let guarded = Guarded::start("authelia http://@:3000");
    let to = |args: &[&str]| guarded.ask("/json?a=b", args);

    let stranger = to(&["-i"]);
    assert_eq!(stranger.status, 401);
    let head = stranger.text().to_lowercase();
    assert!(
        head.contains("www-authenticate: basic realm=\"elsewhere\""),
        "{head}"
    );
    assert!(
        head.ends_with("unauthorized\n") && head.contains("cache-control: no-store"),
        "{head}"
    );
    let browser = to(&HTML);
    assert_eq!(browser.status, 302);
    let expected = format!(
        "https://login.test/?rd=http://{}/json?a=b&rm=GET",
        guarded.host
    );
    assert_eq!(browser.location, expected);
    let known = to(&["-H", "Cookie: user=mallory"]);
    assert_eq!((known.status, known.text().as_str()), (403, "Forbidden\n"));
    assert_eq!(to(&["--head"]).status, 401);

    let forged = [
        "-H",
        "Cookie: a=b; user=joe",
        "-H",
        "Remote-User: root",
        "-H",
        "remote_groups: wheel",
        "-H",
        "Remote-Email: root@a.test",
    ];
    let seen = to(&forged);
    assert_eq!(seen.status, 200);
    let told = seen.text();
    assert!(
        told.contains("joe") && told.contains("staff,admins"),
        "{told}"
    );
    for wrong in [
        "root",
        "wheel",
        "of-no-concern",
        "x-original",
        "x-wharf-asks",
    ] {
        assert!(!told.contains(wrong), "{wrong} in {told}");
    }

    let post = [
        "-H",
        "Cookie: user=joe",
        "-H",
        "X-Forwarded-Uri: /public",
        "-H",
        "X_Forwarded_Method: GET",
        "-H",
        "X-Original-URL: http://other.test/",
        "-H",
        "If-None-Match: \"a\"",
        "--data",
        "twelve bytes",
    ];
    let sent = guarded.ask("/upload?to=x", &post);
    assert!(sent.text().contains("\"length\":12"), "{}", sent.text());
    let question = guarded.question();
    let host = &guarded.host;
    for line in [
        "GET /api/authz/forward-auth\n",
        &format!("host: {}:3000\n", guarded.auth.name()),
        "cookie: user=joe\n",
        "x-forwarded-method: POST\n",
        "x-forwarded-proto: http\n",
        &format!("x-forwarded-host: {host}\n"),
        "x-forwarded-uri: /upload?to=x\n",
        "x-forwarded-for: 127.0.0.1\n",
        &format!("x-original-url: http://{host}/upload?to=x\n"),
        "x-original-method: POST\n",
    ] {
        assert!(question.contains(line), "{line} in {question}");
    }
    for absent in [
        "content-",
        "/public",
        "other.test",
        "if-none-match",
        "x_forwarded",
    ] {
        assert!(!question.contains(absent), "{absent} in {question}");
    }

    let h2 = H2::connect(guarded.wharf.http);
    let url = format!("http://{host}/");
    assert_eq!(h2.get(&url, &[]).unwrap().status, 401);
    let crumbs = [
        ("cookie", "a=b"),
        ("cookie", "user=joe"),
        ("remote-user", "root"),
    ];
    let whole = h2.get(&url, &crumbs).unwrap();
    let told = String::from_utf8(whole.body).unwrap();
    assert!(
        whole.status == 200 && told.contains("joe") && !told.contains("root"),
        "{told}"
    );
}

#[test]
fn b51_oauth2_proxy_and_authentik_bring_their_pages_to_the_apps_host() {
    for (label, who) in [
        ("oauth2-proxy http://@:3000", "x-auth-request-user: joe"),
        ("authentik http://@:3000", "x-authentik-username: joe"),
    ] {
        let guarded = Guarded::start(label);
        let journey = ["--location", "--cookie", "", "-H", "Accept: text/html"];
        let there = guarded.ask("/deep/page?a=b&c=d", &journey);
        let told = there.text().to_lowercase();
        assert_eq!(there.status, 200, "{told}");
        assert!(
            told.contains("/deep/page?a=b&c=d") && told.contains(who),
            "{told}"
        );
        if label.starts_with("oauth2") {
            // What goes nowhere is told so.
            assert_eq!(guarded.ask("/", &[]).status, 401);
            let script = ["-H", "Sec-Fetch-Mode: cors", "-H", "Accept: text/html"];
            assert_eq!(guarded.ask("/", &script).status, 401);
            let to = guarded.ask("/?q=1&r=%26", &HTML).location;
            assert!(
                to.ends_with("/oauth2/start?rd=/%3Fq%3D1%26r%3D%2526"),
                "{to}"
            );
            let renewed = guarded
                .ask("/", &["-i", "-H", "Cookie: user=renewed"])
                .text();
            assert!(
                renewed
                    .to_lowercase()
                    .contains("set-cookie: user=again; path=/\r\n"),
                "{renewed}"
            );
        }
    }
}

#[test]
fn b51_a_deploy_of_the_server_fails_nobody() {
    let mut guarded = Guarded::start("authelia http://@:3000");
    let url = format!("http://{}/", guarded.host);
    let address = guarded.wharf.http;
    let going = Arc::new(AtomicUsize::new(1));
    let load = {
        let going = Arc::clone(&going);
        std::thread::spawn(move || {
            let mut statuses = Vec::new();
            while going.load(Ordering::SeqCst) == 1 {
                let joe = ["-H", "Cookie: user=joe"];
                statuses.push(ask(address, "127.0.0.1", &url, &joe).status);
            }
            statuses
        })
    };
    guarded.auth = guarded.auth.recreate();
    eventually(
        "the new one is asked",
        Duration::from_secs(30),
        || match guarded.ask("/", &["-H", "Cookie: user=joe"]).status {
            200 => Ok(()),
            status => Err(status.to_string()),
        },
    );
    going.store(0, Ordering::SeqCst);
    let statuses = load.join().unwrap();
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let question = guarded.question();
    assert!(question.contains("user=joe"), "{question}");
}

/// A server by this test's own hand, and an app that counts who comes.
struct Scripted {
    site: Site,
    asked: Arc<Mutex<Vec<Message>>>,
    app: Arc<AtomicUsize>,
    _served: [Served; 2],
}

impl Scripted {
    fn start(labels: &str, answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let asked: Arc<Mutex<Vec<Message>>> = Arc::default();
        let questions = Arc::clone(&asked);
        let auth = Served::by(move |request| {
            questions.lock().unwrap().push(request.clone());
            answer(request)
        });
        let count: Arc<AtomicUsize> = Arc::default();
        let counted = Arc::clone(&count);
        let served = Served::by(move |request| {
            counted.fetch_add(1, Ordering::SeqCst);
            ok(&request.head)
        });
        let labels = labels.replace("@", &format!("http://auth:{}/check", auth.port()));
        let labels = format!("wharf.host: a.test\nwharf.tls: off\n{labels}");
        let site = Site::start([
            app("app", served.port(), &labels),
            app("auth", auth.port(), ""),
        ]);
        Self {
            site,
            asked,
            app: count,
            _served: [auth, served],
        }
    }

    fn get(&self, path: &str, fields: &str) -> Message {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
        self.site.send(request).message()
    }

    fn questions(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// Lets through whoever has a cookie of this name.
fn by_cookie(request: &Message) -> Vec<u8> {
    let user = request
        .fields("cookie")
        .find_map(|field| field.strip_prefix("user="));
    match user {
        Some(user) => {
            format!("HTTP/1.1 200 OK\r\nRemote-User: {user}\r\nContent-Length: 0\r\n\r\n").into()
        }
        None => b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno".to_vec(),
    }
}

#[test]
fn b51_without_an_answer_nobody_gets_in() {
    let too_large = format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n{}",
        2 << 20,
        "x".repeat(2 << 20)
    );
    for (answer, status, cause) in [
        ("nonsense\r\n\r\n", 502, "unusable"),
        ("", 502, "closed the connection"),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nshort",
            502,
            "unusable",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            502,
            "switched protocols",
        ),
        (too_large.as_str(), 502, "longer than 1 MiB"),
    ] {
        let short = answer[..answer.len().min(40)].to_owned();
        let (auth, served) = (Origin::new(), Served::text("in"));
        let label = format!("http://auth:{}/check copy=X-User", auth.port());
        let labels = format!(
            "wharf.host: a.test\nwharf.tls: off\nwharf.hold: off\nwharf.auth.forward: {label}"
        );
        let site = Site::start([
            app("app", served.port(), &labels),
            app("auth", auth.port(), ""),
        ]);
        let mut client = site.send("GET / HTTP/1.1\r\nHost: a.test\r\nAccept: text/html\r\n\r\n");
        let text = answer.to_owned();
        let answering = std::thread::spawn(move || {
            let mut peer = auth.accept();
            peer.head();
            let _ = peer.try_send(&text);
        });
        let page = client.message();
        answering.join().unwrap();
        assert_eq!(page.status(), status, "{short}");
        let page = page.text();
        assert!(
            page.contains("wharf.auth.forward") && page.contains(cause),
            "{short}: {page}"
        );
        let line = site.wharf.wait_log("wharf.auth.forward");
        assert!(line.contains(cause) && line.contains("auth"), "{line}");
        assert_eq!(site.metric("wharf_errors_total{kind=\"auth\"}"), 1.0);
        assert_eq!(served.connections(), 0, "{short}");
    }
}

#[test]
fn b51_a_server_that_is_silent_or_away_costs_a_504_or_a_502() {
    let (auth, served) = (Origin::new(), Served::text("in"));
    let labels = format!(
        "wharf.host: a.test\nwharf.tls: off\nwharf.hold: off\n\
         wharf.auth.forward: http://auth:{}/ timeout=300ms\n\
         wharf.closed.path: /closed\nwharf.closed.auth.forward: http://127.0.0.1:{}/\n\
         wharf.nobody.path: /nobody\nwharf.nobody.auth.forward: http://nobody-has-this-name:1/\n\
         wharf.open.path: /open\nwharf.open.auth.forward: off",
        auth.port(),
        free_port()
    );
    let site = Site::start([
        app("app", served.port(), &labels),
        app("auth", auth.port(), ""),
    ]);
    let to = |path: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nAccept: application/json\r\n\r\n");
        site.send(request).message()
    };
    for (path, status, cause) in [
        ("/", 504, "sent no answer for 300ms"),
        ("/closed", 502, "failed"),
        ("/nobody", 502, "nobody-has-this-name"),
    ] {
        let page = to(path);
        let text = page.text();
        assert_eq!(page.status(), status, "{path}: {text}");
        assert!(
            text.contains(cause) && text.contains("wharf.auth.forward"),
            "{path}: {text}"
        );
    }
    assert_eq!(served.connections(), 0);
    assert_eq!(to("/open").text(), "in");
}

#[test]
fn b51_websockets_are_asked_about_and_trailers_say_nothing_of_who_it_is() {
    let scripted = Scripted::start("wharf.auth.forward: @ copy=Remote-*", by_cookie);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(scripted.get("/", upgrade).status(), 401);
    assert_eq!(scripted.app.load(Ordering::SeqCst), 0);
    let in_ = scripted.get("/", &format!("{upgrade}Cookie: user=joe\r\n"));
    // This app does not switch; it was asked to.
    assert!(
        in_.text().to_lowercase().contains("upgrade: websocket"),
        "{}",
        in_.text()
    );
    let last = scripted.asked.lock().unwrap().pop().unwrap();
    assert_eq!(last.field("upgrade"), None);
    drop(scripted);

    let (auth, origin) = (Served::by(by_cookie), Origin::new());
    let labels = format!(
        "wharf.host: a.test\nwharf.tls: off\nwharf.auth.forward: http://auth:{}/ copy=Remote-*",
        auth.port()
    );
    let site = Site::start([
        app("app", origin.port(), &labels),
        app("auth", auth.port(), ""),
    ]);
    let mut client = site.send(
        "POST / HTTP/1.1\r\nHost: a.test\r\nCookie: user=joe\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nRemote-User: root\r\nremote_groups: wheel\r\nX-Sum: 1\r\n\r\n",
    );
    let mut app = origin.accept();
    let head = app.head();
    assert!(head.contains("Remote-User: joe\r\n"), "{head}");
    let body = app.until("\r\n\r\n");
    assert!(
        body.contains("X-Sum: 1") && !body.to_lowercase().contains("remote"),
        "{body}"
    );
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.message().status(), 200);
}

#[test]
fn b51_nginx_asks_the_same_and_hears_the_same() {
    let answer = |request: &Message| {
        let target = request.field("x-original-uri").unwrap_or("");
        let status = match target {
            "/in" => "200 OK\r\nRemote-User: joe",
            "/accepted" => "202 Accepted\r\nRemote-User: jane",
            "/empty" => "204 No Content",
            "/who" => "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"",
            _ => "403 Forbidden",
        };
        let length = if target == "/empty" {
            ""
        } else {
            "Content-Length: 0\r\n"
        };
        format!("HTTP/1.1 {status}\r\n{length}\r\n").into_bytes()
    };
    let (auth, served) = (Served::by(answer), Served::by(|request| ok(&request.head)));
    let label = format!(
        "wharf.host: a.test\nwharf.auth.forward: http://auth:{}/check copy=Remote-User",
        auth.port()
    );
    let both = Both::of(
        vec![("app", &label, served), ("auth", "", auth)],
        "server { server_name a.test;
         location = /_check { internal; proxy_pass http://@auth/check; proxy_pass_request_body off;
           proxy_set_header Content-Length \"\"; proxy_set_header X-Original-URI $request_uri; }
         location / { auth_request /_check; auth_request_set $user $upstream_http_remote_user;
           proxy_set_header Remote-User $user; proxy_pass http://@app; } }",
    );
    for target in ["/in", "/accepted", "/empty", "/who", "/out"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\nRemote-User: root\r\n\r\n");
        let (wharf, nginx) = both.ask(&request);
        assert_eq!(wharf.status(), nginx.status(), "{target}");
        assert_eq!(
            wharf.field("www-authenticate"),
            nginx.field("www-authenticate"),
            "{target}"
        );
        let user = |answer: &Message| {
            let text = answer.text().to_lowercase();
            let line = text.lines().find(|line| line.starts_with("remote-user: "));
            line.map(str::to_owned)
        };
        if wharf.status() == 200 {
            assert_eq!(user(&wharf), user(&nginx), "{target}");
        }
    }
}

#[test]
fn b51_a_yes_is_remembered_where_a_label_says_so_and_for_no_more_than_it_was_said_of() {
    let labels = "wharf.auth.forward: @ copy=Remote-User cache=1m\n\
                  wharf.s.path: /s\nwharf.s.auth.forward.session: on\n\
                  wharf.each.path: /each\nwharf.each.auth.forward.cache: off";
    let scripted = Scripted::start(labels, |request| match request.field("cookie") {
        Some("renew") => {
            b"HTTP/1.1 200 OK\r\nSet-Cookie: renewed=1\r\nContent-Length: 0\r\n\r\n".to_vec()
        }
        _ => by_cookie(request),
    });
    let questions = |path: &str, fields: &str| {
        let before = scripted.questions();
        let answer = scripted.get(path, fields);
        (answer.status(), scripted.questions() - before)
    };
    let (joe, jane) = ("Cookie: user=joe\r\n", "Cookie: user=jane\r\n");
    assert_eq!(questions("/a", joe), (200, 1));
    assert_eq!(questions("/a", joe), (200, 0), "the same");
    let told = scripted.get("/a", joe).text();
    assert!(told.contains("Remote-User: joe"), "{told}");
    assert_eq!(questions("/b", joe), (200, 1), "another path");
    assert_eq!(questions("/a", jane), (200, 1), "somebody else");
    assert_eq!(
        questions("/a", &format!("{joe}X-Key: 1\r\n")),
        (200, 1),
        "more is shown"
    );
    assert_eq!(questions("/s/a", joe), (200, 1));
    assert_eq!(questions("/s/b", joe), (200, 0), "the same visitor");
    assert_eq!(questions("/s/b", jane), (200, 1));
    for path in ["/a", "/s/a"] {
        assert_eq!(questions(path, ""), (401, 1), "a no is not remembered");
        assert_eq!(questions(path, ""), (401, 1));
        assert_eq!(questions(path, "Cookie: renew\r\n"), (200, 1));
        assert_eq!(
            questions(path, "Cookie: renew\r\n"),
            (200, 1),
            "a cookie is for one"
        );
    }
    assert_eq!(questions("/each", joe), (200, 1));
    assert_eq!(questions("/each", joe), (200, 1));
}

#[test]
fn b51_a_question_is_not_asked_about_in_turn() {
    let served = Served::text("in");
    let port = free_port();
    // The server's public name, which is behind Wharf and guarded itself.
    let labels = format!(
        "wharf.host: a.test, localhost\nwharf.tls: off\nwharf.auth.forward: http://localhost:{port}/"
    );
    let site = Site::with([app("app", served.port(), &labels)], |builder| {
        builder.env("WHARF_HTTP", &format!("127.0.0.1:{port}"))
    });
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    eventually(
        "the name is looked up",
        Duration::from_secs(20),
        || match site.send(request).message().status() {
            508 => Ok(()),
            status => Err(status.to_string()),
        },
    );
    assert_eq!(served.connections(), 0);
}

#[test]
fn b51_preflights_and_places_in_the_list_are_asked_about_by_nobody() {
    let labels = "wharf.auth.forward: @\nwharf.cors: https://app.test\n\
                  wharf.either.path: /either\nwharf.either.allow: loopback\nwharf.either.satisfy: any\n\
                  wharf.both.path: /both\nwharf.both.allow: 192.0.2.1\n\
                  wharf.out.path: /out\nwharf.out.allow: 192.0.2.1\nwharf.out.satisfy: any";
    let scripted = Scripted::start(labels, by_cookie);
    let preflight = "OPTIONS / HTTP/1.1\r\nHost: a.test\r\nOrigin: https://app.test\r\n\
                     Access-Control-Request-Method: PUT\r\n\r\n";
    assert_eq!(scripted.site.send(preflight).message().status(), 204);
    assert_eq!(scripted.get("/either", "").status(), 200);
    assert_eq!(scripted.get("/both", "Cookie: user=joe\r\n").status(), 403);
    assert_eq!(scripted.questions(), 0);
    assert_eq!(scripted.get("/out", "").status(), 401);
    assert_eq!(scripted.get("/out", "Cookie: user=joe\r\n").status(), 200);
    let origin = scripted.get("/", "Origin: https://app.test\r\n");
    assert_eq!(origin.status(), 401);
    let allowed = origin.field("access-control-allow-origin");
    assert_eq!(allowed, Some("https://app.test"), "a script can read it");
}

#[test]
fn b51_explain_tells_who_is_asked() {
    let scripted = Scripted::start("wharf.auth.forward: @", by_cookie);
    let admin = scripted.site.wharf.admin.to_string();
    let mut explain = Command::new(env!("CARGO_BIN_EXE_wharf"));
    let output = explain
        .args(["explain", "--admin", &admin, "http://a.test/"])
        .output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(
        text.contains("is asked first (wharf.auth.forward)"),
        "{text}"
    );
    assert!(text.contains("auth at 127.0.0.1:"), "{text}");
    assert_eq!(scripted.questions(), 0, "nobody was asked");
}
