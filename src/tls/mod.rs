//! Certificates by name: the store on disk, the built-in CA, ACME (RFC 8555) and the renewals.
//!
//! [`Certs`] is what the rest sees. `control` declares the names running containers ask for; the
//! workers look certificates up in [`CertIndex`] (one atomic load, no lock), answer challenges from
//! it, and wait in [`Certs::obtain`] for a certificate that does not exist yet. [`Issuer`] is the one
//! background task: it alone talks to the CA. A name nobody declared never reaches the CA.

// Our account at a CA.
mod account;
// Names that somebody has said yes to.
mod approval;
// When a CA wants a certificate renewed; pure.
mod ari;
// One order.
mod acme;
// What a CA may be asked for still.
mod budget;
// What is known about each name; who waits for it.
mod book;
// The CAs, and how they stand in for each other.
mod ca;
// Asks a CA about a renewal.
mod check;
// The answer to one pending challenge.
mod challenge;
// What apps are told of clients' certificates.
mod client;
// Whether this machine's clock is right.
mod clock;
// Names under a wildcard.
mod cover;
// Who may have a certificate of the names nobody lists.
mod demand;
// What commands ask for.
mod desk;
// TXT records for DNS-01.
#[cfg_attr(not(feature = "dns01"), path = "dns/off.rs")]
mod dns;
// One name in the book.
mod entry;
// How an attempt failed.
mod fault;
// The HTTP client ACME speaks through.
mod http;
// Certificates of other proxies.
mod import;
// What the workers read.
mod index;
// The built-in CA.
mod internal;
// The background task.
mod issuer;
// One certificate to be had, and what it leaves in the store.
mod job;
// The store as commands see it.
mod kept;
// The operator's own certificates.
mod own;
// Records that prove a name once and for all.
mod persist;
// Rules of connections.
mod policy;
// When to renew and when to try again; pure.
mod renew;
// What the status page says.
mod report;
// One certificate with its rustls config.
mod served;
// What is kept, and where.
mod store;
// Cipher suites and their order.
mod suites;
// Counters.
mod tally;
// Apps that speak TLS.
mod trust;
// One name's order as a task.
mod work;
// What others stored.
mod watch;
// Names and times of a certificate.
mod x509;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::Guard;
use rustls::ServerConfig;
use serde::{Serialize, Serializer};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use crate::config::{CaConfig, DnsRule, Eab, Limits};
use crate::model::{AppTls, Host, HostPattern, TlsMode, TlsPolicy, Verify};

use self::book::Shared;
pub use self::client::client_lines;
pub use self::demand::{Answer, AskTotals, Question};
pub use self::fault::FailureClass;
pub use self::import::{ImportError, Taken, Verdict};
pub use self::index::CertIndex;
pub use self::issuer::Issuer;
pub use self::kept::{Ask, AskError, Exported, Kept, KeptCert};
pub use self::policy::Policy;
pub use self::served::Served;
pub use self::store::Reason;
pub use self::suites::{Preference, openssl_name};
pub use self::tally::CertTotals;
pub use self::trust::{HandshakeFault, server_name};

/// Process settings of this module.
#[derive(Debug, Clone)]
pub struct CertsConfig {
    /// Where certificates, account and built-in CA are kept. `None`: memory only, all is lost at exit.
    pub data: Option<PathBuf>,
    /// What the built-in CA may certify beside local names.
    pub ca_names: Vec<Host>,
    /// Where the operator's own certificates are. `None`: there are none.
    pub own: Option<PathBuf>,
    /// Who is asked for certificates, in this order; the next one only where the one before cannot help.
    /// Never empty.
    pub cas: Vec<CaConfig>,
    /// Whether a plain listener answers HTTP-01; without one only TLS-ALPN-01 is tried, because each
    /// failed validation counts against a limit of the CA.
    pub http_01: bool,
    /// Contact of the ACME accounts.
    pub email: Option<String>,
    /// Who sets DNS-01 records. Names they serve are proven that way first, wildcards only so.
    pub dns: Vec<DnsRule>,
    /// Name servers that are asked where such a record belongs; the system's if there are none.
    pub dns_resolvers: Vec<SocketAddr>,
    /// How long a record may take to reach the zone's name servers. Default [`CertsConfig::DNS_WAIT`].
    pub dns_wait: Duration,
    /// How long [`Certs::obtain`] waits (`WHARF_TLS_HOLD`). Default [`CertsConfig::HOLD`].
    pub hold: Duration,
}

impl CertsConfig {
    /// Default of [`CertsConfig::hold`]: Go's default client gives a handshake 10 s.
    pub const HOLD: Duration = Duration::from_secs(10);
    /// Default of [`CertsConfig::dns_wait`].
    pub const DNS_WAIT: Duration = Duration::from_secs(2 * 60);
}

/// All certificates of the process. Cheap to clone.
#[derive(Clone)]
pub struct Certs {
    shared: Arc<Shared>,
}

/// One name a running container asks a certificate for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub pattern: HostPattern,
    /// [`TlsMode::Off`] is ignored.
    pub mode: TlsMode,
    /// Which of the own certificates, with [`TlsMode::File`].
    pub file: Option<Arc<str>>,
    /// Rules of its connections, if it has any of its own.
    pub policy: Option<Arc<TlsPolicy>>,
    /// Where its names are asked about, in words, if they get a certificate each.
    pub ask: Option<Arc<str>>,
}

impl Wanted {
    pub fn new(pattern: HostPattern, mode: TlsMode) -> Self {
        Self {
            pattern,
            mode,
            file: None,
            policy: None,
            ask: None,
        }
    }
}

/// A certificate file that cannot be used, or deserves a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertProblem {
    pub path: PathBuf,
    pub reason: String,
    /// The file is not used as it is.
    pub is_error: bool,
}

impl Certs {
    /// Loads everything the store holds; expired certificates too. Never talks to the CA.
    ///
    /// Entries that cannot be used are renamed to `*.corrupt`, logged and skipped; whether a key fits its
    /// certificate is found out later, by the [`Issuer`] or the first handshake. A store that cannot
    /// be written is logged as an error and costs only what would have been kept. The [`Issuer`] must
    /// be run on a tokio runtime with time and I/O; without it nothing is ever ordered.
    ///
    /// # Errors
    /// No CA, a directory that is no `https` URL, a failing TLS library.
    pub fn open(config: CertsConfig) -> Result<(Self, Issuer), TlsError> {
        // Before the files are read: what changes meanwhile is seen later.
        let stamp = own::stamp(config.own.as_deref(), Vec::new());
        let shared = Arc::new(Shared::open(config)?);
        let issuer = Issuer::new(Arc::clone(&shared), stamp)?;
        Ok((Self { shared }, issuer))
    }

    /// The certificates and pending challenges of this moment; one atomic load.
    pub fn current(&self) -> Guard<Arc<CertIndex>> {
        self.shared.index.load()
    }

    /// Replaces the set of names running containers ask for. Only these are ever ordered or renewed.
    ///
    /// Where routes disagree on one name, `file:` wins over `internal` over `eager` over `auto`. A name that is no
    /// longer asked for keeps its certificate in memory for a day and on disk for good.
    pub fn declare(&self, wanted: Vec<Wanted>) {
        self.shared.declare(wanted, SystemTime::now());
    }

    /// Replaces the set of ways in which apps that speak TLS are believed. Files are read for new ones.
    pub fn trust(&self, wanted: &BTreeSet<Verify>) {
        self.shared.set_trusts(wanted);
    }

    /// A TLS connection to an app on `stream`, for questions of Wharf's own, in HTTP/2 or in HTTP/1.1.
    ///
    /// # Errors
    /// See [`HandshakeFault`]; where nobody can be believed, why.
    pub async fn greet(
        &self,
        tls: &AppTls,
        http2: bool,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = self.current().trust(&tls.verify).map(Arc::clone);
        let mut config = config.map_err(|fault| io::Error::other(&*fault))?;
        if http2 {
            let config = Arc::make_mut(&mut config);
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        let name = server_name(tls, stream.peer_addr()?.ip());
        TlsConnector::from(config).connect(name, stream).await
    }

    /// Gives the certificate of a declared pattern, ordering it if there is none yet, or none that fits
    /// its key.
    ///
    /// All callers of one pattern wait for one order; at most 256 wait per pattern and 4096 in all.
    /// The wait ends after [`CertsConfig::hold`], the order goes on. Cancel safe: a caller that leaves
    /// only stops waiting. While the pattern is in back-off the answer comes at once.
    ///
    /// # Errors
    /// See [`ObtainError`]; its text may be shown to clients.
    pub async fn obtain(&self, pattern: &HostPattern) -> Result<Arc<Served>, ObtainError> {
        self.shared.obtain(pattern).await
    }

    /// As [`Certs::obtain`], for one name of a declared pattern whose names get a certificate each. Whether
    /// this one may is asked first ([`Certs::question`]), but for local names and where the pattern has a
    /// certificate for all.
    ///
    /// All callers wait for one answer, 5 s at most, and then for one order. `client` is who comes: each
    /// causes ten questions a minute at most, unless it is `None`.
    ///
    /// # Errors
    /// See [`ObtainError`].
    pub async fn obtain_named(
        &self,
        pattern: &HostPattern,
        name: &str,
        client: Option<IpAddr>,
    ) -> Result<Arc<Served>, ObtainError> {
        self.shared.obtain_named(pattern, name, client).await
    }

    /// The next name to be asked about; waits for one. Cancel safe; for one caller.
    pub async fn question(&self) -> Question {
        self.shared.demand.next().await
    }

    /// The answer to a question of [`Certs::question`]; `why` there is none.
    pub fn answer(&self, name: &Host, answer: Answer, why: Option<Arc<str>>) {
        self.shared.answered(name, answer, why, SystemTime::now());
    }

    /// Why the last question had no answer; gone with the next that has one.
    pub fn ask_trouble(&self) -> Option<Arc<str>> {
        self.shared.demand.trouble()
    }

    /// Patterns whose names are asked about, sorted.
    pub fn asking(&self) -> Vec<AskReport> {
        self.shared.asking()
    }

    /// What was asked since the start.
    pub fn ask_totals(&self) -> AskTotals {
        self.shared.demand.totals()
    }

    /// What was last said of a name, and for how long that counts.
    pub fn last_answer(&self, name: &Host) -> Option<(Answer, Duration)> {
        self.shared.demand.known(name, Instant::now())
    }

    /// The body for a challenge's token (RFC 8555 section 8.3) that is not in [`CertIndex`], but pending
    /// in another process on the same store. Looks into the store, for declared hosts only.
    pub async fn told_answer(&self, host: &str, token: &str) -> Option<String> {
        self.shared.told_answer(host, token).await
    }

    /// As [`Certs::told_answer`] for TLS-ALPN-01 (RFC 8737): see [`CertIndex::alpn_challenge`].
    pub async fn told_alpn(&self, sni: &str) -> Option<Arc<ServerConfig>> {
        self.shared.told_alpn(sni).await
    }

    /// What is known about every declared pattern, sorted.
    pub fn report(&self) -> Vec<CertReport> {
        self.shared.report(SystemTime::now())
    }

    /// How the store is.
    pub fn store_report(&self) -> StoreReport {
        self.shared.store_report()
    }

    /// What has happened since the start.
    pub fn totals(&self) -> CertTotals {
        self.shared.totals()
    }

    /// What is wrong with the operator's certificate files, sorted by path.
    pub fn problems(&self) -> Vec<CertProblem> {
        self.shared.problems()
    }

    /// What is wrong with this machine's clock, if that is known.
    pub fn clock_fault(&self) -> Option<String> {
        self.shared.clock.fault(SystemTime::now())
    }

    /// The root certificate of the built-in CA, as PEM, for download.
    pub fn local_root(&self) -> &str {
        self.shared.local.root_pem()
    }
}

/// Why [`Certs::open`] failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("there is no CA to ask")]
    NoCa,
    #[error("the ACME directory must be an https URL, not `{0}`")]
    Directory(String),
    #[error("setting up TLS")]
    Tls(#[from] rustls::Error),
    #[error("making the built-in CA")]
    Local(#[from] rcgen::Error),
}

/// Why there is no certificate. The text holds no secret and may be shown to clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObtainError {
    #[error("no running container asks for a certificate of this name")]
    Undeclared,
    #[error("a wildcard certificate needs DNS-01: set WHARF_DNS")]
    Wildcard,
    /// `wharf.tls: file:<name>` and no such certificate; why is told in status.
    #[error("the certificate file `{0}` is not there, or cannot be used")]
    File(Arc<str>),
    /// Of a pattern whose names are asked about (`wharf.tls.ask`).
    #[error("the app does not know this name")]
    Refused,
    #[error("nobody could say whether this name may have a certificate")]
    Unasked,
    #[error("there are too many new names at the moment")]
    HeldBack,
    #[error("too many connections already wait for this certificate")]
    Busy,
    #[error("the certificate was not issued within {0:?}; the order goes on")]
    Deadline(Duration),
    /// The last attempt failed and the next one is not due; `cause` has the CA's own words.
    #[error("no certificate could be obtained: {cause}")]
    Failed {
        cause: Arc<str>,
        retry_at: SystemTime,
    },
    #[error("making the certificate failed: {0}")]
    Local(Arc<str>),
}

/// One line of the status page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertReport {
    pub host: HostPattern,
    pub source: CertSource,
    /// Common name (or organisation) of the issuer, once there is a certificate.
    pub issuer: Option<String>,
    #[serde(serialize_with = "unix")]
    /// Unix seconds when serialised.
    pub not_after: Option<SystemTime>,
    pub state: CertState,
    pub next: Option<NextAction>,
    /// Of the last attempt, in the CA's own words; gone after a success.
    pub last_error: Option<String>,
    /// Where a person can undo what the CA has done about failures, if it says so.
    pub link: Option<String>,
}

/// A pattern whose names are asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskReport {
    pub pattern: HostPattern,
    /// Who is asked, in words.
    pub at: Arc<str>,
    /// Names that were said yes to.
    pub names: usize,
}

/// How the place where certificates are kept is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreReport {
    /// A directory, or `memory`.
    pub place: String,
    /// Why it cannot be written.
    pub error: Option<String>,
    /// Names, and what else, that only memory has: a restart would lose them. Tried again every
    /// few seconds.
    pub unsaved: Vec<String>,
    /// Key and reason of what was corrupt and put aside since the start, 32 at most.
    pub aside: Vec<(String, String)>,
}

/// Who signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CertSource {
    /// One of [`CertsConfig::cas`].
    Acme,
    /// The built-in CA.
    Internal,
    /// A file of the operator's.
    File,
}

/// How a name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CertState {
    /// Served and valid.
    Valid,
    /// Served, but past its end.
    Expired,
    /// No certificate yet; an order runs.
    Ordering,
    /// No certificate yet; nobody asked, or the order is queued.
    Waiting,
    /// No certificate; the last attempt failed.
    Failed,
}

/// What happens next to a name, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NextAction {
    pub action: Action,
    /// In the past: as soon as the queue allows. Unix seconds when serialised.
    #[serde(serialize_with = "unix_one")]
    pub at: SystemTime,
}

/// What Wharf will do by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Renew,
    /// Order again after a failure.
    Retry,
    Order,
}

fn unix<S: Serializer>(at: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(renew::to_unix).serialize(serializer)
}

fn unix_one<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    renew::to_unix(*at).serialize(serializer)
}
