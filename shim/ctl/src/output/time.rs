//! Points in time as docker prints them: relative in tables, absolute for programs.

use jiff::Timestamp;
use jiff::tz::TimeZone;

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 60 * MINUTE_S;
const DAY_H: i64 = 24;
const WEEK_H: i64 = 7 * DAY_H;
const MONTH_H: i64 = 30 * DAY_H;
const YEAR_H: i64 = 365 * DAY_H;

/// Reads a time of the wire; one that no calendar has is none.
pub(crate) fn from_wire(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// Writes how long ago a time was: `2 hours ago`; `N/A` for none.
pub(crate) fn ago(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(
        || "N/A".to_owned(),
        |time| format!("{} ago", approximate(now.as_second() - time.as_second())),
    )
}

/// Writes a number of seconds in words, roughly, with docker's thresholds.
fn approximate(seconds: i64) -> String {
    let minutes = seconds / MINUTE_S;
    let hours = (seconds + HOUR_S / 2) / HOUR_S;
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..MINUTE_S => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 2 * DAY_H => format!("{hours} hours"),
        _ if hours < 2 * WEEK_H => format!("{} days", hours / DAY_H),
        _ if hours < 2 * MONTH_H => format!("{} weeks", hours / WEEK_H),
        _ if hours < 2 * YEAR_H => format!("{} months", hours / MONTH_H),
        _ => format!("{} years", seconds / HOUR_S / YEAR_H),
    }
}

/// Writes a time as Go does by default, which docker's JSON has: `2026-01-02 03:04:05 +0000 UTC`; empty for none.
pub(crate) fn absolute(time: Option<Timestamp>, zone: &TimeZone) -> String {
    time.map(|time| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string())
        .unwrap_or_default()
}

/// Writes a time of RFC 3339 in seconds: `2026-01-02T03:04:05Z`; empty for none.
pub(crate) fn rfc3339(time: Option<Timestamp>) -> String {
    time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default()
}

/// Returns the zone of this machine, or of `TZ`.
pub(crate) fn zone() -> TimeZone {
    TimeZone::system()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let (hour, day) = (HOUR_S, DAY_H * HOUR_S);
        let rows = [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (hour - 1, "59 minutes"),
            (hour, "About an hour"),
            (hour + hour / 2, "2 hours"),
            (47 * hour, "47 hours"),
            (2 * day, "2 days"),
            (13 * day, "13 days"),
            (14 * day, "2 weeks"),
            (59 * day, "8 weeks"),
            (60 * day, "2 months"),
            (729 * day, "24 months"),
            (730 * day, "2 years"),
        ];
        for (seconds, expected) in rows {
            assert_eq!(approximate(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn points() {
        let time: Timestamp = "2026-01-02T03:04:05.5Z".parse().unwrap();
        let now = Timestamp::from_second(time.as_second() + 7300).unwrap();
        assert_eq!(ago(Some(time), now), "2 hours ago");
        assert_eq!(ago(None, now), "N/A");
        assert_eq!(absolute(Some(time), &TimeZone::UTC), "2026-01-02 03:04:05 +0000 UTC");
        let east = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(absolute(Some(time), &east), "2026-01-02 05:04:05 +0200 +02");
        assert_eq!(absolute(None, &TimeZone::UTC), "");
        assert_eq!(rfc3339(Some(time)), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn the_wire() {
        let wire = |seconds, nanos| from_wire(Some(&prost_types::Timestamp { seconds, nanos }));
        assert_eq!(wire(0, 0), Some(Timestamp::UNIX_EPOCH));
        assert_eq!(wire(i64::MAX, 0), None);
        assert_eq!(wire(1, i32::MAX), None);
        assert_eq!(from_wire(None), None);
    }
}
