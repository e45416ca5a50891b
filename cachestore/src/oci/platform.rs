//! Which manifest of an index is this machine's.

use oci_spec::image::{Descriptor, Platform};

/// Go's names for an operating system, an architecture and its variant, as image documents use them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64` …
    pub architecture: String,
    /// `v8`, `v7` …; empty where the architecture has none.
    pub variant: String,
}

impl Target {
    /// Returns the platform that this program was compiled for.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "x86" => ("386", ""),
            "powerpc64" => ("ppc64le", ""),
            other => (other, ""),
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.into() }
    }

    /// Returns `os/architecture[/variant]`; arm64's one variant is left out, as docker does.
    pub fn name(&self) -> String {
        match (self.architecture.as_str(), self.variant.as_str()) {
            (_, "") | ("arm64", "v8") => format!("{}/{}", self.os, self.architecture),
            (architecture, variant) => format!("{}/{architecture}/{variant}", self.os),
        }
    }

    /// Tells how well a platform fits: `None` if programs for it do not run here, otherwise the smaller the better.
    fn distance(&self, platform: &Platform) -> Option<u32> {
        if platform.os().to_string() != self.os || platform.architecture().to_string() != self.architecture {
            return None;
        }
        let wanted = variant_number(&self.architecture, &self.variant);
        let offered = variant_number(&self.architecture, platform.variant().as_deref().unwrap_or_default());
        wanted.checked_sub(offered)
    }

    /// Chooses this platform's manifest: the best fit, and the first among equals.
    ///
    /// A descriptor without a platform serves when nothing else does.
    pub fn choose<'a>(&self, manifests: &'a [Descriptor]) -> Option<&'a Descriptor> {
        let fitting = manifests.iter().filter_map(|descriptor| {
            let distance = self.distance(descriptor.platform().as_ref()?)?;
            Some((distance, descriptor))
        });
        fitting
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, descriptor)| descriptor)
            .or_else(|| manifests.iter().find(|descriptor| descriptor.platform().is_none()))
    }
}

/// A newer processor runs what was compiled for an older one of the same architecture.
fn variant_number(architecture: &str, variant: &str) -> u32 {
    match variant.strip_prefix('v').and_then(|number| number.parse().ok()) {
        Some(number) => number,
        None if architecture == "arm64" => 8,
        None if architecture == "arm" => 7,
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptors(platforms: &[&str]) -> Vec<Descriptor> {
        platforms
            .iter()
            .enumerate()
            .map(|(number, platform)| {
                let mut parts = platform.split('/');
                let mut field = |name: &str| parts.next().map(|value| format!(r#""{name}":"{value}""#));
                let fields: Vec<_> = ["os", "architecture", "variant"].into_iter().filter_map(&mut field).collect();
                let platform = match *platform {
                    "" => String::new(),
                    _ => format!(r#","platform":{{{}}}"#, fields.join(",")),
                };
                let json = format!(
                    r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":{number},"digest":"sha256:{}"{platform}}}"#,
                    "0".repeat(64)
                );
                serde_json::from_str(&json).unwrap()
            })
            .collect()
    }

    #[test]
    fn the_best_fit_is_chosen() {
        let target = |os: &str, architecture: &str, variant: &str| Target {
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.into(),
        };
        let amd64 = target("linux", "amd64", "");
        let arm = target("linux", "arm", "v7");
        for (target, offered, expected) in [
            (&amd64, &["linux/arm64", "linux/amd64", "unknown/unknown"][..], Some(1)),
            (&amd64, &["linux/amd64/v3", "linux/amd64"], Some(1)),
            (&amd64, &["linux/arm64"], None),
            (&amd64, &["windows/amd64", ""], Some(1)),
            (&amd64, &[], None),
            (&arm, &["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], Some(1)),
            (&target("linux", "arm64", "v8"), &["linux/arm64/v8"], Some(0)),
        ] {
            let descriptors = descriptors(offered);
            let chosen = target.choose(&descriptors).map(Descriptor::size);
            assert_eq!(chosen, expected, "{target:?} {offered:?}");
        }
    }
}
