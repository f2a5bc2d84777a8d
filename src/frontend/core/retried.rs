//! How many purchases were retried at which leader, to be said once for each change of leader.

use std::collections::BTreeMap;

use crate::wire::replication::ReplicaId;

/// Purchases that were sent to another replica before, counted until they are
/// [taken](Retried::settled).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    purchases: BTreeMap<ReplicaId, u64>,
    is_growing: bool,
}

impl Retried {
    /// Notes that a purchase is retried at another leader than it was sent to before.
    pub fn retried_at(&mut self, leader: ReplicaId) {
        *self.purchases.entry(leader).or_default() += 1;
        self.is_growing = true;
    }

    /// Takes the counts, if none has grown since the last call.
    pub fn settled(&mut self) -> BTreeMap<ReplicaId, u64> {
        if std::mem::take(&mut self.is_growing) {
            return BTreeMap::new();
        }
        std::mem::take(&mut self.purchases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purchases_that_are_retried_one_after_the_other_are_counted_together() {
        let mut retried = Retried::default();
        for _ in 0..3 {
            retried.retried_at(ReplicaId(2));
            assert_eq!(retried.settled(), BTreeMap::new(), "there may be more");
        }
        assert_eq!(retried.settled(), BTreeMap::from([(ReplicaId(2), 3)]));
        assert_eq!(retried.settled(), BTreeMap::new(), "it was said");
    }
}
