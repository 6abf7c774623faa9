//! DNS-01 with real Pebble and a real name server: wildcards, siblings, aliases, hooks; records that people set.

use std::time::{Duration, Instant};

use wharf::config::{Config, Raw};
use wharf::model::TlsMode;
use wharf::tls::{CertReport, CertState, CertsConfig};

use crate::store::records;
use crate::support::named::{FIRST, KEY, Named, OTHER_KEY, SECOND};
use crate::support::pebble::{Pebble, free_port};
use crate::support::responder::{Ports, Responder, handshake};
use crate::support::shim::Shim;
use crate::tls::{Running, authority, config, walk};

/// What `WHARF_DNS` and its credentials say.
fn with_dns(base: CertsConfig, named: &Named, dns: &str, key: &str) -> CertsConfig {
    let zone = if key == OTHER_KEY { SECOND } else { FIRST };
    let credentials = [
        ("SERVER", named.address().to_string()),
        ("KEY_NAME", format!("key-{zone}")),
        ("KEY", key.to_owned()),
    ];
    let credentials = credentials.map(|(field, value)| {
        let name = format!("WHARF_DNS_RFC2136_{field}");
        (name.into(), value.into())
    });
    let raw = Raw {
        dns: Some(dns.to_owned()),
        dns_resolvers: Some(named.address().to_string()),
        dns_wait: Some("20s".to_owned()),
        ..Raw::default()
    };
    let said = Config::resolve(&raw.with_credentials(credentials.into_iter())).unwrap();
    CertsConfig {
        dns: said.dns,
        dns_resolvers: said.dns_resolvers,
        dns_wait: said.dns_wait,
        ..base
    }
}

/// A CA that asks this name server.
fn pebble(named: &Named, http: u16, tls: u16) -> Pebble {
    let mut ca = Pebble::prepare(http, tls);
    ca.ask(named.address());
    ca.run(&[]);
    ca
}

fn txt(named: &Named, host: &str) -> String {
    named.dig(&format!("_acme-challenge.{host}"), "TXT")
}

/// Looks until there is nothing left.
async fn until_empty(left: impl Fn() -> String) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match left() {
            left if left.is_empty() => return,
            left => assert!(Instant::now() < deadline, "{left}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_wildcard_and_the_name_above_it_are_one_order_which_serves_the_names_below() {
    let named = Named::start("");
    let ports = Ports::bind().await;
    let tls = ports.tls_port();
    let ca = pebble(&named, ports.http_port(), tls);
    let data = tempfile::tempdir().unwrap();
    let open = || {
        Running::open_with(with_dns(
            config(&ca, Some(data.path())),
            &named,
            "rfc2136",
            KEY,
        ))
    };
    let wildcard = format!("*.{FIRST}");
    let (one, two) = (format!("one.{FIRST}"), format!("two.{FIRST}"));
    let all = [wildcard.as_str(), FIRST, &one, &two];

    let running = open();
    running.declare(&all, TlsMode::Auto);
    // Before the wildcard is there: both wait for it.
    let (first, second) = tokio::join!(running.obtain(&one), running.obtain(FIRST));
    first.unwrap();
    second.unwrap();
    running.obtain(&two).await.unwrap();
    for host in all {
        running
            .until(host, Duration::from_secs(10), |report| {
                report.state == CertState::Valid
            })
            .await;
    }
    assert_eq!(ca.orders(), 1, "{}", ca.log());
    // Two values were at one name at once, and are gone.
    until_empty(|| txt(&named, FIRST)).await;
    running.close().await;

    // The store has it, for all of them.
    let running = open();
    running.declare(&all, TlsMode::Auto);
    let _server = Responder::start(ports, &running.certs);
    let root = ca.issuing_root();
    for host in [FIRST, &one, &two] {
        handshake(host, tls, &root).await.unwrap();
    }
    assert_eq!(ca.orders(), 1);
    // Without the wildcard's container a name is on its own again, when its certificate is due.
    running.declare(&[&one], TlsMode::Auto);
    assert_eq!(running.report(&one).state, CertState::Valid);
}

#[tokio::test]
async fn an_alias_leads_to_the_zone_where_the_record_is_set() {
    let named = Named::start(&format!("_acme-challenge CNAME proof.{SECOND}."));
    let ports = Ports::bind().await;
    let ca = pebble(&named, ports.http_port(), ports.tls_port());
    // The key is good for the second zone only; the rule is for the host that leads there.
    let dns = format!("{FIRST}=rfc2136");
    let running = Running::open_with(with_dns(config(&ca, None), &named, &dns, OTHER_KEY));
    let wildcard = format!("*.{FIRST}");
    running.declare(&[&wildcard], TlsMode::Auto);
    running
        .until(&wildcard, Duration::from_secs(30), |report| {
            report.state == CertState::Valid
        })
        .await;
    until_empty(|| named.dig(&format!("proof.{SECOND}"), "TXT")).await;
}

#[tokio::test]
async fn a_record_that_cannot_be_set_costs_no_validation_and_another_challenge_helps() {
    let named = Named::start("");
    let ports = Ports::bind().await;
    let ca = pebble(&named, ports.http_port(), ports.tls_port());
    // The key of the other zone.
    let running = Running::open_with(with_dns(config(&ca, None), &named, "rfc2136", OTHER_KEY));
    let _server = Responder::start(ports, &running.certs);
    let (wildcard, exact) = (format!("*.{FIRST}"), format!("only.{FIRST}"));
    running.declare(&[&wildcard, &exact], TlsMode::Auto);
    running
        .until(&wildcard, Duration::from_secs(30), |report| {
            report.last_error.is_some()
        })
        .await;
    let told = running.report(&wildcard).last_error.unwrap();
    assert!(told.contains("setting the DNS record: rfc2136: "), "{told}");
    // While there is no wildcard, the name gets its own.
    running.obtain(&exact).await.unwrap();
    assert_eq!(running.report(&exact).state, CertState::Valid);
    assert_eq!(running.report(&wildcard).state, CertState::Failed);
}

/// A CA that believes everything, and calls itself `ca.example` in records.
async fn persisting(in_directory: bool) -> (Pebble, Shim) {
    let mut ca = Pebble::prepare(free_port(), free_port());
    ca.run(&[("PEBBLE_VA_ALWAYS_VALID", "1")]);
    let shim = Shim::start(&ca).await;
    shim.persist(&["ca.example", "ca2.example"], in_directory);
    (ca, shim)
}

/// What a person is told to set for the first zone, once it is.
async fn told(running: &Running, host: &str, but: &str) -> String {
    let told = |report: &CertReport| {
        let error = report.last_error.as_ref();
        error.is_some_and(|error| error.contains("set it once") && !error.contains(but))
    };
    running.until(host, Duration::from_secs(20), told).await;
    let error = running.report(host).last_error.unwrap();
    println!("{error}");
    let record = format!("set it once: _validation-persist.{FIRST}. TXT ");
    let (_, value) = error.split_once(&record).expect(&error);
    value.trim_matches('"').to_owned()
}

#[tokio::test]
async fn a_record_that_a_person_sets_once_proves_a_wildcard_and_costs_no_order_while_it_is_missing()
{
    let named = Named::start("");
    let (ca, shim) = persisting(true).await;
    let data = tempfile::tempdir().unwrap();
    let base = CertsConfig {
        cas: vec![authority(shim.directory(), &shim.listener_root())],
        ..config(&ca, Some(data.path()))
    };
    let running = Running::open_with(with_dns(base, &named, "persist", KEY));
    let wildcard = format!("*.{FIRST}");
    running.declare(&[&wildcard, FIRST], TlsMode::Auto);
    let value = told(&running, &wildcard, "nothing").await;
    let account = walk(data.path(), "account.json");
    let account: serde_json::Value = serde_json::from_str(&account).unwrap();
    let account = account["id"].as_str().unwrap();
    assert_eq!(
        value,
        format!("ca.example; accounturi={account}; policy=wildcard")
    );

    // Nearly right: for the name alone.
    let name = format!("_validation-persist.{FIRST}");
    let narrow = value.replace("; policy=wildcard", "");
    named.update(&format!("update add {name}. 60 TXT \"{narrow}\""));
    let again = told(&running, &wildcard, "is missing").await;
    let error = running.report(&wildcard).last_error.unwrap();
    assert!(error.contains("does not allow wildcards"), "{error}");
    assert_eq!((again, shim.seen("POST /order-plz")), (value.clone(), 0));

    named.update(&format!("update add {name}. 60 TXT \"{value}\""));
    let valid = |report: &CertReport| report.state == CertState::Valid;
    running
        .until(&wildcard, Duration::from_secs(30), valid)
        .await;
    running.obtain(FIRST).await.unwrap();
    assert_eq!(shim.seen("POST /order-plz"), 1);
    until_empty(|| {
        let records = records(data.path());
        let mut records = records.iter();
        let how = records.find(|record| record["host"] == wildcard.as_str());
        match how.is_some_and(|record| record["challenge"] == "dns-persist-01") {
            true => String::new(),
            false => format!("{how:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_ca_whose_directory_does_not_tell_its_name_tells_it_with_the_first_order() {
    let named = Named::start("");
    let (ca, shim) = persisting(false).await;
    let base = CertsConfig {
        cas: vec![authority(shim.directory(), &shim.listener_root())],
        ..config(&ca, None)
    };
    let dns = format!("{FIRST}=persist");
    let running = Running::open_with(with_dns(base, &named, &dns, KEY));
    let wildcard = format!("*.{FIRST}");
    running.declare(&[&wildcard], TlsMode::Auto);
    let value = told(&running, &wildcard, "nothing").await;
    let value = value.replace("ca.example", "ca2.example");
    named.update(&format!(
        "update add _validation-persist.{FIRST}. 60 TXT \"{value}\""
    ));
    let valid = |report: &CertReport| report.state == CertState::Valid;
    running
        .until(&wildcard, Duration::from_secs(30), valid)
        .await;
    assert_eq!(shim.seen("POST /order-plz"), 2);
}

#[tokio::test]
async fn a_program_sets_the_record_and_what_it_leaves_is_removed_at_the_next_start() {
    let named = Named::start("");
    let ports = Ports::bind().await;
    let ca = pebble(&named, ports.http_port(), ports.tls_port());
    let data = tempfile::tempdir().unwrap();
    let dns = format!("exec:{}", named.hook().display());
    let open = || {
        let base = config(&ca, Some(data.path()));
        Running::open_with(with_dns(base, &named, &dns, KEY))
    };
    named.fail_at("cleanup");
    let running = open();
    running.declare(&[FIRST], TlsMode::Eager);
    running
        .until(FIRST, Duration::from_secs(30), |report| {
            report.state == CertState::Valid
        })
        .await;
    until_empty(|| match named.seen().len() {
        2 => String::new(),
        _ => format!("{:?}", named.seen()),
    })
    .await;
    let told = ["present", "cleanup"].map(|act| format!("{act} _acme-challenge.{FIRST}."));
    assert_eq!(named.seen(), told);
    assert_ne!(txt(&named, FIRST), "");
    running.close().await;
    named.fail_at("nothing");
    let _running = open();
    until_empty(|| txt(&named, FIRST)).await;
}
