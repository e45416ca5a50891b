//! Versions of containerd (pure).

use std::fmt;

/// A version; what follows the three numbers says nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) patch: u32,
}

impl Version {
    /// The oldest that serves CRI v1 as kubelets and crictl ask for it.
    pub(crate) const OLDEST: Self = Self::new(1, 6, 0);

    pub(crate) const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads what `containerd --version` prints: `containerd github.com/containerd/containerd 1.6.20~ds1 …`,
    /// `containerd containerd.io v2.1.0 …`.
    pub(crate) fn parse(said: &str) -> Option<Self> {
        let word = said.split_whitespace().nth(2)?;
        let mut numbers = word.strip_prefix('v').unwrap_or(word).splitn(3, '.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().ok()
        });
        Some(Self::new(numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    }

    /// Tells whether a proxy snapshotter can say that it maps user IDs and where its files are.
    pub(crate) fn knows_proxy_capabilities(self) -> bool {
        self >= Self::new(1, 7, 23)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_they_are_printed() {
        for (said, expected) in [
            ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", Some((1, 6, 20))),
            ("containerd github.com/containerd/containerd/v2 v2.3.7 \n", Some((2, 3, 7))),
            ("containerd containerd.io 1.7.28 b98a3aace656320842a23f4a392a33f46af97866", Some((1, 7, 28))),
            ("containerd github.com/containerd/containerd/v2 v2.1.0-rc.1 abc", Some((2, 1, 0))),
            ("containerd github.com/containerd/containerd 1.7.35+unknown", Some((1, 7, 35))),
            ("containerd github.com/containerd/containerd 2.2 x", Some((2, 2, 0))),
            ("containerd github.com/containerd/containerd devel", None),
            ("containerd", None),
            ("", None),
        ] {
            let expected = expected.map(|(major, minor, patch)| Version::new(major, minor, patch));
            assert_eq!(Version::parse(said), expected, "{said}");
        }
    }

    #[test]
    fn what_versions_know() {
        for (version, expected) in [
            ((1, 6, 39), false),
            ((1, 7, 22), false),
            ((1, 7, 23), true),
            ((1, 7, 100), true),
            ((2, 0, 0), true),
        ] {
            let version = Version::new(version.0, version.1, version.2);
            assert_eq!(version.knows_proxy_capabilities(), expected, "{version}");
        }
        assert!(Version::new(1, 5, 99) < Version::OLDEST && Version::new(1, 6, 0) >= Version::OLDEST);
    }
}
