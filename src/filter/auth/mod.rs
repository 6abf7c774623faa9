//! Name and password (RFC 7617), against hashes that take their time.
//!
//! A password that was right is remembered for a while by a keyed hash, so that a page with a hundred pictures costs
//! one verification. Verifications run beside the workers, few at once; those that would wait too long are
//! refused.

mod hash;

use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand::SystemRandom;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Semaphore;

use crate::model::{BasicSpec, User, UserSource};

/// A route's question for name and password.
#[derive(Debug)]
pub struct Basic {
    pub realm: Box<str>,
    pub strip: bool,
    pub user_header: Option<Box<str>>,
    users: Arc<Users>,
}

/// What a client gave.
#[derive(Debug)]
pub struct Given {
    pub name: String,
    /// `name:password`.
    pair: Vec<u8>,
    /// `None` where nothing can be remembered.
    tag: Option<Tag>,
}

/// What is known without taking time.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Who it is.
    Known(String),
    /// To be verified.
    Ask,
    /// No name and password that could be right.
    No,
}

/// Why nobody can be verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The file cannot be used.
    Fault(Arc<str>),
    /// Too many are being verified.
    Busy,
}

/// Names and hashes, and who has shown to be one of them.
#[derive(Debug)]
struct Users {
    source: UserSource,
    list: ArcSwap<List>,
    since: Instant,
    /// When the file was looked at last, in milliseconds from `since`.
    looked: AtomicU64,
    right: ArcSwap<Vec<(Tag, Instant)>>,
}

#[derive(Debug)]
struct List {
    users: Result<Vec<User>, Arc<str>>,
    /// The file's time and length.
    stamp: Option<(SystemTime, u64)>,
}

type Tag = [u8; 32];

impl Basic {
    /// With what `before` knows, if it has the same users. Reads the file: not for workers.
    pub fn compile(spec: &BasicSpec, before: Option<&Self>) -> Self {
        let same = before.filter(|before| before.users.source == spec.users);
        Self {
            realm: spec.realm.as_str().into(),
            strip: spec.strip,
            user_header: spec.user_header.as_deref().map(Into::into),
            users: same.map_or_else(
                || Arc::new(Users::new(&spec.users)),
                |before| Arc::clone(&before.users),
            ),
        }
    }

    /// Reads an `Authorization` field.
    pub fn read(field: &[u8]) -> Option<Given> {
        if field.len() > LONGEST_FIELD {
            return None;
        }
        let (scheme, encoded) = field.split_at_checked("basic ".len())?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let pair = STANDARD.decode(encoded.trim_ascii()).ok()?;
        let colon = memchr::memchr(b':', &pair)?;
        let name = std::str::from_utf8(&pair[..colon]).ok()?.to_owned();
        let tag = KEY.as_ref().map(|key| hmac::sign(key, &pair));
        let tag = tag.and_then(|tag| tag.as_ref().try_into().ok());
        Some(Given { name, pair, tag })
    }

    /// Whether it was right a while ago.
    pub fn known(&self, given: Option<&Given>, now: Instant) -> Verdict {
        self.users.look(now);
        let Some(given) = given else {
            return Verdict::No;
        };
        let right = self.users.right.load();
        let known = right
            .iter()
            .any(|(tag, until)| Some(*tag) == given.tag && now < *until);
        match known {
            true => Verdict::Known(given.name.clone()),
            false => Verdict::Ask,
        }
    }

    /// Verifies, beside the workers.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub async fn verify(&self, given: Given) -> Result<Option<String>, Trouble> {
        if let Err(fault) = &self.users.list.load().users {
            return Err(Trouble::Fault(Arc::clone(fault)));
        }
        let place = tokio::time::timeout(LONGEST_WAIT, VERIFIERS.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(Trouble::Busy);
        };
        let users = Arc::clone(&self.users);
        let verified =
            tokio::task::spawn_blocking(move || users.verify(&given).then_some(given.name));
        Ok(verified.await.ok().flatten())
    }
}

impl Users {
    fn new(source: &UserSource) -> Self {
        let list = List::of(source);
        if let Err(fault) = &list.users {
            tracing::warn!("{fault}");
        }
        Self {
            source: source.clone(),
            list: ArcSwap::from_pointee(list),
            since: Instant::now(),
            looked: AtomicU64::new(0),
            right: ArcSwap::default(),
        }
    }

    /// Takes over a file that has changed; looks once a second. What it held before counts on where it
    /// cannot be used.
    fn look(&self, now: Instant) {
        let UserSource::File(path) = &self.source else {
            return;
        };
        let at = now.saturating_duration_since(self.since).as_millis() as u64;
        let last = self.looked.load(Ordering::Relaxed);
        let due = at.saturating_sub(last) >= LOOK.as_millis() as u64;
        let mine = due
            && self
                .looked
                .compare_exchange(last, at, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if !mine || stamp(path).ok() == self.list.load().stamp {
            return;
        }
        let list = List::of(&self.source);
        match &list.users {
            Ok(users) => {
                tracing::info!(file = path, users = users.len(), "users were read again");
                self.list.store(Arc::new(list));
                self.right.store(Arc::default());
            }
            Err(fault) if self.list.load().users.is_ok() => {
                tracing::warn!("{fault}; what it held before counts");
                let users = self.list.load().users.clone();
                let stamp = list.stamp;
                self.list.store(Arc::new(List { users, stamp }));
            }
            Err(_) => self.list.store(Arc::new(list)),
        }
    }

    /// As slow for nobody as for somebody.
    fn verify(&self, given: &Given) -> bool {
        let list = self.list.load();
        let Ok(users) = &list.users else {
            return false;
        };
        let password = given.pair.get(given.name.len() + 1..).unwrap_or_default();
        let user = users.iter().find(|user| user.name == given.name);
        let hash = user.or_else(|| users.first()).map(|user| &user.hash);
        let matches = hash.is_some_and(|hash| hash::matches(hash, password));
        let right = user.is_some() && matches;
        if right && let Some(given) = given.tag {
            let now = Instant::now();
            self.right.rcu(|right| {
                let mut right: Vec<_> = right
                    .iter()
                    .filter(|(tag, until)| *until > now && *tag != given)
                    .copied()
                    .collect();
                if right.len() == MOST_REMEMBERED {
                    right.remove(0);
                }
                right.push((given, now + REMEMBERED));
                right
            });
        }
        right
    }
}

impl List {
    fn of(source: &UserSource) -> Self {
        match source {
            UserSource::Inline(users) => Self {
                users: Ok(users.clone()),
                stamp: None,
            },
            UserSource::File(path) => {
                let stamp = stamp(path);
                let read = stamp.as_ref().map_or_else(
                    |error| Err(format!("{error} (in Wharf's container)")),
                    |(_, length)| match *length > LONGEST_FILE {
                        true => Err(format!("it is larger than {} KiB", LONGEST_FILE >> 10)),
                        false => fs::read_to_string(path).map_err(|error| error.to_string()),
                    },
                );
                let users = read.and_then(|text| User::parse_file(&text));
                Self {
                    users: users
                        .map_err(|why| format!("wharf.auth.basic: file:{path}: {why}").into()),
                    stamp: stamp.ok(),
                }
            }
        }
    }
}

fn stamp(path: &str) -> io::Result<(SystemTime, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}

/// Of this process: what is remembered is worth nothing elsewhere.
static KEY: LazyLock<Option<hmac::Key>> =
    LazyLock::new(|| hmac::Key::generate(HMAC_SHA256, &SystemRandom::new()).ok());
/// Half the cores: the others serve.
static VERIFIERS: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Semaphore::new(cores.div_ceil(2))
});
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_FIELD: usize = 1024;
const LONGEST_FILE: u64 = 1 << 20;
const LOOK: Duration = Duration::from_secs(1);
/// For as long a password counts whose hash has not been changed.
const REMEMBERED: Duration = Duration::from_secs(300);
const MOST_REMEMBERED: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(source: UserSource) -> Basic {
        Basic::compile(
            &BasicSpec {
                users: source,
                realm: BasicSpec::REALM.to_owned(),
                strip: false,
                user_header: None,
            },
            None,
        )
    }

    fn field(pair: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(pair)).into_bytes()
    }

    const JOE: &str = "joe:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=";

    #[tokio::test]
    async fn what_was_right_is_known() {
        let basic = basic(UserSource::Inline(vec![User::parse(JOE).unwrap()]));
        let now = Instant::now();
        for (pair, right) in [
            ("joe:password", true),
            ("joe:Password", false),
            ("joe:", false),
            ("jane:password", false),
            (":password", false),
        ] {
            let given = Basic::read(&field(pair)).unwrap();
            assert_eq!(basic.known(Some(&given), now), Verdict::Ask, "{pair}");
            let who = basic.verify(given).await.unwrap();
            assert_eq!(who.is_some(), right, "{pair}");
        }
        let given = Basic::read(&field("joe:password")).unwrap();
        let known = |at| basic.known(Some(&given), at);
        assert_eq!(known(now), Verdict::Known("joe".into()));
        assert_eq!(known(now + 2 * REMEMBERED), Verdict::Ask);
        assert_eq!(basic.known(None, now), Verdict::No);
    }

    #[test]
    fn only_well_formed_fields_are_read() {
        for text in ["", "Basic", "Basic !!!", "Bearer abc", "Basic YWJj"] {
            assert!(Basic::read(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Basic::read(b"bAsIc  YTpi ").is_some());
    }

    #[tokio::test]
    async fn a_file_is_followed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, JOE).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let basic = basic(UserSource::File(path));
        let start = Instant::now();
        let ask = async || {
            let given = Basic::read(&field("joe:password")).unwrap();
            basic.verify(given).await
        };
        assert_eq!(ask().await, Ok(Some("joe".into())));
        fs::write(&file, "no user").unwrap();
        basic.known(None, start + Duration::from_secs(2));
        assert_eq!(
            ask().await,
            Ok(Some("joe".into())),
            "what it held before counts"
        );
        fs::write(&file, format!("{JOE}\n").replace("joe", "jane")).unwrap();
        let given = Basic::read(&field("joe:password")).unwrap();
        let later = start + Duration::from_secs(4);
        assert_eq!(
            basic.known(Some(&given), later),
            Verdict::Ask,
            "nobody is remembered"
        );
        assert_eq!(ask().await, Ok(None));
    }

    #[tokio::test]
    async fn without_the_file_nobody_gets_in() {
        let basic = basic(UserSource::File("/nonexistent/users".into()));
        let given = Basic::read(&field("joe:password")).unwrap();
        let trouble = basic.verify(given).await.unwrap_err();
        let Trouble::Fault(fault) = trouble else {
            panic!("{trouble:?}");
        };
        assert!(
            fault.contains("/nonexistent/users: No such file"),
            "{fault}"
        );
    }
}
