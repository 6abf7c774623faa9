//! The listener over a real socket, and the table.

use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::model::LabelPrefix;

/// Ready or not, with [`sample`] as status.
struct Fixed {
    ready: bool,
}

impl Source for Fixed {
    fn status(&self) -> Status {
        sample()
    }

    fn routes(&self) -> Vec<RouteLine> {
        vec![RouteLine {
            host: "a.test".to_owned(),
            path: "/".to_owned(),
            ..RouteLine::default()
        }]
    }

    fn ready(&self) -> bool {
        self.ready
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    fn root(&self) -> String {
        "-----BEGIN CERTIFICATE-----\n".to_owned()
    }

    fn metrics(&self) -> String {
        "wharf_routes 1\n".to_owned()
    }

    fn cache(&self) -> CacheReport {
        CacheReport::default()
    }

    fn purge(&self, what: Forget) -> Purging {
        Box::pin(std::future::ready(match what {
            Forget::All => Ok(7),
            Forget::Name(name) => Err(format!("nobody knows {name}")),
            Forget::Url(url) => Ok(url.len() as u64),
        }))
    }

    fn explain(&self, query: String) -> Explaining {
        Box::pin(std::future::ready(match query.as_str() {
            "" => Err("no url".to_owned()),
            _ => Ok(Explanation {
                url: query,
                ..Explanation::default()
            }),
        }))
    }
}

/// Ends with the test.
struct Served(SocketAddr, JoinHandle<()>);

impl Drop for Served {
    fn drop(&mut self) {
        self.1.abort();
    }
}

async fn served(ready: bool) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(serve(
        listener,
        Arc::new(Fixed { ready }),
        LabelPrefix::default(),
    ));
    Served(address, task)
}

/// Sends bytes, reads to the end.
async fn exchange(served: &Served, request: &str) -> String {
    let mut stream = TcpStream::connect(served.0).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

fn sample() -> Status {
    Status {
        version: "0.1.0".into(),
        uptime_seconds: 300,
        ready: true,
        engine: Engine {
            connected: true,
            version: "29.1".into(),
            api: "1.52".into(),
            last_list_seconds_ago: Some(3),
            ..Engine::default()
        },
        listeners: vec![Listener {
            name: "http".into(),
            address: "[::]:80".into(),
        }],
        routes: vec![
            Route {
                files: false,
                hosts: vec!["a.test".into(), "long-name.example.com".into()],
                path: "/".into(),
                upstream: "shop/web".into(),
                container: "shop-web-1".into(),
                tls: "auto".into(),
                https: "redirect".into(),
                breaker: None,
                fault: None,
            },
            Route {
                files: false,
                hosts: vec!["b.test".into()],
                path: "/api".into(),
                upstream: "shop/api".into(),
                container: "shop-api-1".into(),
                tls: "auto".into(),
                https: "redirect".into(),
                breaker: None,
                fault: Some("wharf.auth was not understood".into()),
            },
        ],
        upstreams: vec![
            Upstream {
                name: "shop/web".into(),
                endpoints: vec![Endpoint {
                    container: "shop-web-1".into(),
                    address: "172.18.0.3:8080".into(),
                    weight: 1,
                    state: "ok".into(),
                    ..Endpoint::default()
                }],
                queued: 0,
                unreachable: Vec::new(),
            },
            Upstream {
                name: "shop/api".into(),
                endpoints: Vec::new(),
                queued: 0,
                unreachable: vec!["shop-api-1 shares no network with Wharf".into()],
            },
        ],
        certificates: vec![
            Certificate {
                host: "a.test".into(),
                source: "internal".into(),
                issuer: "Wharf".into(),
                not_after: Some(60 * 86_400),
                state: "valid".into(),
                next: Some("renew in 30 d".into()),
                last_error: None,
                link: None,
            },
            Certificate {
                host: "long-name.example.com".into(),
                source: "acme".into(),
                state: "failed".into(),
                last_error: Some("DNS points elsewhere".into()),
                ..Certificate::default()
            },
        ],
        on_demand: Some(OnDemand {
            patterns: vec![AskedPattern {
                host: "default".into(),
                asked: "/check of shop/web".into(),
                names: 2,
            }],
            yes: 2,
            no: 1,
            unknown: 1,
            trouble: Some("/check of shop/web answered 500 about x.test".into()),
            ..OnDemand::default()
        }),
        store: Store {
            place: "/data".into(),
            ..Store::default()
        },
        clock: Some("the clock is 3 h behind".into()),
        problems: vec![ProblemLine {
            file: String::new(),
            severity: "warning".into(),
            container: "shop-web-1".into(),
            label: "wharf.cahce".into(),
            value: "on\u{1b}[2J".into(),
            reason: "unknown label; did you mean wharf.cache?".into(),
        }],
        containers: vec![
            Container {
                name: "shop-web-1".into(),
                standing: "routed".into(),
                asks: vec!["a.test".into(), "long-name.example.com".into()],
                ..Container::default()
            },
            Container {
                name: "shop-api-1".into(),
                standing: "not routed".into(),
                asks: vec!["b.test/api".into()],
                reasons: vec!["shares no network with Wharf".into()],
            },
        ],
    }
}

#[tokio::test]
async fn fixed_answers() {
    let served = served(true).await;
    for (request, status, body) in [
        (get("/healthz"), "200", "ok\n"),
        (get("/readyz"), "200", "ready\n"),
        (get("/metrics"), "200", "wharf_routes 1\n"),
        (get("/explain"), "400", "no url\n"),
        (get("/nothing"), "404", "not found; see /\n"),
        (get("/status/"), "404", "not found; see /\n"),
        (get("/healthz?x=1"), "200", "ok\n"),
        ("GET /healthz HTTP/1.0\r\n\r\n".into(), "200", "ok\n"),
        (get("/healthz").replace("GET", "HEAD"), "200", ""),
        (
            get("/healthz").replace("GET", "POST"),
            "405",
            "only GET and HEAD\n",
        ),
        (
            get("/status").replace("GET", "DELETE"),
            "405",
            "only GET and HEAD\n",
        ),
    ] {
        let answer = exchange(&served, &request).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{request}");
        assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, body, "{request}");
    }
    let answer = exchange(&served, &get("/metrics")).await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4"));
}

#[tokio::test]
async fn unready_says_why() {
    let served = served(false).await;
    let (status, body) = fetch(served.0, "/readyz").await.unwrap();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, "the containers have not been read yet\n");
}

#[tokio::test]
async fn status_comes_back_whole() {
    let served = served(true).await;
    let (status, body) = fetch(served.0, "/status").await.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(serde_json::from_slice::<Status>(&body).unwrap(), sample());
}

#[test]
fn status_of_another_version_is_read() {
    let text = r#"{"version":"9.0.0","new":1,"engine":{"connected":true,"more":[]}}"#;
    let status: Status = serde_json::from_str(text).unwrap();
    assert!(status.engine.connected && status.routes.is_empty());
}

#[test]
fn a_store_that_is_ill_is_a_problem() {
    let names = (0..7).map(|n| format!("h{n}.test"));
    let store = |error: Option<&str>, unsaved| Store {
        place: "/data".into(),
        error: error.map(Into::into),
        unsaved,
        aside: vec!["x.json: put aside as corrupt: why".into()],
    };
    for (store, told) in [
        (store(None, vec![]), "x.json: put aside as corrupt: why"),
        (
            store(Some("full"), vec![]),
            "/data cannot be written: full; a restart will lose what is issued now",
        ),
        (
            store(Some("full"), names.collect()),
            "a restart would lose h0.test, h1.test, h2.test, h3.test, h4.test and 2 more",
        ),
    ] {
        let status = Status { store, ..sample() };
        let text = render(&status, 0, false, None);
        assert!(text.contains(told), "{text}");
    }
}

#[tokio::test]
async fn names_a_web_page_could_use_are_refused() {
    let served = served(true).await;
    for (host, status) in [
        ("localhost:9900", "200"),
        ("LOCALHOST", "200"),
        ("app.localhost", "200"),
        ("127.0.0.1:9900", "200"),
        ("[::1]:9900", "200"),
        ("10.0.0.7", "200"),
        ("wharf:9900", "200"),
        ("host.docker.internal:9900", "200"),
        ("evil.example.com", "421"),
        ("evil.example.com:9900", "421"),
        ("127.0.0.1.evil.com", "421"),
        ("localhost.evil.com", "421"),
        ("evil.com.", "421"),
        ("", "421"),
        ("a b", "421"),
        ("localhost\r\nhost: evil.com", "421"),
    ] {
        let request = format!("GET /status HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let answer = exchange(&served, &request).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{host}");
    }
    let absolute = "GET http://evil.com/status HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert!(exchange(&served, absolute).await.contains(" 421 "));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let served = served(true).await;
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(TcpStream::connect(served.0).await.unwrap());
    }
    let request = get("/healthz");
    let waiting = exchange(&served, &request);
    tokio::pin!(waiting);
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("answered beyond the limit"),
        () = tokio::time::sleep(std::time::Duration::from_millis(50)) => {}
    }
    idle.pop();
    assert!(waiting.await.contains(" 200 "));
}

#[tokio::test]
async fn a_closed_port_is_told_in_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let fault = fetch(address, "/status").await.unwrap_err();
    assert!(matches!(fault, FetchError::Connect { .. }));
    assert!(
        fault
            .to_string()
            .starts_with("no Wharf answers on 127.0.0.1:")
    );
}

#[test]
fn unspecified_addresses_are_reached_on_loopback() {
    for (bound, asked) in [
        ("0.0.0.0:9900", "127.0.0.1:9900"),
        ("[::]:9900", "127.0.0.1:9900"),
        ("192.0.2.1:9900", "192.0.2.1:9900"),
    ] {
        assert_eq!(reachable(bound.parse().unwrap()).to_string(), asked);
    }
}

#[test]
fn the_table_tells_problems_first() {
    let text = render(&sample(), 0, false, None);
    let expected = "\
Wharf 0.1.0, up 5m, ready
Docker 29.1 (API 1.52), connected, last list 3s ago
Listening: http [::]:80

Problems
  error    shop-api-1             b.test answers 503: wharf.auth was not understood
  error    long-name.example.com  certificate: DNS points elsewhere
  error    clock                  the clock is 3 h behind
  warning  shop-web-1             wharf.cahce: on\\u{1b}[2J: unknown label; did you mean wharf.cache?

Containers
  CONTAINER   STATE       ASKS FOR                       WHY
  shop-api-1  not routed  b.test/api                     shares no network with Wharf
  shop-web-1  routed      a.test, long-name.example.com  -

Routes
  HOST                           PATH  UPSTREAM  CONTAINER   TLS   HTTPS     STATE
  a.test, long-name.example.com  /     shop/web  shop-web-1  auto  redirect  served
  b.test                         /api  shop/api  shop-api-1  auto  redirect  answers 503

Endpoints
  UPSTREAM  CONTAINER   ADDRESS          WEIGHT  STATE
  shop/web  shop-web-1  172.18.0.3:8080  1       ok

Certificates
  HOST                   SOURCE    LEFT      STATE   NEXT           ISSUER
  a.test                 internal  60d left  valid   renew in 30 d  Wharf
  long-name.example.com  acme      -         failed  -              -

On demand
  HOST     ASKED               NAMES
  default  /check of shop/web  2
  answers since the start: 2 yes, 1 no, 1 neither; 0 names held back
  no answer: /check of shop/web answered 500 about x.test
";
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn colours_stand_around_words_only_on_request() {
    let plain = render(&sample(), 0, false, None);
    let coloured = render(&sample(), 0, true, None);
    assert!(!plain.contains('\u{1b}') && coloured.contains("\u{1b}[31merror\u{1b}[0m  "));
    let mut stripped = coloured;
    for code in [
        "\u{1b}[0m",
        "\u{1b}[1m",
        "\u{1b}[31m",
        "\u{1b}[32m",
        "\u{1b}[33m",
    ] {
        stripped = stripped.replace(code, "");
    }
    assert_eq!(stripped, plain);
}

#[test]
fn an_engine_that_is_away_and_old_certificates_are_problems() {
    let mut status = sample();
    status.engine.connected = false;
    status.engine.last_error = Some("connection refused".into());
    status.engine.unanswered = Some("list containers".into());
    status.engine.unanswered_seconds = Some(83);
    status.certificates[0].not_after = Some(-3 * 86_400);
    let text = render(&status, 0, false, None);
    for line in [
        "connection refused; for 83s now, first asked: list containers; routes stay as they were last seen",
        "certificate: expired 3d ago",
    ] {
        assert!(text.contains(line), "{text}");
    }
    // It hangs: nothing has failed so far.
    status.engine.connected = true;
    status.engine.last_error = None;
    let text = render(&status, 0, false, None);
    assert!(
        text.contains("list containers: no answer for 83s; routes"),
        "{text}"
    );
}

#[test]
fn a_short_life_is_no_problem_while_its_renewal_is_planned() {
    let mut status = sample();
    status.certificates[0].not_after = Some(6 * 86_400);
    status.certificates[0].next = Some("renew in 3 d".into());
    assert!(!render(&status, 0, false, None).contains("certificate: 6d left"));
    status.certificates[0].next = Some("renew now".into());
    assert!(render(&status, 0, false, None).contains("certificate: 6d left"));
}

#[test]
fn what_keeps_a_container_away_is_told_once() {
    let mut status = sample();
    let reason = "shares no network with Wharf";
    status.problems[0].container = "shop-api-1".into();
    status.problems[0].label.clear();
    status.problems[0].reason = reason.into();
    status.upstreams[1].unreachable = vec![format!("shop-api-1: {reason}")];
    assert_eq!(render(&status, 0, false, None).matches(reason).count(), 1);
}
