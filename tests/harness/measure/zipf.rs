//! Which tenant is asked, where a few are asked often and most of them seldom.

/// A distribution where the n-th is asked 1/n as often as the first.
#[derive(Debug, Clone)]
pub struct Zipf {
    up_to: Vec<f64>,
    random: u64,
}

impl Zipf {
    /// Over so many, with exponent 1.
    pub fn new(count: usize) -> Self {
        let mut sum = 0.0;
        let mut up_to: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        for share in &mut up_to {
            *share /= sum;
        }
        Self {
            up_to,
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// The place of the next.
    pub(super) fn next(&mut self) -> usize {
        // xorshift64*: the same sequence in every run.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let bits = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        let share = bits as f64 / (1_u64 << 53) as f64;
        self.up_to
            .partition_point(|up_to| *up_to < share)
            .min(self.up_to.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_zipf_comes_twice_as_often_as_the_second() {
        let mut zipf = Zipf::new(1000);
        let mut counts = vec![0_u32; 1000];
        for _ in 0..200_000 {
            counts[zipf.next()] += 1;
        }
        let ratio = f64::from(counts[0]) / f64::from(counts[1]);
        assert!((1.8..2.2).contains(&ratio), "{ratio}");
        assert!(counts[999] > 0);
    }
}
