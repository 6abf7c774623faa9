//! Rendezvous hashing: every endpoint has a score for a key, the highest wins. When an endpoint
//! leaves, only its own keys move; nothing has to be remembered or agreed upon, so workers, restarts
//! and other instances come to the same result.

use std::net::IpAddr;

/// What a request is hashed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    pub fn of(bytes: &[u8]) -> Self {
        Self(hash(bytes))
    }

    /// Of a client's network: /24 of IPv4, /64 of IPv6. Clients behind one provider's address
    /// translation, or one household's changing addresses, stay together.
    pub fn of_network(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of(&address.octets()[..3]),
            IpAddr::V6(address) => Self::of(&address.octets()[..8]),
        }
    }
}

/// The endpoint for `key` among `(index, seed, weight)`. Each gets its weight's share of all keys
/// (Schindelhauer and Schomaker's logarithmic method); weight 0 gets none.
pub(in crate::upstream) fn rendezvous(
    key: Key,
    endpoints: impl Iterator<Item = (u16, u64, f64)>,
) -> Option<u16> {
    let mut best: Option<(u16, f64)> = None;
    for (index, seed, weight) in endpoints {
        // In (0, 1), never at either end.
        let unit = ((mix(key.0 ^ seed) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        let score = weight / -unit.ln();
        if weight > 0.0 && best.is_none_or(|(_, highest)| score > highest) {
            best = Some((index, score));
        }
    }
    best.map(|(index, _)| index)
}

/// FNV-1a with a finaliser. Not keyed: whoever chooses a key chooses an endpoint in any case. Must
/// not change, or every client of every installation moves.
pub(in crate::upstream) fn hash(bytes: &[u8]) -> u64 {
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(sum)
}

/// splitmix64.
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Endpoints like containers: nothing in common but the port.
    fn pick(key: u64, weights: &[f64]) -> u16 {
        let endpoints = weights.iter().enumerate();
        let endpoints = endpoints.map(|(i, weight)| (i as u16, hash(&[i as u8]), *weight));
        rendezvous(Key::of(&key.to_be_bytes()), endpoints).unwrap()
    }

    #[test]
    fn keys_are_shared_by_weight_within_two_percent_of_all() {
        for weights in [&[1.0, 1.0, 1.0][..], &[5.0, 3.0, 2.0], &[0.0, 9.0, 1.0]] {
            let mut counts = [0_u32; 3];
            for key in 0..30_000 {
                counts[usize::from(pick(key, weights))] += 1;
            }
            let total: f64 = weights.iter().sum();
            for (count, weight) in counts.iter().zip(weights) {
                let share = f64::from(*count) / 30_000.0;
                assert!(
                    (share - weight / total).abs() < 0.02,
                    "{weights:?} {counts:?}"
                );
            }
            assert!(weights[0] > 0.0 || counts[0] == 0);
        }
    }

    #[test]
    fn only_the_keys_of_an_endpoint_that_leaves_move() {
        for key in 0..5_000 {
            let before = pick(key, &[1.0, 2.0, 3.0, 1.0]);
            let after = pick(key, &[1.0, 0.0, 3.0, 1.0]);
            assert!(before == 1 || after == before, "{key}");
            // One that grows only gains.
            let grown = pick(key, &[1.0, 2.0, 6.0, 1.0]);
            assert!(grown == 2 || grown == before, "{key}");
        }
    }

    #[test]
    fn clients_of_one_network_have_one_key() {
        let key = |text: &str| Key::of_network(text.parse().unwrap());
        for (a, b, same) in [
            ("192.0.2.1", "192.0.2.254", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("::ffff:192.0.2.1", "192.0.2.7", true),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
        ] {
            assert_eq!(key(a) == key(b), same, "{a} {b}");
        }
    }

    #[test]
    fn the_hash_is_the_same_for_ever() {
        assert_eq!(hash(b""), 0xc381_7c01_6ba4_ff30);
        assert_eq!(hash(b"wharf"), 0x38cc_257b_b3b0_8eee);
    }
}
