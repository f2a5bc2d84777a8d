//! A list that keeps the newest of what is put in it.

use std::collections::VecDeque;

/// The newest entries, at most as many as it was made for.
#[derive(Debug)]
pub(super) struct Ring<T> {
    most: usize,
    entries: VecDeque<T>,
}

impl<T> Ring<T> {
    /// An empty ring with room for `most` entries. The room is taken when it is used.
    pub(super) fn new(most: usize) -> Self {
        Self { most, entries: VecDeque::new() }
    }

    /// Adds an entry; if there is no more room, the oldest one leaves, of which the new one may be
    /// made.
    pub(super) fn push_with(&mut self, entry: impl FnOnce(Option<T>) -> T) {
        let mut leaves = None;
        if self.entries.len() >= self.most {
            leaves = self.entries.pop_front();
            if leaves.is_none() {
                return;
            }
        }
        self.entries.push_back(entry(leaves));
    }

    /// The entries, from the oldest to the newest.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entry_leaves_a_full_ring() {
        let mut ring = Ring::new(3);
        for number in 0..5 {
            ring.push_with(|_leaves| number);
        }
        assert_eq!(ring.iter().copied().collect::<Vec<_>>(), [2, 3, 4]);
    }

    #[test]
    fn an_entry_may_be_made_of_the_one_that_leaves() {
        let mut ring = Ring::new(2);
        for number in 1..=3 {
            ring.push_with(|leaves: Option<i32>| 10 * leaves.unwrap_or_default() + number);
        }
        assert_eq!(ring.iter().copied().collect::<Vec<_>>(), [2, 13]);
    }

    #[test]
    fn a_ring_without_room_keeps_nothing() {
        let mut ring = Ring::new(0);
        ring.push_with(|_leaves| 1);
        assert_eq!(ring.iter().next(), None);
    }
}
