//! Numbers as the original printed them.

/// One decimal as JavaScript's `toFixed(1)`: ties of the exact double go away from zero, where Rust
/// rounds them to even. Only numbers that end in .25 or .75 are ties, and .75 goes up either way.
pub(super) fn one_decimal(value: f64) -> String {
    if value.is_infinite() {
        return number(value);
    }
    let is_tie = value.fract().abs() == 0.25;
    let nudge = if is_tie { 0.05 * value.signum() } else { 0.0 };
    format!("{:.1}", value + nudge)
}

/// As JavaScript prints it: integral numbers without a point.
pub(super) fn number(value: f64) -> String {
    if value.is_infinite() {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}Infinity");
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_decimal_rounds_as_javascript_does() {
        for (number, text) in [
            (1.25, "1.3"),
            (1.05, "1.1"),
            (1.15, "1.1"),
            (1.35, "1.4"),
            (2.75, "2.8"),
            (-1.25, "-1.3"),
            (5.25, "5.3"),
            (25.0, "25.0"),
            (0.0, "0.0"),
            (99.95, "100.0"),
            (16.666666666666664, "16.7"),
            (f64::INFINITY, "Infinity"),
        ] {
            assert_eq!(one_decimal(number), text);
        }
    }
}
