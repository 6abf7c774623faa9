use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::{HttpsMode, LabelPrefix, Retry, RetryOn, TlsMode};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(label, value): &(&str, &str)| ((*label).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn read_pairs(pairs: &[(&str, &str)]) -> Labels {
    read("web", &labels(pairs), &LabelPrefix::default()).expect("these are Wharf's")
}

/// The reasons, with the severities aside.
fn reasons(read: &Labels) -> Vec<&str> {
    read.problems.iter().map(|p| p.reason.as_str()).collect()
}

#[test]
fn a_container_without_wharf_labels_says_nothing() {
    assert_eq!(
        read(
            "web",
            &labels(&[("traefik.enable", "true")]),
            &LabelPrefix::default()
        ),
        None
    );
}

#[test]
fn one_label_is_enough() {
    let read = read_pairs(&[("wharf.host", "app.example.com")]);
    assert_eq!(read.problems, []);
    let [route] = read.routes.as_slice() else {
        panic!("{read:?}");
    };
    assert_eq!(route.settings, Settings::default());
    assert_eq!(route.path, PathPattern::root());
    assert_eq!(
        (route.name.as_deref(), route.fault.as_deref()),
        (None, None)
    );
}

#[test]
fn disabled_containers_are_silent() {
    for value in ["false", "off", "No", "0"] {
        let read = read_pairs(&[("wharf.enable", value), ("wharf.tpyo", "x")]);
        assert_eq!(read, Labels::default(), "{value}");
    }
    let read = read_pairs(&[("wharf.enable", ""), ("wharf.host", "a.test")]);
    assert!(read.enabled && read.routes.len() == 1);
}

#[test]
fn named_routes_inherit_unless_they_set() {
    let read = read_pairs(&[
        ("wharf.host", "a.test"),
        ("wharf.port", "3000"),
        ("wharf.tls", "off"),
        ("wharf.timeout", "connect=1s read=2s"),
        ("wharf.api.path", "/api"),
        ("wharf.api.tls", "internal"),
        ("wharf.api.timeout.read", "9s"),
    ]);
    assert_eq!(reasons(&read), [] as [&str; 0]);
    let api = &read.routes[1];
    assert_eq!(api.hosts, read.routes[0].hosts);
    assert_eq!(api.dial.port, Some(3000));
    assert!(!api.own_upstream);
    assert_eq!(api.settings.tls, TlsMode::Internal);
    assert_eq!(api.settings.https, HttpsMode::Redirect);
    assert_eq!(read.routes[0].settings.https, HttpsMode::Off);
    assert_eq!(api.settings.timeouts.connect, Duration::from_secs(1));
    assert_eq!(api.settings.timeouts.read, Duration::from_secs(9));
}

#[test]
fn every_reserved_word_is_an_error_on_its_route() {
    for entry in OPTIONS.iter().filter(|e| e.status == Status::NotYet) {
        if entry.place == Place::Wharf {
            continue; // `wharf.preset.<name>` is no option of a route
        }
        let label = format!("wharf.{}", entry.name);
        let read = read_pairs(&[("wharf.host", "a.test"), (&label, entry.example)]);
        assert_eq!(reasons(&read), ["not supported yet"], "{label}");
        assert!(read.routes[0].fault.is_some(), "{label}");
    }
}

#[test]
fn keys_ignore_case_and_hyphens() {
    let read = read_pairs(&[("WHARF.HOST", "a.test"), ("Wharf.Slow-Start", "soon")]);
    let reason = "a duration looks like 250ms, 10s, 5m, 1h30m, 2d or off";
    assert_eq!(reasons(&read), [reason]);
    assert_eq!(read.problems[0].label, "Wharf.Slow-Start");
}

#[test]
fn a_misspelt_access_rule_closes_the_route() {
    for label in [
        "wharf.alow",
        "wharf.auht.basic",
        "wharf.athu.basic",
        "wharf.foo.bar",
    ] {
        let read = read_pairs(&[("wharf.host", "a.test"), (label, "x")]);
        assert_eq!(read.routes.len(), 1, "{label}");
        assert!(read.routes[0].fault.is_some(), "{label}: {read:?}");
    }
}

#[test]
fn a_route_that_is_nowhere_costs_itself() {
    let read = read_pairs(&[("wharf.host", "a.test"), ("wharf.blue.tls", "off")]);
    assert_eq!(read.routes[0].fault, None);
    assert_eq!(
        reasons(&read),
        ["route `blue` sets none of host, path, match and port"]
    );
}

#[test]
fn values_are_read_or_refused_with_a_reason() {
    for (label, value, part) in [
        ("wharf.port", "0", "1 to 65535"),
        ("wharf.port", "+80", "1 to 65535"),
        ("wharf.port", "99999", "1 to 65535"),
        ("wharf.port", "", "1 to 65535"),
        ("wharf.weight", "1001", "0 to 1000"),
        ("wharf.path", "=exact", "starts with `/`"),
        ("wharf.path", "~^/a(", "at character 5"),
        ("wharf.path", "/a%20b", "write the character"),
        ("wharf.priority", "first", "a number from"),
        ("wharf.headers.request", "", "an edit looks like"),
        ("wharf.headers.request", "X-App", "an edit looks like"),
        ("wharf.headers.request", "X App=1", "an edit looks like"),
        ("wharf.headers.request", "-X-App=1", "has no value"),
        (
            "wharf.headers.request",
            "Host=b.test",
            "is Wharf's to write",
        ),
        ("wharf.headers.request", "X=1, x=2", "said twice"),
        (
            "wharf.headers.response",
            "-Content-Length",
            "is Wharf's to write",
        ),
        ("wharf.headers.response", "X={hots}", "there is no {hots}"),
        ("wharf.headers.response", "X=ü", "may not stand in a field"),
        ("wharf.security", "hard", "it looks like on"),
        ("wharf.cors", "", "it looks like https://"),
        ("wharf.cors", "on", "begins with its scheme"),
        ("wharf.cors", "app.example.com", "begins with its scheme"),
        ("wharf.cors", "https://a.test/app", "has no path"),
        ("wharf.cors", "null", "anybody's"),
        ("wharf.cors", "*, https://a.test", "exclude each other"),
        (
            "wharf.cors",
            "https://a.test methods=GET, POST",
            "have no blanks",
        ),
        (
            "wharf.cors",
            "https://a.test max_age=soon",
            "a duration looks like",
        ),
        (
            "wharf.cors",
            "https://a.test age=1h",
            "there is no `age` here",
        ),
        ("wharf.cors", "* headers=X-A headers=X-B", "set twice"),
        ("wharf.cors.methods", "G T", "a list of methods"),
        ("wharf.cors.headers", "X-A, *", "a list of names"),
        ("wharf.path", "/a, /b", "one path"),
        ("wharf.tls", "dns", "not supported yet"),
        ("wharf.tls", "file:", "name of a certificate"),
        ("wharf.tls.min", "1.1", "TLS before 1.2"),
        ("wharf.tls.min", "2", "1.2 or 1.3"),
        ("wharf.tls.client_ca", "clients.pem", "looks like file:"),
        ("wharf.tls.client_ca", "optional", "looks like file:"),
        ("wharf.tls.client_ca", "file:../x.pem", "without `..`"),
        ("wharf.mtls", "file:a.pem file:b.pem", "looks like file:"),
        ("wharf.hsts", "max-age=off", "wharf.hsts: off"),
        ("wharf.hsts", "max-age=soon", "a duration looks like"),
        ("wharf.hsts", "forever", "it looks like on"),
        ("wharf.hsts", "subdomains subdomains", "set twice"),
        ("wharf.tls", "file:a b", "no name of a certificate"),
        ("wharf.tls", "on", "auto, eager, internal or off"),
        ("wharf.lb", "first", "not supported yet"),
        (
            "wharf.lb",
            "fair",
            "the value is round_robin, least_conn, random2, ip_hash or hash",
        ),
        ("wharf.lb", "hash", "a hash looks like"),
        ("wharf.lb", "hash header:", "a hash looks like"),
        ("wharf.lb", "hash header:a b", "a hash looks like"),
        ("wharf.lb", "hash cookie:a=b", "a hash looks like"),
        ("wharf.lb", "hash path:/x", "a hash looks like"),
        ("wharf.fail", "", "looks like 3/30s"),
        ("wharf.fail", "x/30s", "looks like 3/30s"),
        ("wharf.fail", "3/soon", "a duration looks like"),
        ("wharf.canary", "", "a condition looks like"),
        ("wharf.canary", "X-Canary", "a condition looks like"),
        ("wharf.canary", "header:X *", "a condition looks like"),
        ("wharf.canary", "header:X=~a(b", "at character 3"),
        ("wharf.match", "query:x", "a condition looks like"),
        ("wharf.match", "method:", "a condition looks like"),
        ("wharf.match", "method:GET POST", "a condition looks like"),
        ("wharf.match", "path:api", "a condition looks like"),
        ("wharf.match", "path:~^/a[", "at character 5"),
        ("wharf.match", "ip:10.0.0.0/33", "is unknown; expected"),
        ("wharf.match", "ip:privat", "did you mean private?"),
        ("wharf.sticky", "maybe", "a switch is"),
        ("wharf.sticky", "on cookie=a;b", "a cookie's name is"),
        ("wharf.sticky", "on path=/", "only cookie="),
        ("wharf.sticky.cookie", "", "a cookie's name is"),
        ("wharf.timeout", "", "looks like"),
        ("wharf.timeout", "5s read=6s", "set twice"),
        ("wharf.timeout", "3M", "ambiguous"),
        ("wharf.timeout.send", "soon", "a duration looks like"),
        ("wharf.retry", "", "a retry looks like"),
        ("wharf.retry", "two", "a retry looks like"),
        ("wharf.retry", "101", "at most 100"),
        ("wharf.retry", "2 tries=3", "there is no `tries` here"),
        ("wharf.retry", "2 3", "set twice"),
        ("wharf.retry", "2 on=", "name what is tried again"),
        (
            "wharf.retry",
            "2 on=error,501",
            "`501` is none of error, timeout",
        ),
        ("wharf.retry", "2 budget=20", "a share of requests"),
        ("wharf.retry.on", "always", "is none of error"),
        ("wharf.retry.budget", "101%", "a share of requests"),
        ("wharf.network", "a/b", "a name is"),
        ("wharf.strip", "perhaps", "a switch is"),
    ] {
        let read = read_pairs(&[("wharf.host", "a.test"), (label, value)]);
        let [problem] = read.problems.as_slice() else {
            panic!("{label}: {value}: {read:?}");
        };
        assert!(problem.reason.contains(part), "{label}: {problem}");
        assert_eq!(problem.severity, Severity::Error);
        assert!(read.routes[0].fault.is_some(), "{label}: {value}");
    }
}

#[test]
fn every_policy_reads_back_as_it_is_written() {
    for value in [
        "round_robin",
        "least_conn",
        "random2",
        "ip_hash",
        "hash header:x-user",
        "hash cookie:Session",
        "hash path",
    ] {
        let read = read_pairs(&[("wharf.host", "a.test"), ("wharf.lb", value)]);
        assert_eq!(reasons(&read), [] as [&str; 0], "{value}");
        assert_eq!(read.routes[0].settings.balance.to_string(), value);
    }
    let read = read_pairs(&[
        ("wharf.host", "a.test"),
        ("wharf.lb", "Hash  HEADER:X-User"),
    ]);
    let balance = &read.routes[0].settings.balance;
    assert_eq!(balance.to_string(), "hash header:x-user");
}

#[test]
fn a_cookie_is_named_in_either_spelling_and_switches_on() {
    let sticky = |pairs: &[(&str, &str)]| {
        let host = [("wharf.host", "a.test")];
        let read = read_pairs(&[&host[..], pairs].concat());
        assert_eq!(reasons(&read), [] as [&str; 0], "{pairs:?}");
        let route = read.routes.last().unwrap();
        let sticky = route.settings.sticky.clone();
        sticky.map(|sticky| sticky.cookie.unwrap_or_default())
    };
    for (pairs, expected) in [
        (&[][..], None),
        (&[("wharf.sticky", "")], Some("")),
        (&[("wharf.sticky", "on cookie=srv")], Some("srv")),
        (&[("wharf.sticky", "cookie=srv")], Some("srv")),
        (&[("wharf.sticky.cookie", "srv")], Some("srv")),
        (
            &[("wharf.sticky", "off"), ("wharf.sticky.cookie", "srv")],
            None,
        ),
        (
            &[("wharf.sticky", "on"), ("wharf.api.path", "/api")],
            Some(""),
        ),
        (
            &[
                ("wharf.sticky", "on"),
                ("wharf.api.path", "/api"),
                ("wharf.api.sticky", "off"),
            ],
            None,
        ),
    ] {
        assert_eq!(sticky(pairs).as_deref(), expected, "{pairs:?}");
    }
}

#[test]
fn retries_are_read_in_both_spellings() {
    let on = |words: &[&str]| {
        let flags = words.iter().map(|word| RetryOn::word(word).unwrap());
        flags.fold(RetryOn::NOTHING, RetryOn::and)
    };
    let default = Retry::default();
    for (labels, tries, flags, budget) in [
        (vec![("wharf.retry", "off")], Some(0), default.on, Some(20)),
        (vec![("wharf.retry", "3")], Some(3), default.on, Some(20)),
        (
            vec![("wharf.retry", "2 on=error,timeout,503 budget=5%")],
            Some(2),
            on(&["error", "timeout", "503"]),
            Some(5),
        ),
        (
            vec![("wharf.retry", "budget=off ON=http_502,Non-Idempotent")],
            None,
            on(&["502", "non_idempotent"]),
            None,
        ),
        (
            vec![
                ("wharf.retry", "1"),
                ("wharf.retry.on", "timeout, 429"),
                ("wharf.retry.budget", "0%"),
            ],
            Some(1),
            on(&["timeout", "429"]),
            Some(0),
        ),
    ] {
        let read = read_pairs(&[&[("wharf.host", "a.test")], &labels[..]].concat());
        assert_eq!(reasons(&read), [] as [&str; 0], "{labels:?}");
        let retry = read.routes[0].settings.retry;
        let wanted = Retry {
            tries,
            on: flags,
            budget,
        };
        assert_eq!(retry, wanted, "{labels:?}");
    }
}

#[test]
fn failures_are_counted_as_written() {
    for (value, count, seconds) in [
        ("3/30s", 3, 30),
        (" 2 / 1m", 2, 60),
        ("5", 5, 10),
        ("off", 0, 10),
        ("0", 0, 10),
        ("3/0", 0, 0),
    ] {
        let read = read_pairs(&[("wharf.host", "a.test"), ("wharf.fail", value)]);
        assert_eq!(reasons(&read), [] as [&str; 0], "{value}");
        let within = Duration::from_secs(seconds);
        assert_eq!(read.fail, FailLimit { count, within }, "{value}");
    }
}

#[test]
fn messages_are_harmless_to_a_terminal() {
    let read = read_pairs(&[("wharf.host", "a\u{1b}[2J.test"), ("wharf.path", "/\u{1b}")]);
    for problem in &read.problems {
        assert!(
            !problem.to_string().contains(char::is_control),
            "{problem:?}"
        );
    }
}

#[test]
fn sizes_are_bounded() {
    let many: BTreeMap<String, String> = (0..2000)
        .map(|n| (format!("wharf.r{n}.path"), format!("/{n}")))
        .chain([("wharf.host".to_owned(), "a.test".to_owned())])
        .collect();
    let read = read("web", &many, &LabelPrefix::default()).expect("these are Wharf's");
    assert_eq!(read.routes.len(), 65);
    assert!(read.routes.iter().all(|route| route.fault.is_some()));

    let hosts: Vec<String> = (0..150).map(|n| format!("h{n}.test")).collect();
    let read = read_pairs(&[("wharf.host", &hosts.join(","))]);
    assert_eq!(read.routes[0].hosts.len(), 100);
    assert_eq!(reasons(&read), ["a route has at most 100 hosts"]);
    assert!(read.problems[0].value.chars().count() <= 201);
}

#[test]
fn help_names_every_option() {
    let (help, page) = (render_help(), render_markdown());
    for entry in OPTIONS {
        assert!(
            help.contains(entry.name) && page.contains(entry.name),
            "{}",
            entry.name
        );
    }
    assert!(help.lines().all(|line| line.len() < 160));
}

/// `WHARF_BLESS=1` writes the page.
#[test]
fn the_label_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/labels.md");
    let page = render_markdown();
    if std::env::var_os("WHARF_BLESS").is_some() {
        std::fs::write(&path, &page).expect("a writable page");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "docs/labels.md is stale: WHARF_BLESS=1 writes it"
    );
}

/// Labels and examples that pages for people name.
#[test]
fn the_page_for_nginx_users_names_labels_that_exist_and_examples_that_parse() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/nginx.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut examples = 0;
    let mut parses = |written: &[(&str, &str)]| {
        let mut all = labels(written);
        let other = ["wharf.upstream.host", "wharf.health.host"];
        let mut hosts = all.keys().filter(|key| !other.contains(&key.as_str()));
        let has_host = hosts.any(|key| key.ends_with(".host"));
        if !has_host {
            all.insert("wharf.host".to_owned(), "a.test".to_owned());
        }
        let read = read("web", &all, &LabelPrefix::default()).unwrap();
        // A cell alone may be without effect.
        let mut problems = read.problems.iter();
        let error = problems.find(|problem| problem.severity == Severity::Error);
        assert_eq!(error, None, "{written:?}");
        examples += written.len();
    };
    for (index, part) in page.split("```").enumerate() {
        let (kind, block) = part.split_once('\n').unwrap_or_default();
        if index % 2 == 1 {
            let lines = block.lines().filter_map(|line| line.split_once(": "));
            let lines: Vec<_> = lines
                .map(|(key, value)| (key.trim(), value.trim_matches('"')))
                .collect();
            if kind == "yaml" {
                parses(&lines);
            }
            continue;
        }
        let spans = part.split('`').skip(1).step_by(2);
        for span in spans.filter(|span| span.starts_with("wharf.")) {
            match span.split_once(": ") {
                // A bar would end a cell.
                Some((key, value)) => parses(&[(key, &value.replace("\\|", "|"))]),
                None => {
                    let known = Entry::find(&span["wharf.".len()..]);
                    assert_eq!(
                        known.map(|entry| entry.status),
                        Some(Status::Supported),
                        "{span}"
                    );
                }
            }
        }
    }
    assert!(examples > 8);
}

/// Every time limit that a label sets is on the page, with its default; and what the page names exists.
#[test]
fn the_page_of_time_limits_has_all_of_them_with_their_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/timeouts.md");
    let page = std::fs::read_to_string(path).unwrap();
    let spans = page.split('`').skip(1).step_by(2);
    for span in spans.filter_map(|span| span.strip_prefix("wharf.")) {
        let name = span.split(':').next().unwrap_or(span);
        let known = Entry::find(name).map(|entry| entry.status);
        assert_eq!(known, Some(Status::Supported), "wharf.{name}");
    }
    let rows: Vec<Vec<&str>> = (page.lines())
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(rows.iter().all(|row| row.len() == 6), "{rows:?}");
    let row = |name: &str| {
        let own = format!("`wharf.{name}`");
        let row = rows.iter().find(|row| row[2].starts_with(&own));
        row.unwrap_or_else(|| panic!("no row of {name}"))
    };
    let mut limits = 0;
    for entry in OPTIONS
        .iter()
        .filter(|entry| entry.name.starts_with("timeout."))
    {
        // `2s` is written `2 s` there.
        let default = entry.default.trim_end_matches('s');
        let default = match default.parse::<u32>() {
            Ok(seconds) => format!("{seconds} s"),
            Err(_) => entry.default.to_owned(),
        };
        let cell = row(entry.name)[1];
        assert!(
            cell.contains(&default),
            "{}: {cell}, not {default}",
            entry.name
        );
        limits += 1;
    }
    assert_eq!(limits, 6);
    let timed = [
        ("keepalive", "60 s"),
        ("max_conns.wait", "2 s"),
        ("inflight.wait", "2 s"),
        ("auth.forward.timeout", "5 s"),
        ("hold", "10 s"),
        ("fail", "10 s"),
        ("health.timeout", "3 s"),
    ];
    for (name, default) in timed {
        assert!(row(name)[1].starts_with(default), "{name}");
        let told = Entry::find(name).unwrap().default;
        assert!(told.contains(&default.replace(' ', "")), "{name}: {told}");
    }
}

proptest! {
    #[test]
    fn arbitrary_labels_are_used_or_named(map in arbitrary::labels()) {
        let prefix = LabelPrefix::default();
        let values = Values::Read(BTreeMap::new());
        let terms = Terms { values: &values, ..Terms::from(&prefix) };
        let Some(read) = read("web", &map, terms) else {
            return Ok(());
        };
        let ours = map.keys().filter(|key| key::split(key, &LabelPrefix::default()).is_some());
        let drafts = read::read("web", &map, terms);
        let drafted = |label: &str| {
            let all = drafts.named.values().chain([&drafts.default]);
            all.flat_map(|draft| draft.values.values()).any(|given| given.label == label)
        };
        for label in ours {
            let shown = excerpt(label);
            let named = read.problems.iter().any(|p| p.label == shown || p.label.is_empty());
            prop_assert!(!read.enabled || named || drafted(label), "{} in {:?}", label, read);
        }
    }
}

#[test]
fn what_yaml_makes_of_an_unquoted_off_is_off() {
    for value in ["off", "False", "false"] {
        let labels = ["wharf.https", "wharf.timeout", "wharf.hold"].map(|key| (key, value));
        let labels = labels.into_iter().chain([("wharf.host", "a.test")]);
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let read = read("app", &labels.collect(), &LabelPrefix::default()).unwrap();
        assert!(read.problems.is_empty(), "{value}: {:?}", read.problems);
        let settings = &read.routes[0].settings;
        assert_eq!(settings.https, HttpsMode::Off);
        assert!(settings.hold.is_zero() && settings.timeouts.read.is_zero());
    }
}

#[test]
fn a_prefix_of_its_own_reads_its_own_labels_only() {
    let prefix = "edge".parse().unwrap();
    let written = [
        ("edge.host", "a.test"),
        ("Edge.Port", "80"),
        ("wharf.host", "b.test"),
        ("edge.hots", "c"),
    ];
    let read = read("web", &labels(&written), &prefix).unwrap();
    let hosts: Vec<_> = read.routes[0]
        .hosts
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        (hosts, read.dial.port),
        (vec!["a.test".to_owned()], Some(80))
    );
    let labels: Vec<_> = read.problems.iter().map(|p| &*p.label).collect();
    assert_eq!(labels, ["edge.hots"]);
    assert_eq!(super::read("web", &labels_of_wharf(), &prefix), None);
}

fn labels_of_wharf() -> BTreeMap<String, String> {
    labels(&[("wharf.host", "a.test"), ("wharf", "")])
}

#[test]
fn every_option_is_known_to_texts() {
    for top in Entry::tops() {
        assert!(
            crate::model::WORDS.contains(&top),
            "{top} is to be added to model::WORDS"
        );
    }
}

#[test]
fn a_preset_that_only_named_routes_inherit_is_told_of() {
    let read = read_pairs(&[("wharf.api.host", "a.test"), ("wharf.use", "hardend")]);
    assert!(read.routes[0].fault.is_some());
    assert_eq!(
        reasons(&read),
        ["there is no preset `hardend`; did you mean `hardened`?"]
    );
}

/// S68: a named route has what the default route says of compression, field by field, and `off` undoes it.
#[test]
fn s68_compression_is_inherited_field_by_field() {
    use crate::model::Coding::{Brotli, Gzip, Zstd};
    let read = read_pairs(&[
        ("wharf.host", "a.test"),
        ("wharf.compress", "zstd gzip=6 min=1k"),
        ("wharf.api.path", "/api"),
        ("wharf.api.compress.types", "application/json"),
        ("wharf.live.path", "/live"),
        ("wharf.live.compress", "on"),
        ("wharf.secret.path", "/secret"),
        ("wharf.secret.compress", "off"),
    ]);
    assert_eq!(reasons(&read), [] as [&str; 0]);
    let of = |at: usize| read.routes[at].settings.compress.clone();
    let base = of(0).unwrap();
    assert_eq!((&*base.codings, base.min), (&[Zstd, Gzip][..], 1024));
    assert_eq!((base.levels.zstd, base.levels.gzip), (3, 6));
    let api = of(1).unwrap();
    assert_eq!((&api.codings, api.min), (&base.codings, 1024));
    assert!(api.types.has(b"application/json") && !api.types.has(b"text/css"));
    let live = of(2).unwrap();
    assert_eq!(
        (&*live.codings, live.levels.gzip),
        (&[Zstd, Brotli, Gzip][..], 6)
    );
    assert_eq!(of(3), None);

    let idle = read_pairs(&[("wharf.host", "a.test"), ("wharf.compress.min", "1k")]);
    assert_eq!(reasons(&idle), ["without effect without wharf.compress"]);
    assert_eq!(idle.routes[0].settings.compress, None);
    let twice = read_pairs(&[
        ("wharf.host", "a.test"),
        ("wharf.compress", "gzip=6"),
        ("wharf.compress.level", "5"),
    ]);
    assert!(twice.routes[0].fault.is_some());
}
