use super::super::{Labels, OPTIONS, Terms, read};
use super::*;

const OWN: &[(&str, &str)] = &[
    ("wharf.preset.office.allow", "10.0.0.0/8"),
    (
        "wharf.preset.office.headers.response",
        "X-Office=1, X-Both=office",
    ),
    ("wharf.preset.office.hsts", "max-age=1d subdomains"),
    ("wharf.preset.slow.timeout", "connect=9s read=9s"),
    ("wharf.preset.slow.allow", "192.168.0.0/16"),
    ("wharf.preset.slow.max_conns", "7 queue=3"),
    ("wharf.preset.secure.proto", "https"),
];

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(label, value): &(&str, &str)| ((*label).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// What labels come to, with these of Wharf's own container and these defaults.
fn read_with(own: &[(&str, &str)], defaults: &[(&str, &str)], labels: &[(&str, &str)]) -> Labels {
    let prefix = LabelPrefix::default();
    let mut presets = Presets::default();
    let mut problems = Vec::new();
    presets.define_by_labels("wharf", &map(own), &prefix, &Values::Unread, &mut problems);
    let (defaults, _) = Defaults::read(defaults.iter().copied(), &Values::Unread).unwrap();
    let terms = Terms {
        presets: &presets,
        defaults: &defaults,
        ..Terms::from(&prefix)
    };
    read("web", &map(labels), terms).unwrap()
}

/// One setting of the default route as JSON.
fn setting(read: &Labels, route: usize, path: &str) -> String {
    let value = serde_json::to_value(&read.routes[route].settings).unwrap();
    let found = path
        .split('.')
        .try_fold(&value, |value, word| value.get(word));
    found.map_or_else(|| "null".to_owned(), ToString::to_string)
}

fn edits(read: &Labels, route: usize) -> String {
    setting(read, route, "response_edits")
}

#[test]
fn everything_built_in_is_understood() {
    for (name, _, options) in BUILT_IN_PRESETS {
        for (option, _) in *options {
            let entry = Entry::find(option).unwrap_or_else(|| panic!("{name}: {option}"));
            assert!(entry.is_common(), "{name}: {option}");
        }
        let preset = Presets::built_in().find(name).unwrap();
        assert!(
            preset.draft.errors.is_empty(),
            "{name}: {:?}",
            preset.draft.errors
        );
        let used = read_with(&[], &[], &[("wharf.host", "a.test"), ("wharf.use", name)]);
        assert_eq!(
            (used.problems, &used.routes[0].fault),
            (Vec::new(), &None),
            "{name}"
        );
    }
}

#[test]
fn labels_count_more_than_presets_the_right_one_more_than_the_left_one_and_defaults_least() {
    let host = ("wharf.host", "a.test");
    let defaults = [
        ("WHARF_DEFAULT_ALLOW", "172.16.0.0/12"),
        ("WHARF_DEFAULT_HOLD", "3s"),
    ];
    for (labels, allowed) in [
        (&[host][..], "172.16.0.0/12"),
        (&[host, ("wharf.use", "office")], "10.0.0.0/8"),
        (&[host, ("wharf.use", "office, slow")], "192.168.0.0/16"),
        (&[host, ("wharf.use", "slow, office")], "10.0.0.0/8"),
        (
            &[
                host,
                ("wharf.use", "slow, office"),
                ("wharf.allow", "203.0.113.1"),
            ],
            "203.0.113.1",
        ),
    ] {
        let read = read_with(OWN, &defaults, labels);
        assert_eq!(read.problems, [], "{labels:?}");
        let told = setting(&read, 0, "access.allow");
        assert!(told.contains(allowed), "{labels:?}: {told}");
        assert_eq!(setting(&read, 0, "hold"), "\"3s\"");
    }
}

#[test]
fn a_field_is_set_beside_those_of_a_preset_and_a_whole_value_in_their_place() {
    let host = ("wharf.host", "a.test");
    let used = ("wharf.use", "office, slow");
    let read = read_with(OWN, &[], &[host, used, ("wharf.timeout.read", "1s")]);
    assert_eq!(setting(&read, 0, "timeouts.connect"), "\"9s\"");
    assert_eq!(setting(&read, 0, "timeouts.read"), "\"1s\"");
    let read = read_with(OWN, &[], &[host, used, ("wharf.timeout", "read=1s")]);
    assert_eq!(setting(&read, 0, "timeouts.connect"), "\"2s\"");
    let read = read_with(OWN, &[], &[host, used, ("wharf.hsts", "max-age=2d")]);
    assert_eq!(setting(&read, 0, "hsts.subdomains"), "false");
    let read = read_with(OWN, &[], &[host, used, ("wharf.hsts.max_age", "2d")]);
    assert_eq!(setting(&read, 0, "hsts.subdomains"), "true");
    let read = read_with(OWN, &[], &[host, used, ("wharf.hsts", "off")]);
    assert_eq!(setting(&read, 0, "hsts"), "null");
    assert_eq!((read.max_conns.count, read.max_conns.queue), (7, 3));
}

#[test]
fn edits_add_up_over_all_layers() {
    let read = read_with(
        OWN,
        &[(
            "WHARF_DEFAULT_HEADERS_RESPONSE",
            "X-Default=1, X-Both=default",
        )],
        &[
            ("wharf.host", "a.test"),
            ("wharf.use", "office"),
            ("wharf.headers.response", "X-Own=1"),
            ("wharf.api.path", "/api"),
            ("wharf.api.headers.response", "X-Both=api"),
        ],
    );
    assert_eq!(
        edits(&read, 0),
        r#"["x-default=1","x-office=1","x-both=office","x-own=1"]"#
    );
    assert_eq!(
        edits(&read, 1),
        r#"["x-default=1","x-office=1","x-own=1","x-both=api"]"#
    );
}

#[test]
fn named_routes_use_what_the_default_route_uses_unless_they_say() {
    let allowed = |api: &[(&str, &str)]| {
        let mut labels = vec![
            ("wharf.host", "a.test"),
            ("wharf.use", "office"),
            ("wharf.api.path", "/api"),
        ];
        labels.extend(api);
        let read = read_with(OWN, &[("WHARF_DEFAULT_USE", "slow")], &labels);
        assert_eq!(read.problems, [], "{api:?}");
        (
            setting(&read, 1, "access.allow"),
            read.routes[1].own_upstream,
        )
    };
    assert!(allowed(&[]).0.contains("10.0.0.0/8"));
    assert!(
        allowed(&[("wharf.api.use", "slow")])
            .0
            .contains("192.168.0.0/16")
    );
    assert_eq!(
        allowed(&[("wharf.api.use", "off")]),
        ("null".to_owned(), false)
    );
    assert!(
        allowed(&[("wharf.api.use", "secure")]).1,
        "it is spoken to in another way"
    );
    // What is nearer counts more, also than a label of the default route.
    let read = read_with(
        OWN,
        &[],
        &[
            ("wharf.host", "a.test"),
            ("wharf.allow", "203.0.113.1"),
            ("wharf.api.path", "/api"),
            ("wharf.api.use", "office"),
        ],
    );
    assert!(setting(&read, 1, "access.allow").contains("10.0.0.0/8"));
    // And by default all use it.
    let read = read_with(
        OWN,
        &[("WHARF_DEFAULT_USE", "slow")],
        &[("wharf.host", "a.test")],
    );
    assert!(setting(&read, 0, "access.allow").contains("192.168.0.0/16"));
}

#[test]
fn a_preset_that_cannot_be_used_costs_the_routes_that_use_it() {
    let own = [
        OWN,
        &[
            ("wharf.preset.bad.alow", "10.0.0.0/8"),
            ("wharf.preset.half.allow", "10.0.0.0/99"),
        ],
    ]
    .concat();
    for (used, part) in [
        ("hardend", "did you mean `hardened`?"),
        ("nothing-like-it", "there are bad, grpc, half, hardened"),
        (
            "bad",
            "wharf.preset.bad.alow: there is no option `alow`; did you mean `allow`?",
        ),
        ("half", "wharf.preset.half.allow: "),
        ("a b", "is no name of a preset"),
    ] {
        let read = read_with(
            &own,
            &[],
            &[
                ("wharf.host", "a.test"),
                ("wharf.use", used),
                ("wharf.api.path", "/api"),
                ("wharf.free.path", "/free"),
                ("wharf.free.use", "office"),
            ],
        );
        let [problem] = &read.problems[..] else {
            panic!("{used}: {:?}", read.problems)
        };
        assert!(
            problem.label == "wharf.use" && problem.reason.contains(part),
            "{problem:?}"
        );
        let faults: Vec<bool> = read
            .routes
            .iter()
            .map(|route| route.fault.is_some())
            .collect();
        assert_eq!(faults, [true, true, false], "{used}");
    }
    // Where the option at fault is set by a label, nothing is missing.
    let read = read_with(
        &own,
        &[],
        &[
            ("wharf.host", "a.test"),
            ("wharf.use", "half"),
            ("wharf.allow", "10.0.0.1"),
        ],
    );
    assert_eq!(read.routes[0].fault, None);
}

#[test]
fn what_defines_a_preset_is_told_where_it_stands() {
    let told = |own: &[(&str, &str)]| {
        let mut presets = Presets::default();
        let mut problems = Vec::new();
        let prefix = LabelPrefix::default();
        presets.define_by_labels("wharf", &map(own), &prefix, &Values::Unread, &mut problems);
        problems
            .into_iter()
            .map(|p| (p.label, p.reason))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(OWN), []);
    for (label, value, part) in [
        ("wharf.preset.x.alow", "a", "did you mean `allow`?"),
        ("wharf.preset.x.allow", "a b/c", "`a` is unknown"),
        (
            "wharf.preset.x.host",
            "a.test",
            "`host` is for each container to say",
        ),
        (
            "wharf.preset.x.weight",
            "1",
            "`weight` is for each container to say",
        ),
        (
            "wharf.preset.x.use",
            "hardened",
            "`use` is for each container to say",
        ),
        ("wharf.preset.x.mirror", "on", "not supported yet"),
        ("wharf.preset.x", "on", "wharf.preset.<name>.<option>"),
        ("wharf.preset", "on", "wharf.preset.<name>.<option>"),
        ("wharf.preset.a!.allow", "on", "is no name of a preset"),
    ] {
        let told = told(&[(label, value)]);
        let [(at, reason)] = &told[..] else {
            panic!("{label}: {told:?}")
        };
        assert_eq!(at, label);
        assert!(reason.contains(part), "{label}: {reason}");
    }
    // A preset that is built in is another's to define; one of a file is not.
    let mut presets = Presets::default();
    let mut problems = Vec::new();
    let define = |label: &str| Definition {
        preset: "Internal".to_owned(),
        option: "allow".to_owned(),
        value: "10.0.0.0/8".to_owned(),
        label: label.to_owned(),
    };
    presets.define(
        "file:presets.yaml",
        &[define("presets.yaml:2:3: internal.allow")],
        &Values::Unread,
        &mut problems,
    );
    assert_eq!(problems, []);
    presets.define(
        "wharf",
        &[define("wharf.preset.internal.allow")],
        &Values::Unread,
        &mut problems,
    );
    assert!(
        problems[0]
            .reason
            .contains("also defined by `presets.yaml:2:3"),
        "{problems:?}"
    );
    assert!(!presets.find("internal").unwrap().draft.errors.is_empty());
}

#[test]
fn labels_of_others_define_nothing() {
    let labels = [
        ("wharf.host", "a.test"),
        ("wharf.preset.internal.allow", "0.0.0.0/0"),
    ];
    let read = read_with(&[], &[], &labels);
    assert!(
        read.problems[0].reason.contains("on Wharf's own container"),
        "{:?}",
        read.problems
    );
    assert_eq!(read.routes[0].fault, None);
    let prefix = LabelPrefix::default();
    let terms = Terms {
        is_wharf: true,
        ..Terms::from(&prefix)
    };
    let only = map(&labels[1..]);
    assert_eq!(super::super::read("wharf", &only, terms), None);
}

#[test]
fn defaults_are_looked_at_all_at_once() {
    let faults = Defaults::read(
        [
            ("WHARF_DEFAULT_ALOW", "private"),
            ("WHARF_DEFAULT_TIMEOUT_READ", "soon"),
            ("WHARF_DEFAULT_HSTS", "max-age=180d"),
            ("WHARF_DEFAULT_MIRROR", "on"),
            ("WHARF_DEFAULT_PATH", "/"),
            ("WHARF_DEFAULT_WEIGHT", "2"),
            ("WHARF_DEFAULT_QUUX", "2"),
        ],
        &Values::Unread,
    )
    .unwrap_err();
    let told: Vec<String> = { faults.iter() }
        .map(|fault| format!("{}: {}", fault.variable, fault.reason))
        .collect();
    for part in [
        "WHARF_DEFAULT_ALOW: there is no such option; did you mean WHARF_DEFAULT_ALLOW?",
        "WHARF_DEFAULT_TIMEOUT_READ: ",
        "WHARF_DEFAULT_MIRROR: not supported yet",
        "WHARF_DEFAULT_PATH: `path` is for each container to say",
        "WHARF_DEFAULT_WEIGHT: `weight` is for each container to say",
        "WHARF_DEFAULT_QUUX: there is no such option; `wharf labels` lists them",
    ] {
        assert!(
            told.iter().any(|line| line.starts_with(part)),
            "{part} in {told:?}"
        );
    }
    assert_eq!(told.len(), 6);
}

#[test]
fn every_option_with_a_default_has_a_variable_of_its_own() {
    let mut seen = std::collections::BTreeSet::new();
    for entry in OPTIONS.iter().filter(|entry| Defaults::takes(entry)) {
        assert!(seen.insert(in_capitals(entry.name)), "{}", entry.name);
        if entry.status == Status::Supported {
            let variable = format!("{}{}", Defaults::VARIABLE, in_capitals(entry.name));
            let read = Defaults::read([(&*variable, entry.example)], &Values::Unread);
            assert!(read.is_ok(), "{variable}: {read:?}");
        }
    }
}
