//! DNS-01 by the APIs of providers: fakes of Cloudflare and Route 53 in front of a real name server, real
//! Pebble, and a whole Wharf.

use std::sync::Arc;

use crate::support::dns_api::DnsApi;
use crate::support::engine::FakeEngine;
use crate::support::eventually;
use crate::support::named::{FIRST, Named};
use crate::support::origin::Served;
use crate::support::pebble::{Pebble, free_port};
use crate::support::peer::LIMIT;
use crate::support::site::app;
use crate::support::wharf::{Builder, Wharf};

const TOKEN: &str = "cf-S3cret-token";
const KEY_ID: &str = "AKIAEXAMPLE";
const KEY: &str = "aws-S3cret/key";

/// A CA, a name server, and an app on a wildcard and the name above it.
struct Scene {
    named: Arc<Named>,
    ca: Pebble,
    engine: FakeEngine,
    _app: Served,
}

impl Scene {
    fn new() -> Self {
        let named = Arc::new(Named::start(""));
        let mut ca = Pebble::prepare(free_port(), free_port());
        ca.ask(named.address());
        ca.run(&[]);
        let served = Served::text("hi");
        let engine = FakeEngine::start();
        let labels = format!("wharf.host: {FIRST}, *.{FIRST}");
        engine.set_containers([app("app", served.port(), &labels)]);
        Self {
            named,
            ca,
            engine,
            _app: served,
        }
    }

    fn wharf(&self, env: &[(&str, &str)]) -> Wharf {
        let root = self.ca.listener_root();
        let builder = Builder::new()
            .engine(&self.engine)
            .env("WHARF_ACME", &self.ca.directory())
            .env("WHARF_ACME_ROOT", root.to_str().unwrap())
            .env("WHARF_DNS_RESOLVERS", &self.named.address().to_string())
            .env("RUST_LOG", "debug");
        let set = |builder: Builder, (name, value): &(&str, &str)| builder.env(name, value);
        env.iter().fold(builder, set).start()
    }
}

/// Nothing that people or programs see has a secret.
fn tells_no_secret(wharf: &Wharf) {
    let log = wharf.log_lines().join("\n");
    for told in [
        log,
        wharf.status_text(),
        wharf.status_json().to_string(),
        wharf.metrics(),
    ] {
        for secret in [TOKEN, KEY, "wrong-S3cret"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
}

#[test]
fn cloudflare_and_route_53_prove_a_wildcard_with_credentials_from_a_file_and_the_environment() {
    let scene = Scene::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{TOKEN}\n")).unwrap();
    let token = format!("file:{}", file.path().display());
    let cloudflare = DnsApi::cloudflare(&scene.named, TOKEN);
    let route53 = DnsApi::route53(&scene.named, KEY_ID, KEY);
    for (api, env) in [
        (
            &cloudflare,
            [
                ("WHARF_DNS", "cloudflare"),
                ("WHARF_DNS_CLOUDFLARE_TOKEN", &token),
                ("HTTPS_PROXY", &cloudflare.url()),
                ("SSL_CERT_FILE", &cloudflare.root()),
            ]
            .as_slice(),
        ),
        (
            &route53,
            &[
                ("WHARF_DNS", "route53"),
                ("WHARF_DNS_ROUTE53_ACCESS_KEY", KEY_ID),
                ("WHARF_DNS_ROUTE53_SECRET_KEY", "env:AWS_SECRET_ACCESS_KEY"),
                ("AWS_SECRET_ACCESS_KEY", KEY),
                ("WHARF_DNS_ROUTE53_ENDPOINT", &route53.url()),
            ],
        ),
    ] {
        let before = scene.ca.orders();
        let wharf = scene.wharf(env);
        wharf.wait_log("certificate obtained");
        assert_eq!(scene.ca.orders() - before, 1, "{}", scene.ca.log());
        // Both values are gone again.
        let name = format!("_acme-challenge.{FIRST}");
        eventually("no record", LIMIT, || match scene.named.dig(&name, "TXT") {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        });
        assert!(api.seen().iter().any(|method| method == "POST"));
        tells_no_secret(&wharf);
    }
}

#[test]
fn credentials_that_are_refused_are_named_by_provider_and_variable_and_never_shown() {
    let scene = Scene::new();
    let cloudflare = DnsApi::cloudflare(&scene.named, TOKEN);
    let route53 = DnsApi::route53(&scene.named, KEY_ID, KEY);
    for (env, told) in [
        (
            [
                ("WHARF_DNS", "cloudflare"),
                ("WHARF_DNS_CLOUDFLARE_TOKEN", "wrong-S3cret"),
                ("HTTPS_PROXY", &cloudflare.url()),
                ("SSL_CERT_FILE", &cloudflare.root()),
            ]
            .as_slice(),
            [
                "cloudflare: ",
                "Invalid access token",
                "WHARF_DNS_CLOUDFLARE_TOKEN",
            ],
        ),
        (
            &[
                ("WHARF_DNS", "route53"),
                ("WHARF_DNS_ROUTE53_ACCESS_KEY", KEY_ID),
                ("WHARF_DNS_ROUTE53_SECRET_KEY", "wrong-S3cret"),
                ("WHARF_DNS_ROUTE53_ENDPOINT", &route53.url()),
            ],
            [
                "route53: ",
                "SignatureDoesNotMatch",
                "WHARF_DNS_ROUTE53_SECRET_KEY",
            ],
        ),
    ] {
        let wharf = scene.wharf(env);
        let line = wharf.wait_log("setting the DNS record");
        for words in told {
            assert!(line.contains(words), "{words}: {line}");
        }
        let status = wharf.status_json().to_string();
        assert!(status.contains(told[2]), "{status}");
        tells_no_secret(&wharf);
    }
    assert!(!scene.ca.log().contains("Issued certificate"));
}
