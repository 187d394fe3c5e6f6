//! Exact confidence limits of a proportion.

/// Clopper–Pearson limits of `hits` in `runs` that leave out `alpha` on each side.
pub(super) fn limits(hits: u32, runs: u32, alpha: f64) -> (f64, f64) {
    let low = match hits {
        0 => 0.0,
        // P(X ≥ hits) = alpha at the lower limit.
        hits => bisect(|p| 1.0 - at_most(hits - 1, runs, p) > alpha),
    };
    let high = if hits >= runs {
        1.0
    } else {
        bisect(|p| at_most(hits, runs, p) < alpha)
    };
    (low, high)
}

/// P(X ≤ k) of a binomial.
fn at_most(k: u32, n: u32, p: f64) -> f64 {
    let odds = (p / (1.0 - p)).ln();
    let mut log = f64::from(n) * (-p).ln_1p();
    let mut sum = log.exp();
    for i in 0..k {
        log += (f64::from(n - i) / f64::from(i + 1)).ln() + odds;
        sum += log.exp();
    }
    sum.min(1.0)
}

/// Where a condition that is false at 0 and true at 1 becomes true.
fn bisect(is_true: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if is_true(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_published_tables() {
        for (hits, runs, alpha, low, high) in [
            (0, 300, 0.025, 0.0, 0.012_22),
            (10, 100, 0.025, 0.049_00, 0.176_22),
            (5, 10, 0.025, 0.187_09, 0.812_91),
            (10, 10, 0.025, 0.691_50, 1.0),
        ] {
            let (l, h) = limits(hits, runs, alpha);
            assert!(
                (l - low).abs() < 1e-4 && (h - high).abs() < 1e-4,
                "{hits}/{runs}: {l} {h}"
            );
        }
    }
}
