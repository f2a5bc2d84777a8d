//! The rare paths of the protocol: how often each was reached. One that was never reached was not
//! tested, and fails the run.

use std::collections::BTreeMap;

/// How often each path was reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths(BTreeMap<&'static str, u64>);

impl Paths {
    pub(crate) fn reached(&mut self, path: &'static str) {
        assert!(RARE.contains(&path), "a path that is not in the list: {path}");
        *self.0.entry(path).or_default() += 1;
    }

    pub(crate) fn count(&self, path: &str) -> u64 {
        self.0.get(path).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (path, count) in &other.0 {
            *self.0.entry(path).or_default() += count;
        }
    }

    /// Those that were never reached.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        RARE.into_iter().filter(|path| !self.0.contains_key(path)).collect()
    }
}

/// All that must be reached.
pub(crate) const RARE: [&str; 67] = [
    // What happens to machines, disks and messages.
    "a message was lost",
    "a message was delivered twice",
    "a message was very late",
    "a message ran into a cut",
    "a stranger's message was answered",
    "a call reached another process than it was meant for",
    "an invalidation reached a process that does not hold the session",
    "a disk was full",
    "a disk failed, and had done it",
    "a disk failed, and had not done it",
    "a crash lost what was not synced",
    "a crash kept what was not answered yet",
    "a machine was paused",
    "the catalog crashed",
    "a replica crashed",
    "a front-end crashed",
    "sales waited for replicas to be heard",
    "the catalog's database was restored from a backup",
    "a restored journal was rolled forward",
    "a refusal was forgotten",
    // Several catalogs.
    "a catalog that ruled crashed",
    "a catalog that ruled was paused",
    "another catalog ruled",
    "a claim came too late",
    "a write of an earlier term was refused",
    "an answer of the shared database was lost",
    "the shared database changed its primary",
    // Purchases.
    "a decision was given again under its key",
    "a purchase waited for a front-end",
    "a batch was in doubt and was asked again",
    "a batch of a deposed leader was refused",
    "a batch was answered with rows of the journal",
    "a batch's answer found its leader deposed",
    "a purchase was answered by another leader than it was asked of first",
    "a purchase was asked of two front-ends at once",
    "a refusal was repeated after a restock",
    "an order was repeated long after it was granted",
    "a key was used for another purchase",
    "a leader's waiters were sent to the next one",
    // Leases.
    "a front-end was late with an acknowledgement",
    "a session ran out",
    "a restarted catalog waited for earlier sessions",
    "a version was given up",
    "an answer was overtaken by its invalidation",
    "a lease ended between look-up and answer",
    "an invalidation was sent again",
    "a restock had to wait",
    "a miss was shared",
    // Leadership.
    "an acquisition was lost",
    "an acquisition that was won before was taken up",
    "a nominee led already",
    "a nominee could not lead",
    "a leader began by fetching",
    "a leader fetched what it lacked",
    "a leader heard of its end from a follower",
    "an attempt ended because another replica leads",
    "a leader of many replicas was replaced",
    // Replication.
    "a follower had a gap",
    "a follower was lost",
    "a follower was slow",
    "rows came that were there already",
    "a replica caught up from a peer",
    "a replica caught up from the journal",
    "a log was set aside",
    "fetched rows were overtaken",
    "an order was confirmed not to be there",
    "an unwritten append was refused",
];
