//! Who has to give a name and a password, and what of both is known (product.md B50).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

/// `wharf.auth.basic` and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BasicSpec {
    pub users: UserSource,
    /// What browsers show beside their question. Default [`BasicSpec::REALM`].
    pub realm: String,
    /// The app does not get the `Authorization` field. Default off: it does, as behind nginx.
    pub strip: bool,
    /// `wharf.auth.user_header`: the field that tells the app who it is, in lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_header: Option<String>,
}

impl BasicSpec {
    pub const REALM: &'static str = "Restricted";
}

/// Where names and hashes come from. Never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserSource {
    /// A file as `htpasswd` writes it, in Wharf's container.
    File(String),
    /// In the label.
    Inline(Vec<User>),
}

impl Serialize for UserSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::File(path) => serializer.collect_str(&format_args!("file:{path}")),
            Self::Inline(users) => {
                serializer.collect_str(&format_args!("{} in the label", users.len()))
            }
        }
    }
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub hash: Hash,
}

/// A password as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Hash {
    /// `$2y$…` and its siblings.
    Bcrypt(String),
    /// `$argon2id$…`.
    Argon2(String),
    /// `$6$…` and `$5$…` (crypt(5)).
    ShaCrypt(String),
    /// `$apr1$<salt>$<hash>`.
    Apr1 { salt: String, digest: String },
    /// `{SHA}<base64>`: without salt, and fast to guess.
    Sha1([u8; 20]),
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash")
    }
}

impl User {
    /// Reads `name:hash`, or `name:b64:<the hash in base64>`, which holds no `$`.
    ///
    /// # Errors
    /// What is wrong with it, in words that hold nothing of the hash.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, hash) = text
            .split_once(':')
            .ok_or("a user looks like name:hash, as `htpasswd -nB name` prints it")?;
        let name = name.trim();
        if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            return Err(format!("a name has 1 to {LONGEST_NAME} bytes"));
        }
        let hash = hash.trim();
        let hash = match hash.strip_prefix("b64:") {
            Some(encoded) => STANDARD
                .decode(encoded.trim())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| {
                    format!("what follows b64: of {} is no base64", name.escape_debug())
                })?,
            None => hash.to_owned(),
        };
        let hash = Hash::parse(hash.trim())
            .map_err(|reason| format!("the hash of {} {reason}", name.escape_debug()))?;
        Ok(Self {
            name: name.to_owned(),
            hash,
        })
    }

    /// Reads a file of them, one on a line; empty lines and those that begin with `#` are skipped.
    ///
    /// # Errors
    /// The first line that is none, and why.
    pub fn parse_file(text: &str) -> Result<Vec<Self>, String> {
        let mut users: Vec<Self> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let user =
                Self::parse(line).map_err(|reason| format!("line {}: {reason}", index + 1))?;
            if users.len() == MOST_USERS {
                return Err(format!("there are more than {MOST_USERS} users"));
            }
            users.push(user);
        }
        match users.is_empty() {
            true => Err("there is no user in it".to_owned()),
            false => Ok(users),
        }
    }
}

impl Hash {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(digest) = text.strip_prefix("{SHA}") {
            let bytes = STANDARD.decode(digest).ok();
            let bytes = bytes.and_then(|bytes| <[u8; 20]>::try_from(bytes).ok());
            return bytes
                .map(Self::Sha1)
                .ok_or_else(|| "is no SHA-1".to_owned());
        }
        let Some(rest) = text.strip_prefix('$') else {
            return Err(EATEN.to_owned());
        };
        if text.len() > LONGEST_HASH {
            return Err(format!("is longer than {LONGEST_HASH} bytes"));
        }
        let mut parts = rest.split('$');
        let kind = parts.next().unwrap_or_default();
        let parts: Vec<&str> = parts.collect();
        match (kind, &parts[..]) {
            ("2a" | "2b" | "2x" | "2y", [cost, hash]) if hash.len() == 53 => {
                match cost.parse::<u8>() {
                    Ok(4..=MOST_COST) => Ok(Self::Bcrypt(text.to_owned())),
                    _ => Err(format!("has a cost that is not from 4 to {MOST_COST}")),
                }
            }
            ("argon2id" | "argon2i" | "argon2d", [version, parameters, _, _]) if version.starts_with("v=") => {
                let of = |name: &str| {
                    let mut fields = parameters.split(',');
                    fields.find_map(|field| field.strip_prefix(name)?.parse::<u32>().ok())
                };
                match (of("m="), of("t="), of("p=")) {
                    (Some(m), Some(t), Some(p)) if m <= MOST_MEMORY && t <= MOST_PASSES && p <= 64 => {
                        Ok(Self::Argon2(text.to_owned()))
                    }
                    _ => Err(format!(
                        "has parameters beyond m={MOST_MEMORY}, t={MOST_PASSES} and p=64"
                    )),
                }
            }
            ("5" | "6", [rounds, _, _]) if rounds.starts_with("rounds=") => {
                match rounds["rounds=".len()..].parse::<u32>() {
                    Ok(1000..=MOST_ROUNDS) => Ok(Self::ShaCrypt(text.to_owned())),
                    _ => Err(format!("has rounds that are not from 1000 to {MOST_ROUNDS}")),
                }
            }
            ("5" | "6", [_, _]) => Ok(Self::ShaCrypt(text.to_owned())),
            ("apr1", [salt, digest]) if salt.len() <= 8 && digest.len() == 22 => Ok(Self::Apr1 {
                salt: (*salt).to_owned(),
                digest: (*digest).to_owned(),
            }),
            ("2a" | "2b" | "2x" | "2y" | "argon2id" | "argon2i" | "5" | "6" | "apr1", _) => {
                Err("is cut short: has something taken its `$…` for a variable? Write each `$` twice in a compose file, or use file: or b64:".to_owned())
            }
            _ => Err("is none of bcrypt, argon2, sha512-crypt, sha256-crypt, apr1 and {SHA}".to_owned()),
        }
    }
}

const EATEN: &str = "does not begin with `$`: a compose file takes `$…` for a variable, so write each `$` twice, or use \
     file: or b64:; a password itself is not accepted, `htpasswd -nB name` makes a hash of it";
pub(super) const LONGEST_NAME: usize = 255;
const LONGEST_HASH: usize = 512;
const MOST_USERS: usize = 10_000;
/// Seconds of a core.
const MOST_COST: u8 = 16;
const MOST_ROUNDS: u32 = 5_000_000;
/// KiB.
const MOST_MEMORY: u32 = 262_144;
const MOST_PASSES: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compose_leaves_of_a_hash_is_told() {
        for (text, reason) in [
            ("admin:2y10abc", "write each `$` twice"),
            ("admin:secret", "a password itself is not accepted"),
            ("admin:", "does not begin with `$`"),
            ("admin:$apr1$", "is cut short"),
            ("admin:$2y$05$", "is cut short"),
            (
                "admin:$2y$31$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234",
                "a cost",
            ),
            ("admin:$1$a$b", "is none of bcrypt"),
            ("admin:$6$rounds=9999999$a$b", "has rounds"),
            (
                "admin:$argon2id$v=19$m=9999999,t=1,p=1$a$b",
                "has parameters",
            ),
            ("admin:b64:???", "no base64"),
            ("admin", "name:hash"),
            (":$apr1$", "a name has"),
        ] {
            let error = User::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn files_are_read_by_line() {
        let file = "# users\n\na:$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00\r\nb:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=\n";
        let users = User::parse_file(file).unwrap();
        assert_eq!(
            users.iter().map(|user| &*user.name).collect::<Vec<_>>(),
            ["a", "b"]
        );
        let error = User::parse_file("a:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=\nb:c").unwrap_err();
        assert!(error.starts_with("line 2: the hash of b"), "{error}");
        assert!(User::parse_file("# nobody").is_err());
    }
}
