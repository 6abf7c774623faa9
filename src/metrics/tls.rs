//! TLS sessions by what was negotiated.

use super::Counter;

/// Finished handshakes, by protocol version and key exchange.
#[derive(Debug, Default)]
pub struct SessionMetrics([[Counter; KeyExchange::ALL.len()]; TlsVersion::ALL.len()]);

/// The sum over workers, in the order of [`TlsVersion::ALL`] and [`KeyExchange::ALL`].
pub type SessionTotals = [[u64; KeyExchange::ALL.len()]; TlsVersion::ALL.len()];

/// Version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    V12,
    V13,
}

/// How the session's keys came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyExchange {
    /// The post-quantum hybrid.
    X25519MlKem768,
    X25519,
    P256,
    P384,
    Other,
    /// Resumed, with the keys of an earlier session.
    Resumed,
}

impl SessionMetrics {
    pub fn count(&self, version: TlsVersion, exchange: KeyExchange) {
        self.0[version as usize][exchange as usize].inc();
    }

    pub(super) fn add_to(&self, totals: &mut SessionTotals) {
        for (sums, counters) in totals.iter_mut().zip(&self.0) {
            for (sum, counter) in sums.iter_mut().zip(counters) {
                *sum += counter.get();
            }
        }
    }
}

impl TlsVersion {
    /// Every version, in the order of declaration.
    pub const ALL: [Self; 2] = [Self::V12, Self::V13];

    /// The `version` label of `wharf_tls_sessions_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }
}

impl KeyExchange {
    /// Every way, in the order of declaration.
    pub const ALL: [Self; 6] = [
        Self::X25519MlKem768,
        Self::X25519,
        Self::P256,
        Self::P384,
        Self::Other,
        Self::Resumed,
    ];

    /// The `group` label of `wharf_tls_sessions_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X25519MlKem768 => "X25519MLKEM768",
            Self::X25519 => "X25519",
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::Other => "other",
            Self::Resumed => "resumed",
        }
    }
}
