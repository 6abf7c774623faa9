//! Balancing as a precomputed order of turns.

/// The order in which endpoints take their turns: nginx's smooth weighted round robin, unrolled
/// over one cycle so that a pick is one index instead of a shared mutable state.
#[derive(Debug)]
pub struct Schedule(Box<[u16]>);

impl Schedule {
    /// Unrolls one cycle. Endpoints of weight 0 have no turn. Cycles longer than [`MAX_TURNS`] are
    /// scaled down; every endpoint with a weight keeps at least one turn.
    pub fn smooth(weights: &[u16]) -> Self {
        let divisor = weights
            .iter()
            .fold(0, |acc, weight| gcd(acc, u64::from(*weight)))
            .max(1);
        let mut shares: Vec<i64> = weights
            .iter()
            .map(|weight| (u64::from(*weight) / divisor) as i64)
            .collect();
        let total: i64 = shares.iter().sum();
        if total > MAX_TURNS {
            for share in shares.iter_mut().filter(|share| **share > 0) {
                *share = (*share * MAX_TURNS / total).max(1);
            }
        }
        let total: i64 = shares.iter().sum();
        let mut current = vec![0_i64; shares.len()];
        let turns = (0..total).map(|_| {
            let mut best = 0;
            for (index, share) in shares.iter().enumerate() {
                current[index] += share;
                if current[index] > current[best] || shares[best] == 0 {
                    best = index;
                }
            }
            current[best] -= total;
            best as u16
        });
        Self(turns.collect())
    }

    /// Turns in one cycle; 0 when nobody takes requests.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose turn `position` is. The caller checks that the schedule is not empty.
    pub fn at(&self, position: u64) -> u16 {
        self.0[(position % self.0.len() as u64) as usize]
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Longest unrolled cycle.
const MAX_TURNS: i64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn turns_are_nginx_smooth() {
        // The example of nginx's commit message: weights 5, 1, 1 give a a b a c a a.
        assert_eq!(*Schedule::smooth(&[5, 1, 1]).0, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(*Schedule::smooth(&[1, 1, 1]).0, [0, 1, 2]);
        assert_eq!(*Schedule::smooth(&[0, 7]).0, [1]);
        assert!(Schedule::smooth(&[]).is_empty());
        assert!(Schedule::smooth(&[0, 0]).is_empty());
    }

    proptest! {
        #[test]
        fn shares_are_exact_and_zero_has_no_turn(
            weights in proptest::collection::vec(0_u16..=20, 0..12)
        ) {
            let schedule = Schedule::smooth(&weights);
            let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
            for (index, weight) in weights.iter().enumerate() {
                let turns = schedule.0.iter().filter(|t| usize::from(**t) == index).count() as u64;
                prop_assert_eq!(turns * total, u64::from(*weight) * schedule.len() as u64);
            }
        }

        #[test]
        fn cycles_are_bounded(weights in proptest::collection::vec(0_u16..=1000, 0..200)) {
            let schedule = Schedule::smooth(&weights);
            prop_assert!(schedule.len() as i64 <= MAX_TURNS + 200);
            for (index, weight) in weights.iter().enumerate() {
                let present = schedule.0.contains(&(index as u16));
                prop_assert_eq!(present, *weight > 0);
            }
        }
    }
}
