//! Chain IDs (OCI image specification, config.md, "Layer ChainID").

use crate::digest::Digest;

/// Returns the chain ID of a layer on top of a chain; the first layer's chain ID is its diff ID.
pub fn extend(parent: Option<Digest>, diff_id: Digest) -> Digest {
    match parent {
        None => diff_id,
        Some(parent) => Digest::of(format!("{parent} {diff_id}").as_bytes()),
    }
}

/// Returns the chain ID of every layer, bottom first.
pub fn ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut top = None;
    diff_ids
        .iter()
        .map(|&diff_id| {
            let chain = extend(top, diff_id);
            top = Some(chain);
            chain
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_those_of_the_specification() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(ids(&[]), vec![]);
        assert_eq!(ids(&[a, b]), vec![a, Digest::of(format!("{a} {b}").as_bytes())]);
    }
}
