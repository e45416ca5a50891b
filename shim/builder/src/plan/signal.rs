//! Signals that `STOPSIGNAL` may name.

/// Linux's signals, without `SIG`, by number from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// Other names of signals above.
const ALIASES: [&str; 4] = ["IOT", "CLD", "POLL", "UNUSED"];

/// Tells whether a text is a signal: a number other than 0, or a name with or without `SIG`.
pub(super) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.contains(&name) || ALIASES.contains(&name) || is_realtime(name)
}

/// `RTMIN`, `RTMIN+1` … `RTMIN+15`, `RTMAX-14` … `RTMAX`.
fn is_realtime(name: &str) -> bool {
    let offset = |sign: &str, base: &str, last: u32| {
        let rest = name.strip_prefix(base)?;
        let number = rest.strip_prefix(sign).and_then(|number| number.parse::<u32>().ok());
        Some(rest.is_empty() || number.is_some_and(|number| (1..=last).contains(&number)))
    };
    offset("+", "RTMIN", 15).or_else(|| offset("-", "RTMAX", 14)).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_names_or_numbers() {
        for good in ["SIGTERM", "term", "9", "SIGRTMIN", "RTMIN+3", "SIGRTMAX-14", "SIGIOT", "-1"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["", "0", "SIGNOPE", "RTMIN+16", "RTMAX+1", "RTMINx", "SIG"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
