//! Sizes as docker prints them: base 10, a few significant digits, no blank before the unit.

const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// Writes a size with three significant digits, as in `docker images`: `12.3MB`.
pub(crate) fn short(bytes: u64) -> String {
    significant(bytes, 3)
}

/// Writes a size with four significant digits, as in `docker system df`: `12.35MB`.
pub(crate) fn long(bytes: u64) -> String {
    significant(bytes, 4)
}

/// Writes a size with two decimals, as in the progress of `docker build`: `12.35MB`.
pub(crate) fn decimals(bytes: u64) -> String {
    let (value, unit) = scale(bytes, |value| (value * 100.0).round() >= 100_000.0);
    if unit == 0 { format!("{bytes}B") } else { format!("{value:.2}{}", UNITS[unit]) }
}

/// Writes a size so. Docker's own code prints `1e+03kB` where rounding reaches the next unit; here that is `1MB`.
fn significant(bytes: u64, digits: u32) -> String {
    let decimals = |value: f64| if value >= 100.0 { 2 } else { u32::from(value >= 10.0) };
    let places = |value: f64| digits.saturating_sub(1 + decimals(value));
    let rounded = |value: f64| {
        let factor = f64::from(10_u32.pow(places(value)));
        (value * factor).round() / factor
    };
    let (value, unit) = scale(bytes, |value| rounded(value) >= 1000.0);
    let text = format!("{:.*}", places(value) as usize, value);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

/// Divides by 1000 for as long as the value would be written with four digits before the point.
fn scale(bytes: u64, too_large: impl Fn(f64) -> bool) -> (f64, usize) {
    #[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while unit + 1 < UNITS.len() && (value >= 1000.0 || unit > 0 && too_large(value)) {
        value /= 1000.0;
        unit += 1;
    }
    (value, unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let rows: [(u64, &str, &str, &str); 14] = [
            (0, "0B", "0B", "0B"),
            (7, "7B", "7B", "7B"),
            (999, "999B", "999B", "999B"),
            (1000, "1kB", "1kB", "1.00kB"),
            (1999, "2kB", "1.999kB", "2.00kB"),
            (12_345, "12.3kB", "12.35kB", "12.35kB"),
            (999_499, "999kB", "999.5kB", "999.50kB"),
            (999_990, "1MB", "1MB", "999.99kB"),
            (999_999, "1MB", "1MB", "1.00MB"),
            (1_940_000, "1.94MB", "1.94MB", "1.94MB"),
            (12_345_678, "12.3MB", "12.35MB", "12.35MB"),
            (100_000_000, "100MB", "100MB", "100.00MB"),
            (7_000_000_000_000, "7TB", "7TB", "7.00TB"),
            (u64::MAX, "18.4EB", "18.45EB", "18.45EB"),
        ];
        for (bytes, three, four, two) in rows {
            assert_eq!(
                (short(bytes).as_str(), long(bytes).as_str(), decimals(bytes).as_str()),
                (three, four, two)
            );
        }
    }
}
