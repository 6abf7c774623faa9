//! Settings as written, and what they come to.

use super::*;
use crate::model::{AccessFormat, HiddenQuery};

/// One setting given, by the name of its field.
fn given(pairs: &[(&str, &str)]) -> Raw {
    let mut raw = Raw::default();
    for (name, value) in pairs {
        let field = match *name {
            "http" => &mut raw.http,
            "https" => &mut raw.https,
            "admin" => &mut raw.admin,
            "data" => &mut raw.data,
            "acme" => &mut raw.acme,
            "acme_eab" => &mut raw.acme_eab,
            "acme_profile" => &mut raw.acme_profile,
            "sockets" => &mut raw.sockets,
            "statics" => &mut raw.statics,
            "cache_dir" => &mut raw.cache_dir,
            "cache_size" => &mut raw.cache_size,
            "acme_root" => &mut raw.acme_root,
            "acme_email" => &mut raw.acme_email,
            "trusted_proxies" => &mut raw.trusted_proxies,
            "max_conns_per_ip" => &mut raw.max_conns_per_ip,
            "header_timeout" => &mut raw.header_timeout,
            "tls_hold" => &mut raw.tls_hold,
            "workers" => &mut raw.workers,
            "log" => &mut raw.log,
            "log_format" => &mut raw.log_format,
            "access_log" => &mut raw.access_log,
            "network" => &mut raw.network,
            "filter" => &mut raw.filter,
            "config" => &mut raw.config,
            "default_host" => &mut raw.default_host,
            "expose_all" => &mut raw.expose_all,
            "docker_host" => &mut raw.docker_host,
            other => panic!("no setting {other}"),
        };
        *field = Some((*value).to_owned());
    }
    raw
}

fn resolved(pairs: &[(&str, &str)]) -> Config {
    Config::resolve(&given(pairs)).unwrap_or_else(|faults| panic!("{pairs:?}: {faults:?}"))
}

fn faults(pairs: &[(&str, &str)]) -> Vec<String> {
    let faults = Config::resolve(&given(pairs)).expect_err("a fault");
    faults.iter().map(Fault::to_string).collect()
}

#[test]
fn defaults() {
    let config = resolved(&[]);
    assert_eq!(
        config,
        Config {
            http: Some("[::]:80".parse().unwrap()),
            https: Some("[::]:443".parse().unwrap()),
            admin: Some("127.0.0.1:9900".parse().unwrap()),
            data: "/data".into(),
            certs: "/certs".into(),
            errors: "/errors".into(),
            sockets: None,
            cache_dir: CacheDir::Data,
            cache_size: CacheSize {
                memory: 64 << 20,
                disk: 1 << 30,
            },
            statics: Some("/srv".into()).filter(|path: &PathBuf| path.is_dir()),
            buffer_dir: None,
            buffer_memory: 64 << 20,
            buffer_disk: 8 << 30,
            ca_names: Vec::new(),
            cas: vec![CaConfig {
                name: "letsencrypt".into(),
                directory: "https://acme-v02.api.letsencrypt.org/directory".into(),
                public: true,
                roots: Vec::new(),
                eab: None,
                profile: None,
                staging: Some("https://acme-staging-v02.api.letsencrypt.org/directory".into()),
                limits: Some(Limits::LETSENCRYPT),
            }],
            acme_email: None,
            dns: Vec::new(),
            dns_resolvers: Vec::new(),
            dns_wait: Duration::from_secs(120),
            trusted_proxies: TrustedProxies::default(),
            proxy_protocol_from: TrustedProxies::default(),
            max_conns_per_ip: None,
            header_timeout: Duration::from_secs(10),
            tls_hold: Duration::from_secs(10),
            workers: config.workers,
            log: "info".into(),
            log_format: LogFormat::Text,
            access_log: Some(AccessLogConfig {
                to: AccessLogTo::Stdout,
                format: AccessFormat::Text,
                hidden: HiddenQuery::None,
            }),
            network: None,
            filter: Vec::new(),
            label_prefix: LabelPrefix::default(),
            files: "/etc/wharf".into(),
            secrets: "/run/secrets".into(),
            kept: vec!["/data".into(), "/certs".into()],
            values: BTreeMap::new(),
            default_host: None,
            expose_all: false,
            docker_host: "unix:///var/run/docker.sock".into(),
            warnings: Vec::new(),
        }
    );
    assert!((1..=256).contains(&config.workers));
}

/// S40: a size alone is the disk's, as in `proxy_cache_path`.
#[test]
fn the_cache_has_a_place_and_bounds() {
    let size = |text| {
        let CacheSize { memory, disk } = resolved(&[("cache_size", text)]).cache_size;
        (memory >> 20, disk >> 20)
    };
    assert_eq!(size("10g"), (64, 10 << 10));
    assert_eq!(size("memory=256m disk=off"), (256, 0));
    for wrong in ["memory=1m", "ram=1g", "much"] {
        assert_eq!(faults(&[("cache_size", wrong)]).len(), 1, "{wrong}");
    }
    let place = |text| resolved(&[("cache_dir", text)]);
    assert_eq!(place("OFF").cache_dir, CacheDir::Off);
    let elsewhere = place("/cache");
    assert_eq!(elsewhere.cache_dir, CacheDir::At("/cache".into()));
    // No label reads what others were answered.
    assert!(elsewhere.kept.contains(&"/cache".into()));
}

#[test]
fn sockets_are_in_a_directory_of_their_own() {
    let directory = std::env::temp_dir();
    let text = directory.to_str().unwrap();
    assert_eq!(
        resolved(&[("sockets", text)]).sockets,
        Some(directory.clone())
    );
    let relative = resolved(&[("sockets", ".")]).sockets.unwrap();
    assert_eq!(relative, std::env::current_dir().unwrap());
    for (text, reason) in [
        ("/", "is the whole file system"),
        ("/nonexistent", "cannot be read"),
        ("/etc/passwd", "is no directory"),
    ] {
        let told = faults(&[("sockets", text)]);
        assert!(told[0].contains(reason), "{text}: {told:?}");
    }
}

/// S70: files are in a directory of their own.
#[test]
fn files_are_in_a_directory_of_their_own() {
    let directory = std::env::temp_dir();
    let found = resolved(&[("statics", directory.to_str().unwrap())]).statics;
    assert_eq!(found, Some(directory));
    for (text, reason) in [
        ("/", "is the whole file system"),
        ("/nonexistent", "cannot be read"),
        ("/etc/passwd", "is no directory"),
    ] {
        let told = faults(&[("statics", text)]);
        assert!(told[0].contains(reason), "{text}: {told:?}");
    }
}

#[test]
fn empty_is_not_given() {
    assert_eq!(
        resolved(&[("acme_email", ""), ("http", " ")]),
        resolved(&[])
    );
}

#[test]
fn every_fault_is_told_at_once_with_both_names() {
    assert_eq!(
        faults(&[
            ("http", "eighty"),
            ("https", "[::]:99999"),
            ("acme", "http://ca.internal/directory"),
            ("acme_root", "/nonexistent/root.pem"),
            ("acme_email", "admin"),
            ("trusted_proxies", "10.0.0.0/8, privat"),
            ("max_conns_per_ip", "some"),
            ("header_timeout", "0"),
            ("tls_hold", "30s"),
            ("workers", "0"),
            ("log", "inof"),
            ("log_format", "xml"),
            ("access_log", "maybe"),
            ("network", "a b"),
            ("filter", "label=a, name=b"),
            ("config", "/nonexistent/wharf"),
            ("default_host", "{servcie}.test"),
            ("docker_host", "ssh://host"),
        ]),
        [
            "--http (WHARF_HTTP): `eighty`: expected ADDRESS:PORT such as 0.0.0.0:8080 or \
             [::]:8080, a port alone, or off",
            "--https (WHARF_HTTPS): `[::]:99999`: expected ADDRESS:PORT such as 0.0.0.0:8080 or \
             [::]:8080, a port alone, or off",
            "--acme-root (WHARF_ACME_ROOT): `/nonexistent/root.pem`: cannot be read: No such file \
             or directory (os error 2)",
            "--acme (WHARF_ACME): `http://ca.internal/directory`: an ACME server must be reached \
             by https:// (RFC 8555 section 6.1)",
            "--acme-email (WHARF_ACME_EMAIL): `admin`: expected one address such as \
             admin@your-domain.org",
            "--trusted-proxies (WHARF_TRUSTED_PROXIES): `10.0.0.0/8, privat`: `privat` is \
             unknown; did you mean private?",
            "--max-conns-per-ip (WHARF_MAX_CONNS_PER_IP): `some`: expected a number of connections, or off",
            "--header-timeout (WHARF_HEADER_TIMEOUT): `0`: expected 1s to 10m",
            "--tls-hold (WHARF_TLS_HOLD): `30s`: expected 1s to 25s",
            "--workers (WHARF_WORKERS): `0`: expected a number from 1 to 256",
            "--log (WHARF_LOG): `inof`: `inof` is no level; expected off, error, warn, info, \
             debug, trace, or target=level items separated by commas",
            "--log-format (WHARF_LOG_FORMAT): `xml`: expected text, json or combined",
            "--access-log (WHARF_ACCESS_LOG): `maybe`: expected on, off or the absolute path of \
             a file",
            "--network (WHARF_NETWORK): `a b`: expected the name of one Docker network: letters, \
             digits, `_`, `.`, `-`",
            "--filter (WHARF_FILTER): `label=a, name=b`: expected label=KEY or label=KEY=VALUE",
            "--config (WHARF_CONFIG): `/nonexistent/wharf`: cannot be read: No such file or directory \
             (os error 2)",
            "--default-host (WHARF_DEFAULT_HOST): `{servcie}.test`: there is no {servcie}; there are \
             {service} {project} {name}",
            "--docker-host (DOCKER_HOST): `ssh://host`: ssh:// is not supported yet; expected \
             unix:///path, tcp://host:port or http://host:port",
        ]
    );
}

#[test]
fn a_fault_stays_on_one_line_and_short() {
    let long = format!("a\nb\u{1b}[31m{}", "x".repeat(5000));
    let fault = faults(&[("http", &long)]).remove(0);
    assert!(fault.contains(r"`a\nb\u{1b}[31mxxx"), "{fault}");
    assert!(fault.len() < 400 && !fault.contains('\n'), "{fault}");
}

#[test]
fn listeners() {
    for (text, address) in [
        ("off", None),
        ("OFF", None),
        ("8080", Some("[::]:8080")),
        (":8080", Some("[::]:8080")),
        ("0.0.0.0:8080", Some("0.0.0.0:8080")),
        ("[::1]:8080", Some("[::1]:8080")),
        ("localhost:0", Some("127.0.0.1:0")),
    ] {
        let wanted = address.map(|a| a.parse().unwrap());
        assert_eq!(resolved(&[("http", text)]).http, wanted, "{text}");
    }
    let admin = resolved(&[("admin", "9000")]).admin;
    assert_eq!(admin, Some("127.0.0.1:9000".parse().unwrap()));
    for text in [
        "80a",
        "example.com:80",
        "::1:80",
        "0.0.0.0",
        "1.2.3.4:",
        "-1",
    ] {
        assert_eq!(faults(&[("http", text)]).len(), 1, "{text}");
    }
}

#[test]
fn listeners_may_not_stand_in_each_others_way() {
    for (pairs, count) in [
        (&[("http", "443")][..], 1),
        (&[("http", "8000"), ("https", "0.0.0.0:8000")], 1),
        (&[("admin", "127.0.0.1:80")], 1),
        (
            &[("http", "127.0.0.1:8000"), ("https", "127.0.0.2:8000")],
            0,
        ),
        (&[("http", "127.0.0.1:0"), ("https", "127.0.0.1:0")], 0),
        (&[("http", "off"), ("https", "off")], 1),
        (&[("http", "off"), ("https", "80")], 0),
    ] {
        let found = Config::resolve(&given(pairs)).err().map_or(0, |f| f.len());
        assert_eq!(found, count, "{pairs:?}");
    }
    assert_eq!(
        faults(&[("http", "443")]),
        ["--http (WHARF_HTTP): `[::]:443`: --https (WHARF_HTTPS) already listens on [::]:443"]
    );
}

#[test]
fn an_open_admin_listener_is_warned_about() {
    assert_eq!(resolved(&[("admin", ":9900")]).warnings.len(), 1);
    assert_eq!(resolved(&[("admin", "[::1]:9900")]).warnings.len(), 0);
}

#[test]
fn certificate_authorities() {
    for (text, directory, public) in [
        (
            "LetsEncrypt",
            "https://acme-v02.api.letsencrypt.org/directory",
            true,
        ),
        (
            "letsencrypt-staging",
            "https://acme-staging-v02.api.letsencrypt.org/directory",
            true,
        ),
        ("https://acme.ca.org/dir", "https://acme.ca.org/dir", true),
        (
            "https://pebble:14000/dir",
            "https://pebble:14000/dir",
            false,
        ),
        (
            "https://ca.internal/acme",
            "https://ca.internal/acme",
            false,
        ),
        ("https://[::1]:14000/dir", "https://[::1]:14000/dir", false),
    ] {
        let ca = resolved(&[("acme", text)]).cas.remove(0);
        assert_eq!((ca.directory.as_str(), ca.public), (directory, public));
    }
    for text in [
        "letsencryp",
        "ca.org",
        "https://",
        "https://a:b@ca.org/",
        "ftp://ca.org",
        "https://a b/",
    ] {
        assert_eq!(faults(&[("acme", text)]).len(), 1, "{text}");
    }
}

#[test]
fn an_own_root_is_read_and_makes_the_authority_private() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("root.pem");
    let path = path.to_str().unwrap();
    for (content, reason) in [
        ("", "holds no certificate"),
        ("not pem", "holds no certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "holds a certificate that is no root",
        ),
    ] {
        std::fs::write(path, content).unwrap();
        let fault = faults(&[("acme_root", path)]).remove(0);
        assert!(fault.contains(reason), "{content}: {fault}");
    }

    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    let root = params.self_signed(&key).unwrap();
    std::fs::write(path, root.pem()).unwrap();
    let written = [
        ("acme", "https://ca.org/dir, letsencrypt"),
        ("acme_root", path),
    ];
    let cas = resolved(&written).cas;
    assert_eq!(cas[0].roots, [root.der().clone()]);
    assert!(!cas[0].public);
    // Whose root the world knows already.
    assert!(cas[1].public && cas[1].roots.is_empty());
}

#[test]
fn profiles_limits_and_rehearsals() {
    let cas = resolved(&[
        (
            "acme",
            "letsencrypt-staging, https://acme-v02.api.letsencrypt.org/directory",
        ),
        ("acme_profile", "shortlived"),
    ])
    .cas;
    assert!(
        cas.iter()
            .all(|ca| ca.profile.as_deref() == Some("shortlived"))
    );
    assert_eq!((cas[0].limits, cas[0].staging.is_some()), (None, false));
    let limits = Some(Limits::LETSENCRYPT);
    assert_eq!((cas[1].limits, cas[1].staging.is_some()), (limits, true));
    assert_eq!(faults(&[("acme_profile", "short lived")]).len(), 1);
}

#[test]
fn authorities_in_a_row_and_their_account_bindings() {
    let email = ("acme_email", "me@shop.org");
    let cas = resolved(&[("acme", "letsencrypt, ZeroSSL"), email]).cas;
    assert_eq!(
        (cas[0].eab.is_none(), cas[1].name.as_str()),
        (true, "zerossl")
    );
    assert!(matches!(&cas[1].eab, Some(Eab::ByEmail { url }) if url.contains("zerossl.com")));

    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("key");
    std::fs::write(&path, "c2VjcmV0LWtleQ==\n").unwrap();
    let by_file = format!("google=kid-2:file:{}", path.display());
    let given = |kid: &str| {
        let (kid, key) = (kid.to_owned(), b"secret-key".to_vec());
        Some(Eab::Key { kid, key })
    };
    let both = format!("zerossl=kid-1:c2VjcmV0LWtleQ, {by_file}");
    let cas = resolved(&[("acme", "zerossl, google"), ("acme_eab", &both)]).cas;
    assert_eq!(
        (&cas[0].eab, &cas[1].eab),
        (&given("kid-1"), &given("kid-2"))
    );
    let cas = resolved(&[
        ("acme", "letsencrypt,https://ca.org/dir"),
        ("acme_eab", "kid:c2VjcmV0LWtleQ=="),
    ])
    .cas;
    assert_eq!((&cas[0].eab, &cas[1].eab), (&None, &given("kid")));
    assert!(!format!("{:?}", cas[1]).contains("secret"));

    for (acme, eab, reason) in [
        ("zerossl", "", "WHARF_ACME_EMAIL, or WHARF_ACME_EAB"),
        ("google", "", "google needs WHARF_ACME_EAB"),
        ("letsencrypt, letsencrypt", "", "stands here twice"),
        ("letsencrypt,", "", "expected letsencrypt"),
        ("zerossl", "c2VjcmV0LWtleQ", "expected KID:KEY"),
        ("zerossl", "kid:c2VjcmV0 LWtleQ", "no base64url"),
        ("zerossl", "kid:file:/nonexistent", "cannot be read"),
        (
            "zerossl",
            "kid:env:NO_SUCH_VARIABLE",
            "no variable NO_SUCH_VARIABLE",
        ),
        ("letsencrypt", "kid:c2VjcmV0LWtleQ", "say which authority"),
        (
            "zerossl",
            "google=kid:c2VjcmV0LWtleQ",
            "no authority of WHARF_ACME",
        ),
    ] {
        let all = faults(&[("acme", acme), ("acme_eab", eab)]);
        assert!(all[0].contains(reason), "{acme} {eab}: {all:?}");
        assert!(!all[0].contains("c2Vj"), "{all:?}");
    }
}

#[test]
fn contacts() {
    let config = resolved(&[("acme_email", "mailto:me@shop.org")]);
    assert_eq!(config.acme_email.as_deref(), Some("me@shop.org"));
    assert_eq!(
        resolved(&[("acme_email", "me@example.com")]).warnings.len(),
        1
    );
    for text in [
        "me",
        "@shop.org",
        "me@shop",
        "a@shop.org,b@shop.org",
        "me@@shop.org",
        "Me <me@shop.org>",
    ] {
        assert_eq!(faults(&[("acme_email", text)]).len(), 1, "{text}");
    }
}

#[test]
fn other_values() {
    let config = resolved(&[
        ("max_conns_per_ip", "200"),
        ("header_timeout", "1m"),
        ("tls_hold", "25"),
        ("workers", "256"),
        ("log", "info,wharf::tls=DEBUG"),
        ("log_format", "JSON"),
        ("access_log", "off"),
        ("network", "edge_1.x"),
        ("filter", "label=env=prod, label=team"),
        ("docker_host", "tcp://10.0.0.1:2375"),
        ("data", "/var/lib/wharf"),
        ("trusted_proxies", "loopback"),
    ]);
    assert_eq!(config.max_conns_per_ip.map(u32::from), Some(200));
    assert_eq!(config.header_timeout, Duration::from_secs(60));
    assert_eq!(config.tls_hold, Duration::from_secs(25));
    assert_eq!(config.workers, 256);
    assert_eq!(config.log, "info,wharf::tls=DEBUG");
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.access_log, None);
    assert_eq!(config.network.as_deref(), Some("edge_1.x"));
    let value = Some("prod".to_owned());
    assert_eq!(
        config.filter,
        [("env".to_owned(), value), ("team".to_owned(), None)]
    );
    assert_eq!(config.docker_host, "tcp://10.0.0.1:2375");
    assert_eq!(config.data, PathBuf::from("/var/lib/wharf"));
    assert!(!config.trusted_proxies.is_empty());
}

#[test]
fn engine_addresses() {
    for text in [
        "unix:///run/user/1000/docker.sock",
        "http://proxy:2375",
        "tcp://[::1]:2375/",
    ] {
        assert_eq!(resolved(&[("docker_host", text)]).docker_host, text);
    }
    for text in [
        "unix://docker.sock",
        "/var/run/docker.sock",
        "tcp://host",
        "tcp://host:x",
        "tcp://:2375",
        "https://h:2376",
        "tcp://h:1/x",
    ] {
        assert_eq!(faults(&[("docker_host", text)]).len(), 1, "{text}");
    }
}
