//! Sizes as Kubernetes writes them: a decimal number and a suffix, a quantity of `apimachinery/pkg/api/resource`.

/// The first size that is too large. The API server writes this for everything larger, so that it can mean anything.
const LIMIT_BYTES: u128 = (1 << 63) - 1;
/// The longest quantity that is read.
const MAX_TEXT_BYTES: usize = 64;
/// The most digits that are read; 10^24 of anything is absurd in any unit that is.
const MAX_DIGITS: usize = 24;

/// Why a size is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadSize {
    Unreadable,
    Zero,
    TooLarge,
}

/// Reads a size and returns it in bytes, rounded up.
pub(crate) fn bytes(quantity: &str) -> Result<u64, BadSize> {
    if quantity.len() > MAX_TEXT_BYTES {
        return Err(BadSize::Unreadable);
    }
    let unsigned = quantity.strip_prefix('+').unwrap_or(quantity);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || fraction.contains('.') {
        return Err(BadSize::Unreadable);
    }
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return scale(suffix).map_or(Err(BadSize::Unreadable), |_| Err(BadSize::Zero));
    }
    if significant.len() > MAX_DIGITS {
        return Err(BadSize::TooLarge);
    }
    let number: u128 = significant.parse().map_err(|_| BadSize::Unreadable)?;
    let places = i32::try_from(fraction.len()).map_err(|_| BadSize::Unreadable)?;
    let (factor, exponent) = scale(suffix).ok_or(BadSize::Unreadable)?;
    let scaled = number.checked_mul(factor).ok_or(BadSize::TooLarge)?;
    let bytes = times_power_of_ten(scaled, exponent - places).ok_or(BadSize::TooLarge)?;
    u64::try_from(bytes).ok().filter(|_| bytes < LIMIT_BYTES).ok_or(BadSize::TooLarge)
}

/// The factor and the power of ten of a suffix.
fn scale(suffix: &str) -> Option<(u128, i32)> {
    let binary = |power: u32| (1_u128 << (10 * power), 0);
    let decimal = |exponent: i32| (1, exponent);
    Some(match suffix {
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            decimal(exponent.clamp(-100, 100))
        }
    })
}

/// Returns `None` if it is too large; what is smaller than one is one.
fn times_power_of_ten(number: u128, exponent: i32) -> Option<u128> {
    let power = 10_u128.checked_pow(exponent.unsigned_abs());
    if exponent >= 0 {
        number.checked_mul(power?)
    } else {
        Some(power.map_or(1, |power| number.div_ceil(power)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (quantity, expected) in [
            ("1", 1),
            ("1Gi", 1 << 30),
            ("1.5Gi", 3 << 29),
            ("10M", 10_000_000),
            ("+5k", 5000),
            ("0.5", 1),
            ("1500m", 2),
            ("1n", 1),
            ("1e3", 1000),
            ("1E3", 1000),
            ("1E", 1_000_000_000_000_000_000),
            ("12e-1", 2),
            ("1e-99", 1),
            (".5Ki", 512),
            ("5.Ki", 5120),
            ("007", 7),
            ("7Ei", 7 << 60),
            ("9223372036854775806", (1 << 63) - 2),
        ] {
            assert_eq!(bytes(quantity), Ok(expected), "{quantity}");
        }
    }

    #[test]
    fn what_is_no_size_is_told_apart() {
        let (long, many) = ("1".repeat(MAX_TEXT_BYTES + 1), "1".repeat(MAX_TEXT_BYTES));
        for (quantity, expected) in [
            ("", BadSize::Unreadable),
            ("Gi", BadSize::Unreadable),
            (".", BadSize::Unreadable),
            ("-1Gi", BadSize::Unreadable),
            ("1 Gi", BadSize::Unreadable),
            ("1gi", BadSize::Unreadable),
            ("1K", BadSize::Unreadable),
            ("1e", BadSize::Unreadable),
            ("1e+", BadSize::Unreadable),
            ("1.2.3", BadSize::Unreadable),
            ("١", BadSize::Unreadable),
            ("0x10", BadSize::Unreadable),
            (&long, BadSize::Unreadable),
            ("0", BadSize::Zero),
            ("0Gi", BadSize::Zero),
            ("0.000", BadSize::Zero),
            ("8Ei", BadSize::TooLarge),
            ("7.99999999999999999999Ei", BadSize::TooLarge),
            ("9223372036854775807", BadSize::TooLarge),
            ("1e19", BadSize::TooLarge),
            ("1e99999999999", BadSize::Unreadable),
            ("1e99999", BadSize::TooLarge),
            ("1e100", BadSize::TooLarge),
            ("999999999999999999999999Ei", BadSize::TooLarge),
            (&many, BadSize::TooLarge),
        ] {
            assert_eq!(bytes(quantity), Err(expected), "{quantity}");
        }
    }
}
