use super::*;
use crate::model::{Matcher, Plan, RouteSpec, Settings, UpstreamKey, UpstreamSpec};
use crate::upstream::Secret;

fn route(key: &str, hosts: &[&str], path: &str) -> RouteSpec {
    RouteSpec {
        key: RouteKey(key.into()),
        hosts: hosts
            .iter()
            .map(|host| HostPattern::parse(host).unwrap())
            .collect(),
        path: PathPattern::parse(path).unwrap(),
        conditions: Vec::new(),
        upstream: UpstreamKey("u".into()),
        auth: None,
        error_servers: Vec::new(),
        settings: Settings::default(),
        container: key.into(),
        service: key.into(),
        version: None,
        owner: key.into(),
        share: None,
        fault: None,
    }
}

fn table(routes: Vec<RouteSpec>) -> RouteTable {
    let upstream = UpstreamSpec {
        key: UpstreamKey("u".into()),
        endpoints: Vec::new(),
        unreachable: Vec::new(),
        awaited: false,
    };
    compile(
        &Plan {
            routes,
            upstreams: vec![upstream],
            ..Plan::default()
        },
        &RouteTable::default(),
        &Secret::new(&[0; 32]),
        std::time::Instant::now(),
    )
}

fn found(table: &RouteTable, host: &str, path: &str) -> Result<String, Option<NoMatch>> {
    found_with(table, host, path, &[])
}

/// `met` are the conditions that the request meets.
fn found_with(
    table: &RouteTable,
    host: &str,
    path: &str,
    met: &[&str],
) -> Result<String, Option<NoMatch>> {
    let entry = table.find_host(host).ok_or(None)?;
    entry
        .find(path, |condition, _| met.contains(&&*condition.to_string()))
        .map(|route| route.key.to_string())
        .map_err(Some)
}

#[test]
fn the_most_specific_host_pattern_wins() {
    let table = table(vec![
        route("rest", &["default"], "/"),
        route("regex", &["~^shop"], "/"),
        route("longer", &[r"~^shop\d+\."], "/"),
        route("below", &["**.example.com"], "/"),
        route("deeper", &["**.b.example.com"], "/"),
        route("wild", &["*.example.com"], "/"),
        route("exact", &["a.example.com"], "/"),
    ]);
    for (host, key) in [
        ("a.example.com", "exact"),
        ("b.example.com", "wild"),
        ("shop1.example.com", "wild"),
        ("a.b.example.com", "deeper"),
        ("x.a.b.example.com", "deeper"),
        ("shop1.c.example.com", "below"),
        ("a.c.d.example.com", "below"),
        ("shop1.test", "longer"),
        ("shop.test", "regex"),
        ("example.com", "rest"),
        ("other.test", "rest"),
    ] {
        assert_eq!(found(&table, host, "/"), Ok(key.to_owned()), "{host}");
    }
}

#[test]
fn unknown_host_finds_nothing() {
    let table = table(vec![route("a", &["a.test"], "/")]);
    assert_eq!(found(&table, "b.test", "/"), Err(None));
}

#[test]
fn longest_segment_prefix_wins() {
    let table = table(vec![
        route("root", &["a.test"], "/"),
        route("api", &["a.test"], "/api"),
        route("v1", &["a.test"], "/api/v1"),
    ]);
    for (path, key) in [
        ("/", "root"),
        ("/apix", "root"),
        ("/api", "api"),
        ("/api/v1/x", "v1"),
        ("/api/v10", "api"),
    ] {
        assert_eq!(found(&table, "a.test", path), Ok(key.to_owned()), "{path}");
    }
}

#[test]
fn exact_paths_go_before_regexes_and_those_before_prefixes_unless_a_priority_says_otherwise() {
    let mut files = route("files", &["a.test"], "/files");
    files.settings.priority = 1;
    let table = table(vec![
        route("root", &["a.test"], "/"),
        route("php", &["a.test"], r"~\.php$"),
        route("v1", &["a.test"], r"~^/v\d+/x\.php$"),
        route("blog", &["a.test"], "/blog"),
        route("café", &["a.test"], "/café/a b"),
        route("info", &["a.test"], "=/blog/info.php"),
        files,
    ]);
    for (path, key) in [
        ("/", "root"),
        ("/blog/x", "blog"),
        ("/blog/x.php", "php"),
        ("/blog/x%2ephp", "php"),
        ("/blog/info.php", "info"),
        ("/blog/info.php/", "blog"),
        ("/v1/x.php", "v1"),
        ("/files/x.php", "files"),
        ("/caf%C3%A9/a%20b/c", "café"),
        ("/caf%C3%A9", "root"),
    ] {
        assert_eq!(found(&table, "a.test", path), Ok(key.to_owned()), "{path}");
    }
}

#[test]
fn the_most_conditions_that_are_met_win_among_routes_of_one_path() {
    let with = |key: &str, path: &str, names: &[&str]| {
        let mut route = route(key, &["a.test"], path);
        let header = |name: &&str| Matcher::Header((*name).to_owned(), None);
        route.conditions = names.iter().map(header).collect();
        route
    };
    let mut urgent = with("urgent", "/", &["d"]);
    urgent.settings.priority = 1;
    let table = table(vec![
        with("none", "/", &[]),
        with("a", "/", &["a"]),
        with("ab", "/", &["a", "b"]),
        with("c", "/", &["c"]),
        with("api", "/api", &["a"]),
        urgent,
    ]);
    for (path, met, key) in [
        ("/", &[][..], "none"),
        ("/", &["header:a"], "a"),
        ("/", &["header:b"], "none"),
        ("/", &["header:a", "header:b"], "ab"),
        ("/", &["header:a", "header:c"], "a"),
        ("/", &["header:a", "header:b", "header:d"], "urgent"),
        ("/api", &["header:a", "header:b"], "api"),
        ("/api", &["header:b"], "none"),
    ] {
        let found = found_with(&table, "a.test", path, met);
        assert_eq!(found, Ok(key.to_owned()), "{path} {met:?}");
    }
}

#[test]
fn regex_hosts_are_tried_by_priority_then_by_length() {
    let mut first = route("first", &["~x"], "/");
    first.settings.priority = 1;
    let table = table(vec![
        route("longer", &["~xy"], "/"),
        first,
        route("z", &["~xyz"], "/"),
    ]);
    assert_eq!(found(&table, "xyz.test", "/"), Ok("first".into()));
}

#[test]
fn a_path_that_decoding_moves_to_another_route_is_refused() {
    let table = table(vec![
        route("root", &["a.test"], "/"),
        route("admin", &["a.test"], "/admin"),
    ]);
    for path in ["/x/..%2fadmin", "/admin/../x", "//admin", "/x/%2e%2e/admin"] {
        assert_eq!(
            found(&table, "a.test", path),
            Err(Some(NoMatch::Ambiguous)),
            "{path}"
        );
    }
    assert_eq!(found(&table, "a.test", "/caf%C3%A9"), Ok("root".into()));
    assert_eq!(found(&table, "a.test", "/admin/a%2fb"), Ok("admin".into()));
    assert_eq!(found(&table, "a.test", "/%61dmin"), Ok("admin".into()));
}

#[test]
fn plain_http_only_routes_ask_for_no_certificate() {
    let mut plain = route("plain", &["a.test"], "/");
    plain.settings.tls = TlsMode::Off;
    let table = table(vec![plain]);
    let entry = table.find_host("a.test").unwrap();
    assert_eq!(entry.tls, TlsMode::Off);
    assert_eq!(entry.routes[0].https, HttpsMode::Off);
}
