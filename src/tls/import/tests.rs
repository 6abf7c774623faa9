//! Files as the other proxies write them, made here with certificates of a CA made here.

use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P384_SHA384,
};
use serde_json::{Value, json};

use super::super::Kept;
use super::*;

/// A CA that is no test's.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// Chain and key, PEM.
struct Pair {
    chain: String,
    key: String,
}

impl Ca {
    fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// Valid for that many days from yesterday; with CRLF, as some Windows editors leave it.
    fn issue(&self, names: &[&str], days: u64) -> Pair {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let yesterday = SystemTime::now() - DAY;
        params.not_before = (yesterday - DAY * 90).into();
        params.not_after = (yesterday + DAY * u32::try_from(days).unwrap()).into();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            chain: leaf.pem() + "\n" + &self.pem,
            key: key.serialize_pem(),
        }
    }
}

fn encoded(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

/// `main`, other names, pair.
type Entry<'a> = (&'a str, &'a [&'a str], &'a Pair);

fn version_2(entries: &[Entry<'_>]) -> Value {
    let certificates = entries.iter().map(|(main, sans, pair)| {
        json!({
            "domain": { "main": main, "sans": sans },
            "certificate": encoded(&pair.chain),
            "key": encoded(&pair.key),
            "Store": "default",
        })
    });
    json!({
        "Account": { "Email": "a@b.org", "PrivateKey": "MIIJ", "KeyType": "4096" },
        "Certificates": certificates.collect::<Vec<_>>(),
    })
}

/// Imports `path`; what became of each name, and the store it went to.
fn imported(path: &Path) -> (Vec<(String, String)>, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let verdicts = imported_into(data.path(), path, false);
    (verdicts, data)
}

fn imported_into(data: &Path, path: &Path, dry: bool) -> Vec<(String, String)> {
    let kept = Kept::open(data).unwrap();
    let taken = kept.import(path, DIRECTORY, true, dry).unwrap();
    let verdicts = taken.into_iter().map(|one| {
        let verdict = match one.verdict {
            Verdict::Imported { .. } => "imported".to_owned(),
            Verdict::Known => "known".to_owned(),
            Verdict::Skipped(why) => why,
        };
        let name = if one.name.is_empty() {
            one.origin
        } else {
            one.name
        };
        (name, verdict)
    });
    let mut verdicts: Vec<_> = verdicts.collect();
    verdicts.sort();
    verdicts
}

fn hosts(data: &Path) -> Vec<String> {
    let listed = Kept::open(data).unwrap().list().unwrap();
    let sound = listed.iter().all(|one| one.fault.is_none());
    assert!(sound, "{listed:?}");
    listed.into_iter().map(|one| one.host).collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    list.iter().map(owned).collect()
}

#[test]
fn every_version_of_acme_json() {
    let ca = Ca::named("R11");
    let one = ca.issue(&["a.example.com", "www.a.example.com"], 60);
    let two = ca.issue(&["b.example.com"], 60);
    let entries: [Entry<'_>; 2] = [
        ("a.example.com", &["www.a.example.com"], &one),
        ("b.example.com", &[], &two),
    ];
    let one_resolver = version_2(&entries);
    // 1.7: the same members, at the top, in capitals.
    let first = |pair: &Pair, main| {
        json!({
            "Domain": { "Main": main, "SANs": null },
            "Certificate": encoded(&pair.chain), "Key": encoded(&pair.key),
        })
    };
    let version_1 = json!({
        "Account": { "Email": "a@b.org", "Registration": {} },
        "Certificates": [first(&one, "a.example.com"), first(&two, "b.example.com")],
        "HTTPChallenges": {}, "TLSChallenges": {},
    });
    let oldest = |pair: &Pair, main| {
        json!({
            "Domains": { "Main": main, "SANs": [] },
            "Certificate": {
                "Domain": main, "CertURL": "https://ca/1",
                "PrivateKey": encoded(&pair.key), "Certificate": encoded(&pair.chain),
            },
        })
    };
    let version_1_0 = json!({
        "Email": "a@b.org",
        "DomainsCertificate": {
            "Certs": [oldest(&one, "a.example.com"), oldest(&two, "b.example.com")],
        },
    });
    let two_resolvers = json!({
        "le": version_2(&entries[..1]),
        "dns": version_2(&entries[1..]),
        "unused": { "Account": null, "Certificates": null },
    });
    for json in [
        json!({ "le": one_resolver }),
        version_1,
        version_1_0,
        two_resolvers,
    ] {
        let (verdicts, data) = imported(file(&json.to_string()).path());
        let names = ["a.example.com", "b.example.com", "www.a.example.com"];
        assert_eq!(
            verdicts,
            pairs(&names.map(|name| (name, "imported"))),
            "{json}"
        );
        assert_eq!(hosts(data.path()), names);
        let exported = Kept::open(data.path()).unwrap().export("www.a.example.com");
        let exported = exported.unwrap().unwrap();
        assert!(exported.chain == one.chain && exported.key == one.key);
    }
}

#[test]
fn each_entry_that_is_of_no_use_is_named() {
    let (ca, staging) = (Ca::named("R11"), Ca::named("(STAGING) Counterfeit R10"));
    let good = ca.issue(&["good.example.com"], 60);
    let old = ca.issue(&["old.example.com"], 0);
    let test = staging.issue(&["test.example.com"], 60);
    let mixed = Pair {
        chain: ca.issue(&["mixed.example.com"], 60).chain,
        key: good.key.clone(),
    };
    let broken = Pair {
        chain: "no PEM".to_owned(),
        key: good.key.clone(),
    };
    let names = [
        "*.w.example.com",
        "w.example.com",
        "nas.local",
        "*.nas.local",
    ];
    let wild = ca.issue(&names, 60);
    let entries: [Entry<'_>; 6] = [
        ("good.example.com", &[], &good),
        ("old.example.com", &[], &old),
        ("test.example.com", &[], &test),
        ("mixed.example.com", &[], &mixed),
        ("broken.example.com", &[], &broken),
        ("*.w.example.com", &["w.example.com"], &wild),
    ];
    let mut json = version_2(&entries);
    let list = json["Certificates"].as_array_mut().unwrap();
    list.push(
        json!({ "domain": { "main": "keyless.example.com" }, "certificate": "QQ==", "key": "" }),
    );
    list.push(
        json!({ "domain": { "main": "odd.example.com" }, "certificate": "?", "key": "QQ==" }),
    );
    list.push(json!(7));
    let (verdicts, data) = imported(file(&json!({ "le": json }).to_string()).path());
    let told = |name: &str| {
        let mut found = verdicts.iter().filter(|(said, _)| said.starts_with(name));
        found
            .next()
            .unwrap_or_else(|| panic!("{name}: {verdicts:?}"))
            .1
            .as_str()
    };
    assert_eq!(told("good.example.com"), "imported");
    assert_eq!(told("w.example.com"), "imported");
    assert!(told("old.example.com").starts_with("it ended on "));
    assert!(told("test.example.com").starts_with("it is from a CA for tests"));
    assert!(
        told("mixed.example.com").contains("key"),
        "{}",
        told("mixed")
    );
    assert_eq!(told("broken.example.com"), "it holds no certificate");
    assert_eq!(told("*.w.example.com"), "imported");
    for local in ["nas.local", "*.nas.local"] {
        assert_eq!(told(local), "Wharf's own CA serves local names");
    }
    assert_eq!(told("keyless.example.com"), "its key is missing");
    assert_eq!(
        told("odd.example.com"),
        "its certificate is not base64 of PEM"
    );
    assert_eq!(told("an entry without name"), "its certificate is missing");
    assert_eq!(verdicts.len(), 12);
    let names = ["*.w.example.com", "good.example.com", "w.example.com"];
    assert_eq!(hosts(data.path()), names);
}

#[test]
fn a_file_that_is_no_acme_json_is_refused() {
    let kept = Kept::open(tempfile::tempdir().unwrap().path()).unwrap();
    for (text, why) in [
        ("", "it is empty"),
        ("{", "no JSON, line 1"),
        ("[]", "not an object"),
        ("{\"a\":{\"b\":1}}", "it has no certificates"),
    ] {
        let file = file(text);
        let error = kept
            .import(file.path(), DIRECTORY, true, false)
            .unwrap_err();
        assert!(error.to_string().ends_with(why), "{error}");
    }
    let missing = kept.import(Path::new("/nowhere"), DIRECTORY, true, false);
    assert!(matches!(missing, Err(ImportError::Read(..))));
}

/// As acme-companion leaves it, copied out of its volume: the links are absolute.
#[test]
fn a_directory_of_acme_companion() {
    let ca = Ca::named("E6");
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    let write = |name: &str, text: &str| {
        fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        fs::write(path(name), text).unwrap();
    };
    let companion = |folder: &str, pair: &Pair, names: &[&str], base: &str| {
        let (leaf, rest) = pair.chain.split_once("\n\n").unwrap();
        write(&format!("{folder}/cert.pem"), leaf);
        write(&format!("{folder}/chain.pem"), rest);
        write(&format!("{folder}/fullchain.pem"), &pair.chain);
        write(&format!("{folder}/key.pem"), &pair.key);
        for name in names {
            for (ending, file) in [("crt", "fullchain"), ("key", "key"), ("chain.pem", "chain")] {
                let target = format!("{base}{folder}/{file}.pem");
                symlink(target, path(&format!("{name}.{ending}"))).unwrap();
            }
            symlink(
                format!("{base}dhparam.pem"),
                path(&format!("{name}.dhparam.pem")),
            )
            .unwrap();
        }
    };
    let site = ca.issue(&["site.example.com", "www.site.example.com"], 60);
    companion(
        "site.example.com",
        &site,
        &["site.example.com", "www.site.example.com"],
        "./",
    );
    let moved = ca.issue(&["moved.example.com"], 60);
    companion(
        "moved.example.com",
        &moved,
        &["moved.example.com"],
        "/etc/nginx/certs/",
    );
    let test = ca.issue(&["t.example.com"], 60);
    companion(
        "_test_t.example.com",
        &test,
        &["t.example.com"],
        "/etc/nginx/certs/",
    );
    fs::remove_file(path("t.example.com.crt")).unwrap();
    write("dhparam.pem", "-----BEGIN DH PARAMETERS-----");
    write("accounts/acme/account.json", "{}");
    let plain = ca.issue(&["by-hand.example.com"], 60);
    write("by-hand.example.com.crt", &plain.chain);
    write("by-hand.example.com.key", &plain.key);
    write("lonely.crt", &plain.chain);
    symlink("./gone/fullchain.pem", path("gone.example.com.crt")).unwrap();
    let own = KeyPair::generate().unwrap();
    let own_signed = CertificateParams::new(vec!["letsencrypt-nginx-proxy-companion".to_owned()]);
    let own_signed = own_signed.unwrap().self_signed(&own).unwrap();
    write("default.crt", &own_signed.pem());
    write("default.key", &own.serialize_pem());

    let (verdicts, data) = imported(root.path());
    let expected = [
        ("_test_t.example.com", "certificates of a CA for tests"),
        ("by-hand.example.com", "imported"),
        ("default.crt", "it is self-signed"),
        ("gone.example.com.crt", "the link leads nowhere"),
        ("lonely.crt", "there is no lonely.key beside it"),
        ("moved.example.com", "imported"),
        ("site.example.com", "imported"),
        ("www.site.example.com", "imported"),
    ];
    assert_eq!(verdicts, pairs(&expected));
    assert_eq!(hosts(data.path()).len(), 4);
}

/// Trees of other programs, found by the same walk.
#[test]
fn directories_of_certbot_acme_sh_and_caddy() {
    let ca = Ca::named("E6");
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let issue = |name: &str| ca.issue(&[name], 60);
    let certbot = issue("certbot.example.com");
    write("live/certbot.example.com/fullchain.pem", &certbot.chain);
    write("live/certbot.example.com/privkey.pem", &certbot.key);
    let sh = issue("sh.example.com");
    write("sh.example.com_ecc/fullchain.cer", &sh.chain);
    write("sh.example.com_ecc/sh.example.com.cer", &sh.chain);
    write("sh.example.com_ecc/sh.example.com.key", &sh.key);
    let caddy = issue("caddy.example.com");
    let folder = "certificates/acme-v02.api.letsencrypt.org-directory/caddy.example.com";
    write(&format!("{folder}/caddy.example.com.crt"), &caddy.chain);
    write(&format!("{folder}/caddy.example.com.key"), &caddy.key);
    write(&format!("{folder}/caddy.example.com.json"), "{}");
    let parts = issue("parts.example.com");
    let (leaf, rest) = parts.chain.split_once("\n\n").unwrap();
    write("parts/cert.pem", leaf);
    write("parts/chain.pem", rest);
    write("parts/key.pem", &parts.key);
    let (verdicts, _data) = imported(root.path());
    let names = ["caddy", "certbot", "parts", "sh"];
    let names = names.map(|name| format!("{name}.example.com"));
    let names = names.each_ref().map(|name| (name.as_str(), "imported"));
    assert_eq!(verdicts, pairs(&names));
}

#[test]
fn the_later_certificate_stays() {
    let ca = Ca::named("R11");
    let data = tempfile::tempdir().unwrap();
    let take = |days, dry| {
        let pair = ca.issue(&["a.example.com"], days);
        let json = json!({ "le": version_2(&[("a.example.com", &[], &pair)]) });
        let verdicts = imported_into(data.path(), file(&json.to_string()).path(), dry);
        (verdicts[0].1.clone(), pair.chain)
    };
    let stored = || {
        let exported = Kept::open(data.path()).unwrap().export("a.example.com");
        exported.unwrap().map(|exported| exported.chain)
    };
    assert_eq!(take(30, true).0, "imported");
    assert_eq!(stored(), None, "nothing is written");
    let (first, chain) = take(30, false);
    assert_eq!(
        (first.as_str(), stored()),
        ("imported", Some(chain.clone()))
    );
    assert_eq!(take(20, false).0, "known");
    assert_eq!(stored(), Some(chain));
    let (later, chain) = take(40, false);
    assert_eq!((later.as_str(), stored()), ("imported", Some(chain)));
}

const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
