//! The store as commands see it, beside the processes that serve from it: listed, exported, added to, and
//! the place where a running Wharf is asked for something.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::model::HostPattern;

use super::CertSource;
use super::import::{self, ImportError, Shelf, Taken, Verdict};
use super::renew::to_unix;
use super::served::{Served, TlsParts};
use super::store::{Act, Reason, Record, Records, Request, Requests, VERSION};

/// What is kept in a data directory.
pub struct Kept {
    data: PathBuf,
    parts: TlsParts,
}

/// One name of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCert {
    pub host: String,
    /// Directory URL of the CA that was asked.
    pub ca: String,
    /// Common name (or organisation) of the issuer; `None` where there is no certificate yet.
    pub issuer: Option<String>,
    pub not_after: Option<SystemTime>,
    /// When a running Wharf renews it, if a container asks for the name.
    pub renew_at: Option<SystemTime>,
    /// Until when nothing is ordered after a failure.
    pub retry_at: Option<SystemTime>,
    /// Of the last attempt, in the CA's own words.
    pub last_error: Option<String>,
    /// Why the entry cannot be used.
    pub fault: Option<String>,
}

/// A certificate to hand out. Holds a private key: no `Debug`.
pub struct Exported {
    /// PEM, leaf first.
    pub chain: String,
    /// PEM.
    pub key: String,
}

/// What a running Wharf is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Order a certificate now, due or not.
    Renew,
    /// Revoke the certificate, and order another if a container asks for the name.
    Revoke(Reason),
}

/// Why [`Kept::ask`] got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("the request cannot be put into {0}")]
    Write(PathBuf, #[source] io::Error),
    #[error("no running Wharf took the request: none runs with the data directory {0}")]
    Nobody(PathBuf),
    #[error("a Wharf took the request, and is still at it after {0:?}: see its log")]
    Slow(Duration),
    /// The answer is no; in words.
    #[error("{0}")]
    Refused(String),
}

impl Kept {
    /// # Errors
    /// A failing TLS library.
    pub fn open(data: &Path) -> Result<Self, rustls::Error> {
        Ok(Self {
            data: data.to_owned(),
            parts: TlsParts::new()?,
        })
    }

    /// Every name of every CA, sorted; what cannot be read, too. Changes nothing.
    ///
    /// # Errors
    /// The directory cannot be read; one that does not exist is empty.
    pub fn list(&self) -> io::Result<Vec<KeptCert>> {
        let now = SystemTime::now();
        let mut all = Vec::new();
        for records in Records::of_all(&self.data)? {
            for (stem, record) in records.peek_all()? {
                all.push(match record {
                    Ok(record) => self.line(record, now),
                    Err(fault) => KeptCert {
                        fault: Some(fault),
                        ..KeptCert::nothing(stem, records.ca().to_owned())
                    },
                });
            }
        }
        all.sort_by(|a, b| (&a.host, &a.ca).cmp(&(&b.host, &b.ca)));
        Ok(all)
    }

    /// The certificate of `host`, of whichever CA, that is valid longest.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn export(&self, host: &str) -> io::Result<Option<Exported>> {
        let mut best: Option<(SystemTime, Exported)> = None;
        for records in Records::of_all(&self.data)? {
            let Some(record) = records.peek(host) else {
                continue;
            };
            let Ok(Some(served)) = self.serve(&record) else {
                continue;
            };
            let later = best.as_ref().is_none_or(|(end, _)| *end < served.not_after);
            if let (true, Some(chain), Some(key)) = (later, record.chain, record.key) {
                best = Some((served.not_after, Exported { chain, key }));
            }
        }
        Ok(best.map(|(_, exported)| exported))
    }

    /// Takes over the certificates of another proxy's files, to be renewed by the CA at `directory`. With
    /// `dry` nothing is written.
    ///
    /// # Errors
    /// See [`ImportError`]; what is wrong with a single certificate is in its [`Verdict`].
    pub fn import(
        &self,
        path: &Path,
        directory: &str,
        public: bool,
        dry: bool,
    ) -> Result<Vec<Taken>, ImportError> {
        let found = import::find(path)?;
        let records = Records::beside(&self.data, directory);
        let into = Shelf {
            records: &records,
            directory,
            public,
            parts: &self.parts,
            now: SystemTime::now(),
            dry,
        };
        let candidates = found.candidates.iter();
        let mut all: Vec<_> = candidates
            .flat_map(|one| import::take(one, &into))
            .collect();
        all.extend(found.notes.into_iter().map(|(origin, why)| Taken {
            origin,
            name: String::new(),
            verdict: Verdict::Skipped(why),
        }));
        Ok(all)
    }

    /// Asks the Wharfs that run with this directory, and waits for what they say.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn ask(&self, host: &str, ask: Ask) -> Result<String, AskError> {
        let requests = Requests::open(Some(&self.data));
        let id = format!("{:016x}", RandomState::new().build_hasher().finish());
        let now = to_unix(SystemTime::now());
        let request = Request {
            version: VERSION,
            host: host.to_owned(),
            act: match ask {
                Ask::Renew => Act::Renew,
                Ask::Revoke(reason) => Act::Revoke(reason),
            },
            at: now,
            until: now + ANSWER_MOST.as_secs(),
        };
        requests
            .ask(&id, &request)
            .map_err(|error| AskError::Write(self.data.clone(), error))?;
        let started = Instant::now();
        loop {
            if let Some(answer) = requests.answered(&id) {
                return match answer.done {
                    true => Ok(answer.text),
                    false => Err(AskError::Refused(answer.text)),
                };
            }
            if started.elapsed() > TAKE_MOST {
                // Whoever works on it has it locked.
                if let Some(_lock) = requests.take(&id)
                    && requests.is_asked(&id)
                {
                    requests.withdraw(&id);
                    return Err(AskError::Nobody(self.data.clone()));
                }
                if started.elapsed() > ANSWER_MOST {
                    return Err(AskError::Slow(ANSWER_MOST));
                }
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    fn line(&self, record: Record, now: SystemTime) -> KeptCert {
        let served = self.serve(&record);
        let retry_at = record.history.retry_at(now);
        let line = KeptCert {
            retry_at,
            last_error: record.history.error.clone(),
            ..KeptCert::nothing(record.host, record.source)
        };
        match served {
            Ok(None) => line,
            Ok(Some(served)) => KeptCert {
                renew_at: Some(served.renew_at()),
                not_after: Some(served.not_after),
                issuer: Some(served.issuer),
                ..line
            },
            Err(fault) => KeptCert {
                fault: Some(fault),
                ..line
            },
        }
    }

    /// As it would be served, key and chain compared.
    fn serve(&self, record: &Record) -> Result<Option<Served>, String> {
        let (Some(chain), Some(key)) = (record.chain.clone(), record.key.clone()) else {
            return Ok(None);
        };
        let pattern = HostPattern::parse(&record.host).map_err(|why| why.to_string())?;
        let served = self.parts.serve(&pattern, CertSource::Acme, chain, key);
        let served = served.map_err(|why| why.to_string())?;
        served.certified().map_err(|why| why.to_string())?;
        Ok(Some(served))
    }
}

impl KeptCert {
    fn nothing(host: String, ca: String) -> Self {
        Self {
            host,
            ca,
            issuer: None,
            not_after: None,
            renew_at: None,
            retry_at: None,
            last_error: None,
            fault: None,
        }
    }
}

/// A Wharf looks every second.
const TAKE_MOST: Duration = Duration::from_secs(8);
/// An order takes 150 s at most.
const ANSWER_MOST: Duration = Duration::from_secs(170);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
