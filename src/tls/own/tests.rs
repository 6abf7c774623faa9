use super::*;

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

struct Certificate {
    pem: String,
    key: KeyPair,
}

/// What signs others, and what it is signed by.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn params(names: &[&str], days: u64) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * u32::try_from(days).unwrap()).into();
    params
}

fn alone(names: &[&str], days: u64) -> Certificate {
    let key = KeyPair::generate().unwrap();
    let pem = params(names, days).self_signed(&key).unwrap().pem();
    Certificate { pem, key }
}

fn authority(name: &str, above: Option<&Authority>) -> Authority {
    let mut params = params(&[], 1000);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let pem = match above {
        Some(above) => params.signed_by(&key, &above.issuer).unwrap().pem(),
        None => params.self_signed(&key).unwrap().pem(),
    };
    let issuer = Issuer::new(params, key);
    Authority { pem, issuer }
}

fn signed(names: &[&str], by: &Authority) -> Certificate {
    let key = KeyPair::generate().unwrap();
    let pem = params(names, 90).signed_by(&key, &by.issuer).unwrap().pem();
    Certificate { pem, key }
}

/// A directory of certificates, and what Wharf makes of it.
struct Directory {
    files: tempfile::TempDir,
    parts: TlsParts,
    own: Own,
}

impl Directory {
    fn new() -> Self {
        Self {
            files: tempfile::tempdir().unwrap(),
            parts: TlsParts::new().unwrap(),
            own: Own::default(),
        }
    }

    fn write(&mut self, name: &str, text: &str) -> &mut Self {
        let path = self.files.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn pair(&mut self, name: &str, one: &Certificate) -> &mut Self {
        self.write(&format!("{name}.crt"), &one.pem);
        self.write(&format!("{name}.key"), &one.key.serialize_pem())
    }

    fn read(&mut self) -> &Own {
        self.own = Own::assemble(scan(self.files.path()), &self.parts, &self.own);
        &self.own
    }

    /// The file a pattern is served from, without its ending.
    fn file(&self, pattern: &str) -> Option<String> {
        let pattern = HostPattern::parse(pattern).unwrap();
        let found = self.own.find(&pattern, SystemTime::now())?;
        Some(short(&found.path, self.files.path()))
    }

    fn called(&self, name: &str) -> Result<String, Missing> {
        let found = self.own.called(name, self.files.path())?;
        Ok(short(&found.path, self.files.path()))
    }

    /// `name: reason` of each problem.
    fn problems(&self) -> Vec<String> {
        let problems = self.own.problems().iter();
        let told = problems.map(|one| {
            let name = one.path.strip_prefix(self.files.path()).unwrap();
            format!("{}: {}", name.display(), one.reason)
        });
        told.collect()
    }

    fn chain(&self, pattern: &str) -> usize {
        let pattern = HostPattern::parse(pattern).unwrap();
        let found = self.own.find(&pattern, SystemTime::now()).unwrap();
        found.served.certified().unwrap().cert.len()
    }
}

#[test]
fn pairs_are_found_by_their_keys_and_hosts_by_names() {
    let mut directory = Directory::new();
    let wildcard = alone(&["*.b.test", "10.0.0.1"], 90);
    let both = alone(&["both.test"], 90);
    directory
        .pair("a", &alone(&["A.test"], 90))
        .write("x/one.txt", &wildcard.pem)
        .write("x/two.txt", &wildcard.key.serialize_pem())
        .write("both.pem", &(both.key.serialize_pem() + &both.pem))
        .pair("exact", &alone(&["x.b.test"], 30))
        .pair("old", &alone(&["a.test"], 10))
        .write("README", "no PEM, and nobody said so")
        .write(
            "dhparam.pem",
            "-----BEGIN DH PARAMETERS-----\nMA==\n-----END DH PARAMETERS-----\n",
        )
        .write(".a.crt.swp", "an editor's")
        .read();
    assert_eq!(directory.problems(), [""; 0]);
    for (pattern, file) in [
        ("a.test", Some("a")),
        ("y.b.test", Some("x/one")),
        ("x.b.test", Some("exact")),
        ("*.b.test", Some("x/one")),
        ("10.0.0.1", Some("x/one")),
        ("both.test", Some("both")),
        ("b.test", None),
        ("x.y.b.test", None),
        ("default", None),
    ] {
        assert_eq!(directory.file(pattern).as_deref(), file, "{pattern}");
    }
    for (name, file) in [
        ("a", "a"),
        ("a.crt", "a"),
        ("a.key", "a"),
        ("old", "old"),
        ("x", "x/one"),
        ("x/two", "x/one"),
    ] {
        assert_eq!(directory.called(name).as_deref(), Ok(file), "{name}");
    }
    let missing = directory.called("nothing").unwrap_err().to_string();
    assert!(
        missing.ends_with("which has a, both, exact, old, x/one"),
        "{missing}"
    );
}

#[test]
fn what_cannot_be_used_is_named_and_costs_nothing_else() {
    let mut directory = Directory::new();
    let (one, other) = (alone(&["one.test"], 90), alone(&["other.test"], 90));
    let cut = &one.pem[..one.pem.len() / 2];
    let shuffled = one.pem.replacen("MII", "MIJ", 1);
    directory
        .pair("good", &alone(&["good.test"], 90))
        .write("cut.crt", cut)
        .write("damaged.crt", &shuffled)
        .write("mismatch.crt", &one.pem)
        .write("mismatch.key", &other.key.serialize_pem())
        .write("empty.pem", "")
        .write("text.crt", "hello")
        .write("der.cer", "0\u{1}\u{2}")
        .write(
            "locked.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
        )
        .write(
            "short.key",
            "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n",
        )
        .write("large.pem", &"x".repeat(2 << 20))
        .read();
    assert_eq!(directory.file("good.test").as_deref(), Some("good"));
    assert_eq!(directory.file("one.test"), None);
    assert_eq!(
        directory.problems(),
        [
            "cut.crt: its PEM is damaged",
            "damaged.crt: holds a certificate that cannot be read",
            "der.cer: is DER, not PEM; `openssl x509 -inform der` or `openssl pkey -inform der` converts it",
            "empty.pem: is empty",
            "large.pem: is larger than 1 MiB",
            "locked.key: its key is encrypted; write it without a passphrase",
            &format!(
                "mismatch.crt: there is no key for its certificate; {} is another one's",
                directory.files.path().join("mismatch.key").display()
            ),
            "mismatch.key: there is no certificate for its key",
            "short.key: its key is damaged, or of a kind Wharf cannot use",
            "text.crt: holds no PEM",
        ]
    );
    let missing = directory.called("locked").unwrap_err().to_string();
    assert!(missing.contains("encrypted"), "{missing}");
}

#[test]
fn chains_are_put_in_order_and_completed() {
    let mut directory = Directory::new();
    let root = authority("root", None);
    let upper = authority("upper", Some(&root));
    let lower = authority("lower", Some(&upper));
    let ordered = signed(&["ordered.test"], &lower);
    let mixed = signed(&["mixed.test"], &lower);
    let bare = signed(&["bare.test"], &upper);
    let stranger = authority("lower", Some(&upper));
    let wrong = signed(&["wrong.test"], &stranger);
    directory
        .pair("ordered", &ordered)
        .write(
            "ordered.crt",
            &format!("{}{}{}", ordered.pem, lower.pem, upper.pem),
        )
        .pair("mixed", &mixed)
        .write(
            "mixed.crt",
            &format!("{}{}{}{}", root.pem, upper.pem, mixed.pem, lower.pem),
        )
        .pair("bare", &bare)
        .write("wrong.key", &wrong.key.serialize_pem())
        .write("wrong.crt", &(wrong.pem + &lower.pem))
        .read();
    assert_eq!(directory.chain("ordered.test"), 3);
    assert_eq!(directory.chain("mixed.test"), 3, "the root stays out");
    assert_eq!(directory.chain("bare.test"), 2, "found in another file");
    assert_eq!(
        directory.problems(),
        ["wrong.crt: its chain does not hold: invalid peer certificate: BadSignature"]
    );
}

#[test]
fn the_one_that_lives_longest_is_used_and_an_ended_one_only_alone() {
    let mut directory = Directory::new();
    directory
        .pair("short", &alone(&["a.test"], 5))
        .pair("long", &alone(&["a.test", "*.test"], 50));
    let mut over = params(&["over.test", "a.test"], 1);
    over.not_before = (SystemTime::now() - DAY * 9).into();
    over.not_after = (SystemTime::now() - DAY).into();
    let key = KeyPair::generate().unwrap();
    let pem = over.self_signed(&key).unwrap().pem();
    directory.pair("over", &Certificate { pem, key }).read();
    assert_eq!(directory.file("a.test").as_deref(), Some("long"));
    assert_eq!(
        directory.file("over.test").as_deref(),
        Some("long"),
        "valid, if less exact"
    );
    let now = SystemTime::now();
    let told = |name: &str| {
        let found = directory.own.called(name, directory.files.path()).unwrap();
        found.expiry(now)
    };
    assert_eq!(told("long"), None);
    assert_eq!(
        told("short").unwrap(),
        "ends in 119 h, and only you can renew it"
    );
    assert_eq!(
        told("over").unwrap(),
        "has ended 24 h ago, and only you can renew it"
    );
}

/// A copy is not atomic: between the two files of a pair the old ones go on.
#[test]
fn half_of_a_new_pair_does_not_replace_the_old_one() {
    let mut directory = Directory::new();
    directory.pair("a", &alone(&["a.test"], 5)).read();
    let hash = |own: &Own| {
        let pattern = HostPattern::parse("a.test").unwrap();
        let found = own.find(&pattern, SystemTime::now());
        found.map(|one| one.served.hash)
    };
    let before = hash(&directory.own);
    let next = alone(&["a.test"], 90);
    directory.write("a.crt", &next.pem).read();
    assert_eq!(hash(&directory.own), before);
    assert_eq!(directory.problems().len(), 2, "{:?}", directory.problems());
    directory.write("a.key", "").read();
    assert_eq!(hash(&directory.own), before);
    directory.write("a.key", &next.key.serialize_pem()).read();
    assert_ne!(hash(&directory.own), before);
    assert_eq!(directory.problems(), [""; 0]);
    fs::remove_file(directory.files.path().join("a.crt")).unwrap();
    directory.read();
    assert_eq!(hash(&directory.own), None, "what is gone is gone");
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
