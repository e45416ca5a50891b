//! One marked line of `/etc/hosts`: everything else of the file is kept byte for byte (pure).

use std::net::Ipv4Addr;

/// The name of the API server's address.
pub(crate) const NAME: &str = "kubernetes.docker.internal";
/// Where the machine has the API server.
const ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// What tells our line from those of others. A comment: whoever reads the file for its names ignores it.
const MARK: &str = "# shim";

fn line() -> String {
    format!("{ADDRESS} {NAME} {MARK}")
}

/// Returns the file with our line in it, once; `None` if it is as it should be already.
pub(crate) fn with_line(text: &[u8]) -> Option<Vec<u8>> {
    let is_complete = |line: &[u8]| line == self::line().as_bytes();
    if lines(text).filter(|line| is_ours(line)).map(|line| is_complete(trimmed(line))).eq([true]) {
        return None;
    }
    let mut changed = without_line(text).unwrap_or_else(|| text.to_vec());
    if changed.last().is_some_and(|last| *last != b'\n') {
        // Our line ends where the file ended, without a line's end, so that both can be taken back.
        changed.push(b'\n');
        changed.extend(line().into_bytes());
    } else {
        changed.extend(line().into_bytes());
        changed.push(b'\n');
    }
    Some(changed)
}

/// Returns the file without our line; `None` if it has none.
pub(crate) fn without_line(text: &[u8]) -> Option<Vec<u8>> {
    if !lines(text).any(is_ours) {
        return None;
    }
    let mut kept: Vec<u8> = lines(text).filter(|line| !is_ours(line)).flatten().copied().collect();
    let was_unended = lines(text).last().is_some_and(|last| is_ours(last) && !last.ends_with(b"\n"));
    if was_unended && kept.last() == Some(&b'\n') {
        kept.pop();
    }
    Some(kept)
}

/// Returns the line of somebody else's that gives the name another address; the first one counts.
pub(crate) fn conflict(text: &[u8]) -> Option<String> {
    let is_other = |line: &&[u8]| {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next();
        !is_ours(line)
            && address.is_some_and(|address| address != ADDRESS.to_string())
            && words.any(|name| name.eq_ignore_ascii_case(NAME))
    };
    lines(text).find(is_other).map(|line| String::from_utf8_lossy(trimmed(line)).into_owned())
}

/// Splits a file into lines, each with its end.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.trim_ascii_end()
}

/// Tells whether a line has our name and our mark.
fn is_ours(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    text.trim_end().ends_with(MARK) && text.split_whitespace().nth(1) == Some(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "127.0.0.1 kubernetes.docker.internal # shim";

    #[test]
    fn the_line_comes_and_goes_and_the_rest_stays() {
        for (before, after) in [
            ("127.0.0.1 localhost\n", format!("127.0.0.1 localhost\n{LINE}\n")),
            ("127.0.0.1 localhost", format!("127.0.0.1 localhost\n{LINE}")),
            ("", format!("{LINE}\n")),
            ("\n\n", format!("\n\n{LINE}\n")),
            ("# x\r\n127.0.0.1\tlocalhost\r\n", format!("# x\r\n127.0.0.1\tlocalhost\r\n{LINE}\n")),
            ("1.2.3.4 x # shim\n", format!("1.2.3.4 x # shim\n{LINE}\n")),
        ] {
            let with = with_line(before.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(with.clone()).unwrap(), after);
            assert_eq!(with_line(&with), None);
            assert_eq!(without_line(&with).unwrap(), before.as_bytes());
            assert_eq!(without_line(before.as_bytes()), None);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let before = b"127.0.0.1 localhost # \xff\xfe\n\0";
        let with = with_line(before).unwrap();
        assert!(with.starts_with(before));
        assert_eq!(without_line(&with).unwrap(), before);
    }

    #[test]
    fn old_lines_of_ours_are_replaced_and_moved_lines_are_found() {
        let old = "10.0.0.1 kubernetes.docker.internal # shim\n::1 localhost\n";
        assert_eq!(with_line(old.as_bytes()).unwrap(), format!("::1 localhost\n{LINE}\n").as_bytes());
        let twice = format!("{LINE}\n::1 localhost\n{LINE}\n");
        assert_eq!(with_line(twice.as_bytes()).unwrap(), format!("::1 localhost\n{LINE}\n").as_bytes());
        let moved = format!("{LINE}\n::1 localhost");
        assert_eq!(with_line(moved.as_bytes()), None);
        assert_eq!(without_line(moved.as_bytes()).unwrap(), b"::1 localhost");
    }

    #[test]
    fn lines_of_others() {
        for (text, expected) in [
            ("192.168.65.3 kubernetes.docker.internal\n", Some("192.168.65.3 kubernetes.docker.internal")),
            (
                "10.0.0.1 a Kubernetes.Docker.Internal # Docker\r\n",
                Some("10.0.0.1 a Kubernetes.Docker.Internal # Docker"),
            ),
            // What Docker Desktop writes; it says the same.
            ("# Added by Docker Desktop\n127.0.0.1 kubernetes.docker.internal\n# End of section\n", None),
            ("# 10.0.0.1 kubernetes.docker.internal\n", None),
            ("10.0.0.1 kubernetes.docker.internal.example\n", None),
            ("10.0.0.1 kubernetes.docker.internal # shim\n", None),
            ("", None),
        ] {
            assert_eq!(conflict(text.as_bytes()).as_deref(), expected, "{text}");
        }
    }
}
