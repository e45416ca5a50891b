//! Reachability. Pure: records in, what is needed out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::CachePolicy;
use crate::digest::Digest;

/// A layer, as far as collection is concerned.
#[derive(Clone, Debug)]
pub(crate) struct LayerNode {
    /// Whether a build would find it again.
    pub(crate) is_cache: bool,
    pub(crate) used_at: i64,
    pub(crate) disk_size: u64,
}

/// Every record that refers to another one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    pub(crate) layers: BTreeMap<i64, LayerNode>,
    /// Parent and layer of each chain.
    pub(crate) chains: HashMap<Digest, (Option<Digest>, i64)>,
    /// Chains of images, of snapshots, and those that containerd has registered.
    pub(crate) needed_chains: BTreeSet<Digest>,
    /// Layers that leases protect.
    pub(crate) leased_layers: BTreeSet<i64>,
    /// Documents, and those of them that images need.
    pub(crate) blobs: BTreeSet<Digest>,
    pub(crate) needed_blobs: BTreeSet<Digest>,
}

/// What nothing needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Garbage {
    pub(crate) chains: BTreeSet<Digest>,
    pub(crate) layers: BTreeSet<i64>,
    pub(crate) blobs: BTreeSet<Digest>,
}

impl Graph {
    /// Finds what nothing needs at this time (nanoseconds since 1970).
    pub(crate) fn garbage(&self, policy: CachePolicy, now: i64) -> Garbage {
        let chains = self.live_chains();
        let mut live: BTreeSet<i64> = self.leased_layers.clone();
        live.extend(chains.iter().filter_map(|chain| Some(self.chains.get(chain)?.1)));
        self.keep_cache(&mut live, policy, now);
        let dead = |layer: &i64| !live.contains(layer);
        Garbage {
            chains: self.chains.keys().filter(|chain| !chains.contains(chain)).copied().collect(),
            layers: self.layers.keys().copied().filter(dead).collect(),
            blobs: self.blobs.difference(&self.needed_blobs).copied().collect(),
        }
    }

    /// Chains that are needed, and everything below them.
    fn live_chains(&self) -> BTreeSet<Digest> {
        let mut live = BTreeSet::new();
        for chain in &self.needed_chains {
            let mut next = Some(*chain);
            while let Some(chain) = next.filter(|chain| live.insert(*chain)) {
                next = self.chains.get(&chain).and_then(|(parent, _)| *parent);
            }
        }
        live
    }

    /// Adds the layers of the build cache that the policy keeps, the most recently used first.
    fn keep_cache(&self, live: &mut BTreeSet<i64>, policy: CachePolicy, now: i64) {
        let mut cache: Vec<_> =
            self.layers.iter().filter(|(id, layer)| layer.is_cache && !live.contains(id)).collect();
        cache.sort_by_key(|(id, layer)| (std::cmp::Reverse(layer.used_at), **id));
        let mut bytes: u64 = 0;
        for (id, layer) in cache {
            bytes = bytes.saturating_add(layer.disk_size);
            let unused = Duration::from_nanos(now.saturating_sub(layer.used_at).max(0).unsigned_abs());
            if bytes > policy.keep_bytes || unused >= policy.keep_used_within {
                return;
            }
            live.insert(*id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    /// Layers 1 to 6; chains a=1, ab=1+2, ac=1+3; layers 4 and 5 are cache, used at 10 and 20; 6 is nobody's.
    fn graph() -> Graph {
        let layer = |is_cache, used_at| LayerNode { is_cache, used_at, disk_size: 100 };
        Graph {
            layers: (1..=6)
                .map(|id| (id, layer(id == 4 || id == 5, if id == 5 { 20 } else { 10 })))
                .collect(),
            chains: HashMap::from([
                (digest("a"), (None, 1)),
                (digest("ab"), (Some(digest("a")), 2)),
                (digest("ac"), (Some(digest("a")), 3)),
            ]),
            blobs: [digest("config"), digest("old")].into(),
            needed_blobs: [digest("config")].into(),
            ..Graph::default()
        }
    }

    fn layers(garbage: &Garbage) -> Vec<i64> {
        garbage.layers.iter().copied().collect()
    }

    #[test]
    fn what_is_needed_stays_with_all_below_it() {
        let mut graph = graph();
        graph.needed_chains = [digest("ab")].into();
        let garbage = graph.garbage(CachePolicy::DROP_ALL, 100);
        assert_eq!(layers(&garbage), [3, 4, 5, 6]);
        assert_eq!(garbage.chains, [digest("ac")].into());
        assert_eq!(garbage.blobs, [digest("old")].into());
        graph.leased_layers = [3, 6].into();
        assert_eq!(layers(&graph.garbage(CachePolicy::DROP_ALL, 100)), [4, 5]);
    }

    #[test]
    fn the_cache_is_kept_by_age_and_size() {
        let policy = |nanoseconds, keep_bytes| CachePolicy {
            keep_used_within: Duration::from_nanos(nanoseconds),
            keep_bytes,
        };
        for (policy, expected) in [
            (CachePolicy::KEEP_ALL, &[1, 2, 3, 6][..]),
            (policy(85, u64::MAX), &[1, 2, 3, 4, 6]),
            (policy(1000, 150), &[1, 2, 3, 4, 6]),
            (policy(1000, 200), &[1, 2, 3, 6]),
            (policy(80, 200), &[1, 2, 3, 4, 5, 6]),
            (CachePolicy::DROP_ALL, &[1, 2, 3, 4, 5, 6]),
        ] {
            assert_eq!(layers(&graph().garbage(policy, 100)), expected, "{policy:?}");
        }
    }

    #[test]
    fn a_cycle_of_parents_ends() {
        let mut graph = graph();
        graph.chains.insert(digest("a"), (Some(digest("ab")), 1));
        graph.needed_chains = [digest("ab")].into();
        assert_eq!(graph.garbage(CachePolicy::DROP_ALL, 100).chains, [digest("ac")].into());
    }
}
