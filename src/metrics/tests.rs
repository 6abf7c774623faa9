//! Counting, summing, and the text read back.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Reads the exposition format strictly: HELP, TYPE, then samples of that family, no series twice.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let mut family = ("", "");
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(!help.is_empty() && families.insert(name), "{name}");
            let kind = lines.next().unwrap().strip_prefix("# TYPE ").unwrap();
            let (typed, kind) = kind.split_once(' ').unwrap();
            assert_eq!(typed, name);
            assert!(["counter", "gauge", "histogram"].contains(&kind));
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            family = (name, kind);
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let suffix = name.strip_prefix(family.0).unwrap();
        let allowed: &[&str] = match family.1 {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(allowed.contains(&suffix), "{line}");
        let doubled = samples.insert(series.to_owned(), value.parse().unwrap());
        assert_eq!(doubled, None, "{series}");
    }
    assert!(text.ends_with('\n'));
    samples
}

#[test]
fn workers_are_summed() {
    let metrics = Metrics::new(2);
    let (first, second) = (metrics.worker(0), metrics.worker(1));
    first.http.accepted.add(3);
    second.http.accepted.inc();
    second.https.open.inc();
    second.https.open.inc();
    second.https.open.dec();
    first.requests_h1.inc();
    second.requests_h2.inc();
    for status in [100, 200, 204, 301, 404, 500, 599, 42, 700] {
        first.count_status(status);
    }
    second.count_error(ErrorKind::NoRoute);
    first.bytes_out.add(1 << 40);

    let totals = metrics.totals();
    assert_eq!(totals.http.accepted, 4);
    assert_eq!(totals.https.open, 1);
    assert_eq!(totals.responses, [1, 2, 1, 1, 4]);
    assert_eq!(totals.errors_of(ErrorKind::NoRoute), 1);
    assert_eq!(totals.errors.iter().sum::<u64>(), 1);

    let samples = parse(&metrics.render(&Gauges::default()));
    for (series, value) in [
        (r#"wharf_connections_accepted_total{listener="http"}"#, 4.0),
        (r#"wharf_connections_open{listener="https"}"#, 1.0),
        (r#"wharf_requests_total{protocol="h2"}"#, 1.0),
        (r#"wharf_responses_total{class="5xx"}"#, 4.0),
        (r#"wharf_errors_total{kind="no_route"}"#, 1.0),
        (r#"wharf_errors_total{kind="connect"}"#, 0.0),
        ("wharf_response_body_bytes_total", 1_099_511_627_776.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
}

#[test]
fn gauges_never_fall_below_zero() {
    let gauge = Gauge::default();
    gauge.dec();
    gauge.inc();
    assert_eq!(gauge.get(), 1);
}

#[test]
fn durations_fall_into_cumulated_buckets() {
    let metrics = Metrics::new(1);
    for micros in [0, 1_000, 1_001, 240_000, 60_000_000] {
        let seconds = &metrics.workers()[0].request_seconds;
        seconds.observe(Duration::from_micros(micros));
    }
    let samples = parse(&metrics.render(&Gauges::default()));
    for (series, value) in [
        (r#"_bucket{le="0.001"}"#, 2.0),
        (r#"_bucket{le="0.005"}"#, 3.0),
        (r#"_bucket{le="0.1"}"#, 3.0),
        (r#"_bucket{le="0.25"}"#, 4.0),
        (r#"_bucket{le="10"}"#, 4.0),
        (r#"_bucket{le="+Inf"}"#, 5.0),
        ("_sum", 60.242001),
        ("_count", 5.0),
    ] {
        let series = format!("wharf_request_duration_seconds{series}");
        assert_eq!(samples.get(&series), Some(&value), "{series}");
    }
}

#[test]
fn bucket_texts_are_their_bounds() {
    for (micros, text) in BUCKETS {
        assert_eq!(text.parse::<f64>().unwrap() * 1e6, micros as f64);
    }
    assert!(BUCKETS.is_sorted());
}

#[test]
fn error_kinds_index_their_own_counter() {
    for (index, kind) in ErrorKind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, index);
    }
}

#[test]
fn what_stands_around_is_told_and_escaped() {
    let certificate = |host: &str, not_after| CertificateGauge {
        host: host.to_owned(),
        not_after,
    };
    let gauges = Gauges {
        routes: 7,
        breakers_open: 1,
        certificates: vec![
            certificate("a.example.com", 5),
            certificate("a.example.com", 9),
            certificate("b\"\\\n", -1),
        ],
        engine: EngineGauges {
            connected: true,
            last_list_seconds_ago: Some(3),
            ..EngineGauges::default()
        },
        ..Gauges::default()
    };
    let samples = parse(&Metrics::new(0).render(&gauges));
    for (series, value) in [
        ("wharf_routes", Some(7.0)),
        (
            r#"wharf_certificate_expiry_timestamp_seconds{host="a.example.com"}"#,
            Some(9.0),
        ),
        (
            r#"wharf_certificate_expiry_timestamp_seconds{host="b\"\\\n"}"#,
            Some(-1.0),
        ),
        ("wharf_docker_connected", Some(1.0)),
        ("wharf_docker_last_list_age_seconds", Some(3.0)),
        ("wharf_docker_unanswered_seconds", Some(0.0)),
        ("wharf_docker_last_event_age_seconds", None),
    ] {
        assert_eq!(samples.get(series).copied(), value, "{series}");
    }
}
