//! `wharf.cors` (B53).

use crate::support::chromium::User;
use crate::support::curl::{Answer, curl};
use crate::support::docker::{App, unique};
use crate::support::eventually;
use crate::support::h2::H2;
use crate::support::nginx::Both;
use crate::support::origin::Served;
use crate::support::peer::{LIMIT, Message};
use crate::support::site::{Site, app};
use crate::support::wharf::{Builder, Wharf};

/// An app with ideas of its own; it tells which method it was asked by.
fn opinionated() -> Served {
    Served::by(|request| {
        let method = request.head.split(' ').next().unwrap();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nAccess-Control-Allow-Origin: *\r\n\
             Access-Control-Max-Age: 5\r\nAccess-Control-Expose-Headers: X-Own\r\nVary: Accept\r\n\r\n{method}",
            method.len()
        )
        .into_bytes()
    })
}

/// A browser's question before it sends a `method` with these fields.
fn preflight(target: &str, origin: &str, method: &str) -> String {
    format!(
        "OPTIONS {target} HTTP/1.1\r\nHost: a.test\r\nOrigin: {origin}\r\n\
         Access-Control-Request-Method: {method}\r\nAccess-Control-Request-Headers: authorization,x-a\r\n\r\n"
    )
}

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

/// The fields that CORS is made of, in order, without what their names begin with.
fn told(answer: &Message) -> Vec<String> {
    let head = answer.head.lines().skip(1);
    let fields = head.filter_map(|line| line.split_once(": "));
    let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value));
    let fields = fields.filter_map(|(name, value)| match name.strip_prefix("access-control-") {
        Some(name) => Some(format!("{name}: {value}")),
        None => (name == "vary").then(|| format!("{name}: {value}")),
    });
    fields.collect()
}

const ALLOWED: [&str; 3] = [
    "allow-origin: https://app.test",
    "allow-credentials: true",
    "vary: Origin",
];

#[test]
fn preflights_are_answered_before_anything_is_asked_of_the_browser() {
    let served = opinionated();
    let site = Site::plain(
        served.port(),
        "wharf.cors: https://app.test, https://*.app.test credentials\n\
         wharf.auth.basic: joe:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\nwharf.allow: 192.0.2.1\n\
         wharf.moved.path: /moved\nwharf.moved.redirect: /moved -> /\n\
         wharf.few.path: /few\nwharf.few.cors.methods: GET, PUT\nwharf.few.cors.headers: X-A\nwharf.few.cors.max_age: 1d",
    );
    for target in ["/", "/moved", "*"] {
        let answer = site
            .send(preflight(target, "https://app.test", "DELETE"))
            .message();
        assert_eq!(answer.status(), 204, "{target}");
        let mut expected = ALLOWED.to_vec();
        expected.extend([
            "allow-methods: DELETE",
            "allow-headers: authorization,x-a",
            "max-age: 3600",
        ]);
        assert_eq!(told(&answer), expected, "{target}");
        assert_eq!(answer.field("content-length"), None, "RFC 9110 section 8.6");
    }
    let few = site
        .send(preflight("/few", "https://x.app.test", "DELETE"))
        .message();
    let named = [
        "allow-methods: GET, PUT",
        "allow-headers: x-a",
        "max-age: 86400",
    ];
    assert_eq!(told(&few)[3..], named);
    let stranger = site
        .send(preflight("/", "https://evil.test", "GET"))
        .message();
    assert_eq!(
        (stranger.status(), told(&stranger)),
        (403, vec!["vary: Origin".to_owned()])
    );
    assert!(
        stranger.text().contains("https://evil.test"),
        "{}",
        stranger.text()
    );
    // Over HTTP/2, too.
    let client = H2::connect(site.http());
    let request = http::Request::options("http://a.test/")
        .header("origin", "https://app.test")
        .header("access-control-request-method", "PUT");
    let (response, _) = client.send(request.body(()).unwrap(), true);
    let response = client.wait(response).unwrap();
    let answer = client.whole(response).unwrap();
    assert_eq!(answer.status, 204);
    assert_eq!(answer.headers["access-control-allow-methods"], "PUT");
    assert!(!answer.headers.contains_key("content-length"));
}

#[test]
fn pages_that_may_call_can_read_every_answer_and_others_none() {
    let served = opinionated();
    let site = Site::plain(
        served.port(),
        "wharf.cors: https://app.test credentials\n\
         wharf.login.path: /login\nwharf.login.auth.basic: joe:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n\
         wharf.moved.path: /moved\nwharf.moved.redirect: /moved -> /\n\
         wharf.any.path: /any\nwharf.any.cors: *\n\
         wharf.off.path: /off\nwharf.off.cors: off",
    );
    let of = |target: &str, fields: &str| {
        let answer = site.send(get(target, fields)).message();
        (answer.status(), told(&answer))
    };
    let lines = |lines: &[&str]| {
        lines
            .iter()
            .map(|line| (*line).to_owned())
            .collect::<Vec<_>>()
    };
    let page = "Origin: https://app.test\r\n";
    let apps = ["expose-headers: X-Own", "vary: Accept"];
    assert_eq!(of("/", page), (200, lines(&[&apps[..], &ALLOWED].concat())));
    // Wharf's own.
    assert_eq!(of("/login", page), (401, lines(&ALLOWED)));
    assert_eq!(of("/moved", page), (301, lines(&ALLOWED)));
    for others in ["Origin: https://evil.test\r\n", "Origin: null\r\n", ""] {
        assert_eq!(
            of("/", others),
            (200, lines(&[apps[0], apps[1], ALLOWED[2]]))
        );
        assert_eq!(of("/login", others), (401, lines(&[ALLOWED[2]])));
    }
    let any = lines(&[apps[0], apps[1], "allow-origin: *", ALLOWED[2]]);
    assert_eq!(of("/any", page), (200, any));
    // Where no label speaks, the app does.
    let own = ["allow-origin: *", "max-age: 5", apps[0], apps[1]];
    assert_eq!(of("/off", page), (200, lines(&own)));
    // An OPTIONS that is no preflight is the app's.
    let options = "OPTIONS / HTTP/1.1\r\nHost: a.test\r\nOrigin: https://app.test\r\n\r\n";
    let answer = site.send(options).message();
    assert_eq!(
        (answer.status(), answer.text()),
        (200, "OPTIONS".to_owned())
    );
}

#[test]
fn fields_are_those_of_the_usual_block_of_nginx() {
    let both = Both::of(
        vec![(
            "app",
            "wharf.host: a.test\nwharf.cors: https://app.test methods=GET,PUT headers=X-A credentials max_age=1d",
            opinionated(),
        )],
        r#"
        server {
            location / {
                if ($request_method = OPTIONS) {
                    add_header Access-Control-Allow-Origin https://app.test;
                    add_header Access-Control-Allow-Credentials true;
                    add_header Vary Origin;
                    add_header Access-Control-Allow-Methods "GET, PUT";
                    add_header Access-Control-Allow-Headers x-a;
                    add_header Access-Control-Max-Age 86400;
                    return 204;
                }
                proxy_pass http://@app;
                proxy_hide_header Access-Control-Allow-Origin;
                proxy_hide_header Access-Control-Max-Age;
                add_header Access-Control-Allow-Origin https://app.test always;
                add_header Access-Control-Allow-Credentials true always;
                add_header Vary Origin always;
            }
        }
        "#,
    );
    for request in [
        preflight("/", "https://app.test", "PUT"),
        get("/", "Origin: https://app.test\r\n"),
    ] {
        let (wharf, nginx) = both.ask(&request);
        assert_eq!(wharf.status(), nginx.status());
        assert_eq!(told(&wharf), told(&nginx));
    }
}

#[test]
fn a_label_that_cannot_be_read_allows_nobody() {
    let served = opinionated();
    let site = Site::plain(served.port(), "wharf.cors: https://app.test, evil");
    let answer = site
        .send(preflight("/", "https://app.test", "GET"))
        .message();
    assert_eq!((answer.status(), told(&answer)), (503, Vec::new()));
}

fn ask(wharf: &Wharf, url: &str, args: &[&str]) -> Answer {
    let asked = curl(url, wharf.https).root(&wharf.local_root());
    asked.arg(&["--include"]).arg(args).run().unwrap()
}

#[test]
fn b53_a_container_is_called_from_the_pages_that_its_label_names() {
    let host = format!("{}.test", unique("b53"));
    let _api = App::new("b53")
        .label("wharf.host", &host)
        .label(
            "wharf.cors",
            "https://*.example.com credentials max_age=10m",
        )
        .label("wharf.auth.basic", "joe:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=")
        .run();
    let wharf = Builder::new().start();
    wharf.wait_answer(&host, "/", |answer| answer.status == 301);
    let url = format!("https://{host}/json");
    for version in ["--http1.1", "--http2"] {
        let origin = ["-H", "Origin: https://app.example.com", version];
        let question = ["-X", "OPTIONS", "-H", "Access-Control-Request-Method: PUT"];
        let answer = ask(&wharf, &url, &[&origin[..], &question].concat());
        let text = answer.text().to_lowercase();
        assert_eq!(answer.status, 204, "{text}");
        for line in [
            "access-control-allow-origin: https://app.example.com\r\n",
            "access-control-allow-credentials: true\r\n",
            "access-control-allow-methods: put\r\n",
            "access-control-max-age: 600\r\n",
            "vary: origin\r\n",
        ] {
            assert!(text.contains(line), "{line} {text}");
        }
        for (login, status) in [("joe:password", 200), ("joe:wrong", 401)] {
            let put = ["-X", "PUT", "--user", login];
            let answer = ask(&wharf, &url, &[&origin[..], &put].concat());
            let text = answer.text().to_lowercase();
            assert_eq!(answer.status, status, "{text}");
            let allowed = "access-control-allow-origin: https://app.example.com\r\n";
            assert!(text.contains(allowed), "{text}");
        }
    }
}

#[test]
fn a_browser_lets_a_page_read_what_the_label_allows_and_nothing_else() {
    // Asks other hosts, and shows what it may read of their answers.
    let page = Served::by(|_| {
        let page = "<body><script>const ask=(url)=>{try{const asked=new XMLHttpRequest();\
            asked.open('PUT',url,false);asked.setRequestHeader('X-A','1');asked.send();\
            return asked.status}catch(error){return error.name}};\
            document.body.textContent=['open-cors.localhost/','open-cors.localhost/rest','shut-cors.localhost/']\
            .map((at)=>ask('https://'+at)).join(', ')</script></body>";
        let length = page.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n"
        );
        (head + page).into_bytes()
    });
    let (open, shut) = (opinionated(), opinionated());
    let site = Site::start([
        app("page", page.port(), "wharf.host: cors.localhost"),
        app(
            "open",
            open.port(),
            "wharf.host: open-cors.localhost\nwharf.cors: https://cors.localhost\n\
             wharf.rest.path: /rest\nwharf.rest.maintenance: on",
        ),
        app(
            "shut",
            shut.port(),
            "wharf.host: shut-cors.localhost\nwharf.cors: https://open-cors.localhost",
        ),
    ]);
    let user = User::new();
    std::fs::write(user.home().join("root.pem"), site.wharf.local_root()).unwrap();
    user.shell("certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n wharf -i root.pem");
    // Somebody's container that gets an address fails requests of a page, as it fails pages.
    eventually("what the label allows", LIMIT, || {
        let told = user.open("cors.localhost", site.wharf.https)?;
        match told.contains(">200, 503, NetworkError<") {
            true => Ok(()),
            false => Err(told),
        }
    });
}
