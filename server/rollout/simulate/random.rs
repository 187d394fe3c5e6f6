//! Random numbers of simulations: the same seed gives the same campaign on every machine and with
//! every version of every crate, so that a published figure can be had again.

/// SplitMix64 (Steele, Lea & Flood 2014).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// A stream of its own for each (seed, cell, run).
    pub(super) fn new(seed: u64, cell: u64, run: u64) -> Self {
        let mut random = Self(seed);
        for part in [cell, run] {
            random = Self(random.next() ^ part.wrapping_mul(0xd1b5_4a32_d192_ed03));
        }
        random
    }

    /// Any 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform, more than 0 and less than 1.
    pub(super) fn unit(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// Whether something of this probability happens.
    pub(super) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform below `end`, which is more than 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        ((self.unit() * end as f64) as usize).min(end.saturating_sub(1))
    }

    /// Exponential with mean 1.
    pub(super) fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// Standard normal (Box–Muller).
    pub(super) fn normal(&mut self) -> f64 {
        (2.0 * self.exponential()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Beta (Jöhnk), good for a small `a`.
    pub(super) fn beta(&mut self, a: f64, b: f64) -> f64 {
        loop {
            let (x, y) = (self.unit().powf(1.0 / a), self.unit().powf(1.0 / b));
            if x + y <= 1.0 && x + y > 0.0 {
                return x / (x + y);
            }
        }
    }

    /// Poisson, by counting arrivals; the normal one beyond a mean of 50.
    pub(super) fn poisson(&mut self, mean: f64) -> u32 {
        if mean > 50.0 {
            return (mean + mean.sqrt() * self.normal()).max(0.0).round() as u32;
        }
        let mut count = 0;
        let mut time = self.exponential();
        while time < mean {
            count += 1;
            time += self.exponential();
        }
        count
    }
}
