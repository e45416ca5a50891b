//! The ports of `EXPOSE`: `[[IP:]HOST:]PORT[-PORT][/PROTOCOL]`, of which only the container's part counts.

use std::net::IpAddr;

use crate::error::{BuildError, Result};

/// Returns the ports that one word names, as `PORT/PROTOCOL`.
pub(super) fn ports(word: &str) -> Result<Vec<String>> {
    let wrong = |problem: String| BuildError::invalid(format!("EXPOSE {word}: {problem}"));
    let (ip, host, container) = split(word);
    let (container, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_lowercase() };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(wrong(format!("{protocol} is no protocol; tcp, udp and sctp are")));
    }
    let address = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if !ip.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(wrong(format!("{ip} is no address")));
    }
    let (first, last) = range(container).map_err(&wrong)?;
    if !host.is_empty() {
        let (host_first, host_last) = range(host).map_err(&wrong)?;
        if last - first != host_last - host_first && last != first {
            return Err(wrong("its two ranges are not of the same length".into()));
        }
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// Splits address, host port and container port; an IPv6 address has colons of its own.
fn split(word: &str) -> (&str, &str, &str) {
    let Some((rest, container)) = word.rsplit_once(':') else { return ("", "", word) };
    match rest.rsplit_once(':') {
        Some((ip, host)) => (ip, host, container),
        None => ("", rest, container),
    }
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("{text:?} is no port from 0 to 65535"));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number(first)?, number(last)?) {
        (first, last) if first <= last => Ok((first, last)),
        _ => Err(format!("the range {text} ends before it begins")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_listed_one_by_one() {
        for (word, expected) in [
            ("80", "80/tcp"),
            ("53/UDP", "53/udp"),
            ("80/", "80/tcp"),
            ("8000-8002", "8000/tcp 8001/tcp 8002/tcp"),
            ("8080:80", "80/tcp"),
            ("127.0.0.1:8080:80/tcp", "80/tcp"),
            ("[::1]:8080:80", "80/tcp"),
            ("8000-8010:80", "80/tcp"),
            ("0", "0/tcp"),
        ] {
            assert_eq!(ports(word).unwrap().join(" "), expected, "{word}");
        }
        for bad in ["", "http", "65536", "80/icmp", "3-1", "x:80", "1-2:80-90", "1.2.3:1:80", "80-", "-80"] {
            assert!(ports(bad).is_err(), "{bad}");
        }
    }
}
