use proptest::prelude::*;

use super::*;

fn checked(text: &str) -> Checked {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("compose.yml");
    std::fs::write(&path, text).unwrap();
    let question = Question {
        projects: vec![Files {
            paths: vec![path],
            variables: variables("SET=set.test"),
        }],
        ..Question::default()
    };
    check(&question).unwrap()
}

/// Findings of one file: line, column, the words under the caret, and the reason.
fn findings(text: &str) -> Vec<(usize, usize, String, String)> {
    let all = checked(text).findings.into_iter().map(|one| {
        let under = one.source.chars().skip(one.column - 1).take(one.width);
        (one.line, one.column, under.collect(), one.reason)
    });
    all.collect()
}

#[test]
fn the_caret_stands_under_the_word_at_fault() {
    for (labels, line, under, part) in [
        ("wharf.hots: a.test", 5, "hots", "did you mean `host`?"),
        (
            "{wharf.host: a.test, wharf.cache.vaild: x}",
            5,
            "vaild",
            "did you mean `cache.valid`?",
        ),
        (
            "wharf.host: a.test, b_ c.test",
            5,
            "",
            "separate hosts by a comma",
        ),
        (
            "wharf.host: \"${SET}, https://b.test\"",
            5,
            "https://b.test",
            "without a scheme",
        ),
        (
            "wharf.host: a.test\n      wharf.port: http",
            6,
            "http",
            "a port is a number",
        ),
        (
            "wharf.host: a.test\n      wharf.breaker: errors=0.5 open=1s",
            6,
            "errors=0.5",
            "from 1% to 100%",
        ),
        (
            "wharf.host: a.test\n      wharf.path: /a$",
            6,
            "$",
            "write `$$`",
        ),
        (
            "wharf.host: a.test\n      wharf.api.stirp: on\n      wharf.api.path: /a",
            6,
            "stirp",
            "did you mean `strip`?",
        ),
        (
            "wharf.host: a.test\n      wharf.auth.basic: me:$apr1$salt$hash",
            6,
            "$apr1",
            "each `$` of it as `$$`",
        ),
        ("wharf.host: $UNSET", 5, "UNSET", "`UNSET` is not set here"),
        ("- wharf.host=\"a.test\"", 5, "\"a.test\"", "without quotes"),
        ("- wharf.hots=a.test", 5, "hots", "did you mean `host`?"),
        ("- 'wharf.hots=a.test'", 5, "hots", "did you mean `host`?"),
        (
            "- wharf.host: a.test",
            5,
            "wharf.host",
            "write - wharf.host=value",
        ),
        (
            "wharf.host: a.test\n      wharf.host: b.test",
            6,
            "wharf.host",
            "is written twice",
        ),
        (
            "wharf.host: a.test\n      wharf.slow_start: 1s\n      wharf.slow-start: 1s",
            6,
            "wharf.slow_start",
            "is also set by",
        ),
        (
            "wharf.host: |\n        a.test\n        b_ .test",
            7,
            "b_ .test",
            "separate hosts by a comma",
        ),
        (
            "wharf.host: [a.test]",
            5,
            "wharf.host",
            "the value of a label is a text",
        ),
    ] {
        let text = format!("services:\n  app:\n    image: x\n    labels:\n      {labels}\n");
        let found = findings(&text);
        let right = found.iter().any(|(at, _, words, reason)| {
            *at == line && (under.is_empty() || words == under) && reason.contains(part)
        });
        assert!(right, "{labels}: {found:?}");
    }
}

#[test]
fn labels_without_fault_find_none() {
    for text in [
        "services:\n  a:\n    image: x\n    labels:\n      wharf.host: $SET\n",
        "services:\n  a:\n    image: x\n    labels: ['wharf.host=${NONE:-a.test}', wharf.port=80]\n",
        "services:\n  a:\n    image: x\n    labels: {traefik.x: $UNSET, y: 'a$'}\n",
        "x: &x\n  labels: {wharf.host: a.test}\nservices:\n  a:\n    <<: *x\n    image: x\n",
        "services:\n  wharf: {image: wharf}\n  a:\n    labels: [wharf.host=a.test]\n    network_mode: service:b\n  b: {networks: [x]}\n",
        "services:\n  wharf: {image: wharf}\n  a:\n    labels: [wharf.host=a.test]\n    network_mode: host\n",
        "services: {}\n",
        "",
    ] {
        assert_eq!(findings(text), [], "{text}");
    }
}

#[test]
fn services_are_planned_together() {
    for (text, line, part) in [
        (
            "services:\n  a:\n    labels: [wharf.host=a.test]\n  b:\n    labels: [wharf.host=a.test]\n",
            5,
            "is already served by",
        ),
        (
            "services:\n  a:\n    labels: [wharf.host=a.test]\n    network_mode: none\n",
            4,
            "has no network",
        ),
        (
            "services:\n  a:\n    labels: [wharf.host=a.test, wharf.network=proxy]\n    networks: [other]\n",
            3,
            "is not on network `proxy`",
        ),
        (
            "services:\n  wharf:\n    image: example.org/wharf:1\n  a:\n    networks: [other]\n    labels: [wharf.host=a.test]\nnetworks: {other: {}}\n",
            5,
            "shares no network with Wharf",
        ),
        (
            "services:\n  a:\n    labels: [wharf.host=a.test]\n    expose: [80, 81]\n",
            4,
            "exposes several ports",
        ),
        (
            "services:\n  a:\n    labels: [wharf.host=a.test]\n    ports: ['8080:80']\n",
            4,
            "is also published on every address",
        ),
        (
            "services:\n  a:\n    deploy:\n      labels:\n        wharf.host: a.test\n",
            4,
            "labels under `deploy`",
        ),
        (
            "services:\n  a:\n    deploy:\n      labels:\n        wharf.hots: a.test\n",
            5,
            "did you mean `host`?",
        ),
    ] {
        let found = findings(text);
        let right = found
            .iter()
            .any(|(at, .., reason)| *at == line && reason.contains(part));
        assert!(right, "{text}: {found:?}");
    }
}

/// Findings of several files, each a project of its own: file, line, words under the caret, reason.
fn beside(files: &[(&str, &str)]) -> Vec<(String, usize, String, String, Severity)> {
    let folder = tempfile::tempdir().unwrap();
    let projects = files.iter().map(|(name, text)| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Files {
            paths: vec![path],
            variables: Variables::new(),
        }
    });
    let question = Question {
        projects: projects.collect(),
        ..Question::default()
    };
    let all = check(&question).unwrap().findings.into_iter().map(|one| {
        let under = one.source.chars().skip(one.column - 1).take(one.width);
        let file = one.file.rsplit('/').next().unwrap().to_owned();
        (file, one.line, under.collect(), one.reason, one.severity)
    });
    all.collect()
}

/// B81 and B82, before anything runs.
#[test]
fn files_of_wharf_are_looked_at_beside_compose_files() {
    let used = (
        "compose.yaml",
        "services:\n  a:\n    labels: {wharf.host: a.test, wharf.use: office}\n",
    );
    let wharf = |more: &str| format!("services:\n  wharf:\n    image: wharf\n    {more}\n");
    let good = [
        used,
        ("presets.yaml", "office: {allow: private}\n"),
        (
            "nas.yaml",
            "routes:\n  nas: {host: nas.test, upstream: \"http://10.0.0.9\"}\n",
        ),
    ];
    assert_eq!(beside(&good), []);
    let own = wharf("labels: {wharf.preset.office.allow: private}");
    assert_eq!(beside(&[used, ("wharf.yaml", &own)]), []);
    // Wharf's own labels may stand elsewhere.
    let told = beside(&[used]);
    assert!(
        told[0].3.starts_with("there is no preset `office`") && told[0].4 == Severity::Warning,
        "{told:?}"
    );
    let bare = wharf("ports: ['80:80']");
    let broken = wharf("labels: {wharf.preset.office.alow: private}");
    let default = wharf("environment: {WHARF_DEFAULT_ALOW: private}");
    for (file, text, at, under, part) in [
        (
            "wharf.yaml",
            &*bare,
            ("compose.yaml", 3),
            "office",
            "there is no preset `office`",
        ),
        (
            "wharf.yaml",
            &broken,
            ("wharf.yaml", 4),
            "alow",
            "did you mean `allow`?",
        ),
        (
            "wharf.yaml",
            &default,
            ("wharf.yaml", 4),
            "WHARF_DEFAULT_ALOW",
            "did you mean WHARF_DEFAULT_ALLOW?",
        ),
        (
            "presets.yaml",
            "office:\n  alow: private\n",
            ("presets.yaml", 2),
            "alow",
            "did you mean `allow`?",
        ),
        (
            "nas.yaml",
            "routes:\n  nas:\n    host: nas.test\n",
            ("nas.yaml", 2),
            "nas",
            "set wharf.upstream",
        ),
        (
            "nas.yaml",
            "routes:\n  nas:\n    hots: nas.test\n",
            ("nas.yaml", 3),
            "hots",
            "did you mean `host`?",
        ),
        (
            "nas.yaml",
            "routes:\n  nas: {host: a.test, upstream: \"http://10.0.0.9\"}\n",
            ("compose.yaml", 3),
            "a.test",
            "is already served by",
        ),
        (
            "nas.yaml",
            "routes: [nas]\n",
            ("nas.yaml", 1),
            "[nas]",
            "routes have names",
        ),
    ] {
        let told = beside(&[used, (file, text)]);
        let right = told.iter().any(|(file, line, words, reason, _)| {
            (&**file, *line) == at && words == under && reason.contains(part)
        });
        assert!(right, "{text}: {told:#?}");
    }
}

#[test]
fn a_file_that_is_no_yaml_is_a_finding() {
    let found = findings("services:\n  a: [\n");
    assert!(found[0].3.starts_with("no YAML"), "{found:?}");
}

#[test]
fn labels_of_others_are_nobody_s_business() {
    let text = "services:\n  a:\n    labels:\n      wharf.host: a.test\n      wharf.prot: 80\n      other.label: $UNSET\n";
    let told = checked(text);
    assert_eq!((told.errors(), told.findings.len()), (1, 1), "{told:?}");
}

#[test]
fn more_findings_than_anybody_reads_are_cut_and_errors_kept() {
    let mut text = "services:\n".to_owned();
    for n in 0..600 {
        text += &format!(
            "  s{n}:\n    labels: ['wharf.host=a{n}.test, a{n}.test', wharf.prot=1, wharf.tsl=off]\n"
        );
    }
    let told = checked(&text);
    assert_eq!(told.findings.len(), MAX_FINDINGS);
    assert_eq!(told.errors(), MAX_FINDINGS);
    let lines: Vec<usize> = told.findings.iter().map(|one| one.line).collect();
    assert!(lines.is_sorted());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "([a-c.:,&*!|>'\"#=~$<{}\\[\\]\\-\n\t ü\\\\]|wharf[.]|host: |port=|\n      ){0,40}") {
        let told = checked(&format!("services:\n  a:\n    labels:\n      {text}\n"));
        let text = render(&told, true);
        prop_assert!(text.contains("with labels in 1 file"));
    }
}
