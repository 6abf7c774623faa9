//! Cipher suites: which, in which order, and whose code encrypts.

use rustls::crypto::{aws_lc_rs::cipher_suite as aws_lc, ring::cipher_suite as ring};
use rustls::{CipherSuite, SupportedCipherSuite};

/// Which cipher a client is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preference {
    /// AES-128-GCM: the least CPU per byte on machines with AES instructions, and no weaker in
    /// practice.
    Aes,
    /// ChaCha20-Poly1305, for clients that list it first: they have no AES instructions, and
    /// AES-GCM would cost them several times as much.
    ChaCha,
}

impl Preference {
    /// By the cipher suites of a ClientHello. The first one known here decides; what a client lists
    /// before it only to keep servers tolerant (RFC 8701) does not.
    pub fn of(offered: &[CipherSuite]) -> Self {
        let first = offered.iter().copied().find(|suite| known(*suite));
        if first.is_some_and(is_chacha) {
            Self::ChaCha
        } else {
            Self::Aes
        }
    }
}

/// Mozilla intermediate without DHE. With `ignore_client_order` this order decides.
pub(super) fn suites(preference: Preference) -> Vec<SupportedCipherSuite> {
    let mut suites = if ring_is_faster() {
        AES_BY_RING.to_vec()
    } else {
        AES_BY_AWS_LC.to_vec()
    };
    match preference {
        Preference::Aes => suites.extend(CHACHA.iter()),
        Preference::ChaCha => drop(suites.splice(..0, CHACHA.iter().copied())),
    }
    suites
}

/// What OpenSSL calls a suite, and with it nginx. Empty for those Wharf does not speak.
pub fn openssl_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "ECDHE-ECDSA-CHACHA20-POLY1305"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => "",
    }
}

fn known(suite: CipherSuite) -> bool {
    let mut all = AES_BY_AWS_LC.iter().chain(CHACHA.iter());
    all.any(|known| known.suite() == suite)
}

fn is_chacha(suite: CipherSuite) -> bool {
    CHACHA.iter().any(|known| known.suite() == suite)
}

/// On processors that have the AES instructions for 256 bits at once, but not those for 512, ring
/// encrypts 1.7 times as fast: AWS-LC has code for 512 and for 128 bits only.
fn ring_is_faster() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        has!("vaes") && has!("vpclmulqdq") && has!("avx2") && !has!("avx512vl")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

static AES_BY_AWS_LC: [SupportedCipherSuite; 6] = [
    aws_lc::TLS13_AES_128_GCM_SHA256,
    aws_lc::TLS13_AES_256_GCM_SHA384,
    aws_lc::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    aws_lc::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    aws_lc::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    aws_lc::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];

static AES_BY_RING: [SupportedCipherSuite; 6] = [
    ring::TLS13_AES_128_GCM_SHA256,
    ring::TLS13_AES_256_GCM_SHA384,
    ring::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ring::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ring::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ring::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];

static CHACHA: [SupportedCipherSuite; 3] = [
    aws_lc::TLS13_CHACHA20_POLY1305_SHA256,
    aws_lc::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    aws_lc::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_suite_says_what_the_client_wants() {
        use CipherSuite as C;
        let grease = C::Unknown(0x1a1a);
        let (aes, chacha) = (
            C::TLS13_AES_256_GCM_SHA384,
            C::TLS13_CHACHA20_POLY1305_SHA256,
        );
        let old = C::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256;
        for (offered, preference) in [
            (&[aes, chacha][..], Preference::Aes),
            (&[chacha, aes], Preference::ChaCha),
            (&[grease, chacha, aes], Preference::ChaCha),
            (&[grease, aes, chacha], Preference::Aes),
            (&[C::TLS_RSA_WITH_AES_128_CBC_SHA, old], Preference::ChaCha),
            (&[grease], Preference::Aes),
            (&[], Preference::Aes),
        ] {
            assert_eq!(Preference::of(offered), preference, "{offered:?}");
        }
    }

    #[test]
    fn both_libraries_offer_the_same() {
        let names = |suites: &[SupportedCipherSuite]| -> Vec<_> {
            suites.iter().map(SupportedCipherSuite::suite).collect()
        };
        assert_eq!(names(&AES_BY_AWS_LC), names(&AES_BY_RING));
    }
}
