use std::time::Duration;

use super::error::Fault;
use super::flags::{Flags, Kind, Known};
use super::instruction::{Command, Healthcheck, HealthcheckSettings};
use super::keyword::Keyword;
use super::parse::Statement;
use super::words::{self, Arguments};

const HEALTHCHECK_FLAGS: Known = &[
    ("interval", Kind::Text),
    ("timeout", Kind::Text),
    ("start-period", Kind::Text),
    ("start-interval", Kind::Text),
    ("retries", Kind::Text),
];

/// Shortest time that is not zero.
const MIN_DURATION: Duration = Duration::from_millis(1);

/// The units of a duration, in nanoseconds. The micro sign has two code points.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Most decimal places of a duration that count.
const MAX_DECIMALS: usize = 18;

/// Types a `HEALTHCHECK`.
pub(super) fn healthcheck(statement: &Statement) -> Result<Healthcheck, Fault> {
    let Arguments::Text(text) = &statement.arguments else { return Err(missing()) };
    let (kind, rest) = words::healthcheck(text);
    match kind.to_uppercase().as_str() {
        "" => Err(missing()),
        "NONE" if rest.is_empty() => Ok(Healthcheck::None),
        "NONE" => Err(Fault::new("HEALTHCHECK NONE takes no arguments")),
        "CMD" => settings(statement, rest).map(Healthcheck::Check),
        other => Err(Fault::new(format!("HEALTHCHECK has no type {other}")).with_hint("write CMD or NONE")),
    }
}

fn missing() -> Fault {
    Fault::new("HEALTHCHECK requires at least one argument")
}

fn settings(statement: &Statement, command: &str) -> Result<HealthcheckSettings, Fault> {
    let flags = Flags::read(Keyword::Healthcheck, &statement.flags, HEALTHCHECK_FLAGS)?;
    let command = match words::json(Keyword::Healthcheck, command)? {
        Some(arguments) => Command::Exec(arguments),
        None => Command::Shell(command.to_owned()),
    };
    if command == Command::Exec(Vec::new()) || command == Command::Shell(String::new()) {
        return Err(Fault::new("HEALTHCHECK CMD requires a command"));
    }
    Ok(HealthcheckSettings {
        command,
        interval: duration(&flags, "interval")?,
        timeout: duration(&flags, "timeout")?,
        start_period: duration(&flags, "start-period")?,
        start_interval: duration(&flags, "start-interval")?,
        retries: retries(&flags)?,
    })
}

fn retries(flags: &Flags) -> Result<u32, Fault> {
    let Some(text) = flags.filled("retries") else { return Ok(0) };
    let number = text.parse::<i32>().ok().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| Fault::new(format!("HEALTHCHECK: --retries is a number from 0, not {text:?}")))
}

fn duration(flags: &Flags, name: &str) -> Result<Duration, Fault> {
    let Some(text) = flags.filled(name) else { return Ok(Duration::ZERO) };
    let wrong = || {
        Fault::new(format!("HEALTHCHECK: --{name} is not a duration: {text}"))
            .with_hint("for example 30s or 1m30s")
    };
    let duration = parse_duration(&text).ok_or_else(wrong)?;
    if !duration.is_zero() && duration < MIN_DURATION {
        return Err(Fault::new(format!("HEALTHCHECK: --{name} is less than {MIN_DURATION:?}")));
    }
    Ok(duration)
}

/// Reads a duration as the reference implementation writes them (Go's `time.ParseDuration`): numbers with units,
/// such as `1h30m` or `1.5s`; a bare zero needs none. Only a zero may be negative.
fn parse_duration(text: &str) -> Option<Duration> {
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanoseconds: u128 = 0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|char: char| !is_number(char))?);
        let (unit, tail) = tail.split_at(tail.find(is_number).unwrap_or(tail.len()));
        let factor = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        nanoseconds = nanoseconds.checked_add(scaled(number, factor)?)?;
        rest = tail;
    }
    let nanoseconds = u64::try_from(i64::try_from(nanoseconds).ok()?).ok()?;
    (!negative || nanoseconds == 0).then(|| Duration::from_nanos(nanoseconds))
}

const fn is_number(char: char) -> bool {
    char.is_ascii_digit() || char == '.'
}

/// Multiplies a decimal number by a unit.
fn scaled(number: &str, factor: u128) -> Option<u128> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && decimals.is_empty() || decimals.contains('.') {
        return None;
    }
    let digits =
        |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok().map(u128::from) };
    let decimals = &decimals[..decimals.len().min(MAX_DECIMALS)];
    let scale = 10_u128.pow(u32::try_from(decimals.len()).ok()?);
    Some(digits(whole)?.checked_mul(factor)? + digits(decimals)? * factor / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        let rows: &[(&str, Option<u64>)] = &[
            ("30s", Some(30_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1h", Some(3_600_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            (".5ms", Some(500_000)),
            ("1.s", Some(1_000_000_000)),
            ("2us3ns", Some(2_003)),
            ("1\u{b5}s", Some(1_000)),
            ("+5s", Some(5_000_000_000)),
            ("0", Some(0)),
            ("-0", Some(0)),
            ("0s", Some(0)),
            ("-5s", None),
            ("", None),
            ("5", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("1 s", None),
            ("5x", None),
            ("3000000h", None),
            ("99999999999999999999s", None),
            ("1.0000000000000000000000001s", Some(1_000_000_000)),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_duration(text), expected.map(Duration::from_nanos), "{text}");
        }
    }
}
