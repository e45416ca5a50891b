//! What an entry is made from, and the name that follows from it. Pure.

use ring::digest;

use crate::component::debian;
use crate::component::known::{Known, Place};
use crate::component::manifest::hex;

/// Changed when entries are made in another way that nothing below shows.
const FORMAT: u32 = 1;
/// How many digits of the hash are in a name: enough for recipes that nobody chooses to collide.
const DIGITS: usize = 16;

/// Returns the name of the entry that is built for a version: the same for the same recipe.
pub(crate) fn key(known: &Known) -> String {
    name(known.version, &text(known))
}

fn name(version: &str, recipe: &str) -> String {
    let hash = hex(digest::digest(&digest::SHA256, recipe.as_bytes()).as_ref());
    format!("{version}-{}", &hash[..DIGITS])
}

/// Writes down all that the result depends on, but for the versions of Go and of Debian's packages.
fn text(known: &Known) -> String {
    let mut text = format!("format {FORMAT} {}\nroot {}\n", std::env::consts::ARCH, debian::RECIPE);
    for module in known.modules() {
        text.push_str(&format!("module {} {}\n", module.name, known.linker_flags(module)));
        for program in module.programs {
            let place = match program.place {
                Place::Node => "bin",
                Place::Image(directory) => directory,
            };
            text.push_str(&format!("program {} {} {place}\n", program.name, program.package));
        }
        for (name, content) in module.files {
            // With its length, no content can pass for what follows it.
            text.push_str(&format!("file {name} {}\n{content}\n", content.len()));
        }
    }
    for image in known.recipes() {
        text.push_str(&format!("image {} {}\n{}\n", image.name, image.context, image.dockerfile));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::known::find;

    #[test]
    fn a_key_is_the_version_and_a_hash_of_the_recipe() {
        assert_eq!(name("v1.2.3", "abc"), "v1.2.3-ba7816bf8f01cfea");
        let keys: Vec<String> =
            ["v1.36.3", "v1.36.1"].map(|version| key(find(version).unwrap())).into_iter().collect();
        assert!(keys[0].starts_with("v1.36.3-") && keys[1].starts_with("v1.36.1-"), "{keys:?}");
        assert_ne!(keys[0][8..], keys[1][8..]);
    }

    #[test]
    fn everything_that_matters_is_in_the_recipe() {
        let text = text(find("v1.36.3").unwrap());
        for part in [
            std::env::consts::ARCH,
            "require k8s.io/kubernetes v1.36.3",
            "go.etcd.io/etcd/server/v3 v3.6.8 h1:",
            "gitVersion=v1.36.3",
            "program crictl sigs.k8s.io/cri-tools/cmd/crictl bin\n",
            "image registry.k8s.io/coredns/coredns:v1.14.2 images/coredns\n",
            "COPY root/ /",
            "conntrack",
        ] {
            assert!(text.contains(part), "{part}");
        }
    }
}
