//! Ranks by Zipf's law: rank 0 is drawn most often, rank k with a probability of 1/(k+1)^θ.
//!
//! Source: J. Gray et al., "Quickly generating billion-record synthetic databases", SIGMOD 1994;
//! the constants and the method are those of YCSB, with θ = 0.99.

/// The skew that YCSB uses.
const THETA: f64 = 0.99;

/// Terms of the sum that are added up one by one; what is beyond is taken as an integral, which at
/// this rank differs from the sum by less than one part in 10⁸.
const EXACT_TERMS: u64 = 1 << 20;

/// Draws ranks below `ranks`.
#[derive(Clone, Debug)]
pub struct Zipf {
    ranks: u64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    /// A distribution over `0..ranks`; at least one rank.
    pub fn new(ranks: u64) -> Self {
        let ranks = ranks.max(1);
        let zeta = zeta(ranks);
        let n = ranks as f64;
        let eta = (1.0 - (2.0 / n).powf(1.0 - THETA)) / (1.0 - zeta_two() / zeta);
        Self { ranks, alpha: 1.0 / (1.0 - THETA), zeta, eta }
    }

    /// The rank for a uniform `random`.
    pub fn rank(&self, random: u64) -> u64 {
        // 53 bits are what a float holds exactly; the result lies in [0, 1).
        let uniform = (random >> 11) as f64 / (1_u64 << 53) as f64;
        let scaled = uniform * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < zeta_two() {
            return 1.min(self.ranks - 1);
        }
        let rank = self.ranks as f64 * (self.eta * uniform - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.ranks - 1)
    }
}

fn zeta_two() -> f64 {
    1.0 + 0.5_f64.powf(THETA)
}

/// The sum of 1/k^θ for k in 1..=n.
fn zeta(n: u64) -> f64 {
    let exact = n.min(EXACT_TERMS);
    let sum: f64 = (1..=exact).map(|k| (k as f64).powf(-THETA)).sum();
    let power = 1.0 - THETA;
    let rest = ((n as f64 + 0.5).powf(power) - (exact as f64 + 0.5).powf(power)) / power;
    sum + if n > exact { rest } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::mix;

    #[test]
    fn small_distributions_stay_in_range() {
        for ranks in [0, 1, 2, 3, 10] {
            let zipf = Zipf::new(ranks);
            for n in 0..10_000 {
                assert!(zipf.rank(mix(n)) < ranks.max(1), "{ranks}");
            }
            assert!(zipf.rank(u64::MAX) < ranks.max(1));
            assert_eq!(zipf.rank(0), 0);
        }
    }

    #[test]
    fn frequencies_follow_the_law() {
        let zipf = Zipf::new(1000);
        let draws = 1_000_000;
        let mut counts = vec![0_u64; 1000];
        for n in 0..draws {
            counts[zipf.rank(mix(n)) as usize] += 1;
        }
        for rank in [0, 1, 9, 99] {
            let expected = draws as f64 / zeta(1000) / (rank as f64 + 1.0).powf(THETA);
            let ratio = counts[rank] as f64 / expected;
            // The method is exact for ranks 0 and 1 and approximate beyond.
            let tolerance = if rank < 2 { 0.02 } else { 0.25 };
            assert!((ratio - 1.0).abs() < tolerance, "rank {rank}: {ratio}");
        }
    }

    #[test]
    fn the_tail_of_the_sum_is_close_to_the_sum() {
        let n = EXACT_TERMS * 2;
        let exact: f64 = (1..=n).map(|k| (k as f64).powf(-THETA)).sum();
        assert!((zeta(n) / exact - 1.0).abs() < 1e-8);
    }
}
