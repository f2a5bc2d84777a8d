//! A map of bounded size whose least recently used entry leaves first (LRU).
//!
//! The entries stand in a ring of slots, linked by index from the most to the least recently used:
//! a hit is one hash look-up and six index writes, and allocates nothing.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use crate::wire::toy::ToyName;

/// The map.
#[derive(Clone, Debug)]
pub(super) struct Recency<T> {
    capacity: usize,
    places: HashMap<ToyName, usize>,
    slots: Vec<Slot<T>>,
    free: Vec<usize>,
    /// The most and the least recently used; nothing in an empty map.
    ends: Option<Ends>,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    newest: usize,
    oldest: usize,
}

#[derive(Clone, Debug)]
struct Slot<T> {
    name: ToyName,
    /// Nothing in a slot that is free.
    value: Option<T>,
    newer: usize,
    older: usize,
}

impl<T> Recency<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, places: HashMap::new(), slots: Vec::new(), free: Vec::new(), ends: None }
    }

    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.slots[*self.places.get(name)?].value.as_ref()
    }

    /// The entry, which becomes the most recently used.
    pub(super) fn touch(&mut self, name: &str) -> Option<&T> {
        let place = *self.places.get(name)?;
        if self.ends.is_some_and(|ends| ends.newest != place) {
            self.unlink(place);
            self.link_newest(place);
        }
        self.slots[place].value.as_ref()
    }

    /// Puts an entry in, as the most recently used.
    pub(super) fn insert(&mut self, name: ToyName, value: T) {
        if self.capacity == 0 {
            return;
        }
        self.remove(name.as_str());
        if self.places.len() == self.capacity
            && let Some(ends) = self.ends
        {
            let oldest = self.slots[ends.oldest].name.clone();
            self.remove(oldest.as_str());
        }
        let slot = Slot { name: name.clone(), value: Some(value), newer: 0, older: 0 };
        let place = if let Some(place) = self.free.pop() {
            self.slots[place] = slot;
            place
        } else {
            self.slots.push(slot);
            self.slots.len() - 1
        };
        self.places.insert(name, place);
        self.link_newest(place);
    }

    pub(super) fn remove(&mut self, name: &str) {
        let Some(place) = self.places.remove(name) else { return };
        self.unlink(place);
        self.slots[place].value = None;
        self.free.push(place);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }

    /// All names, the most recently used first.
    pub(super) fn names(&self) -> Vec<ToyName> {
        let mut names = Vec::with_capacity(self.places.len());
        let mut place = self.ends.map(|ends| ends.newest);
        while let Some(current) = place {
            names.push(self.slots[current].name.clone());
            let is_last = self.ends.is_some_and(|ends| ends.oldest == current);
            place = (!is_last).then(|| self.slots[current].older);
        }
        names
    }

    fn entries(&self) -> impl Iterator<Item = (ToyName, Option<&T>)> {
        self.names().into_iter().map(|name| {
            let value = self.get(name.as_str());
            (name, value)
        })
    }

    fn link_newest(&mut self, place: usize) {
        let oldest = match self.ends {
            None => place,
            Some(ends) => {
                self.slots[place].older = ends.newest;
                self.slots[ends.newest].newer = place;
                ends.oldest
            }
        };
        self.ends = Some(Ends { newest: place, oldest });
    }

    fn unlink(&mut self, place: usize) {
        let Some(ends) = self.ends else { return };
        let (newer, older) = (self.slots[place].newer, self.slots[place].older);
        self.ends = match (ends.newest == place, ends.oldest == place) {
            (true, true) => None,
            (true, false) => Some(Ends { newest: older, ..ends }),
            (false, true) => Some(Ends { oldest: newer, ..ends }),
            (false, false) => {
                self.slots[newer].older = older;
                self.slots[older].newer = newer;
                Some(ends)
            }
        };
    }
}

/// Two maps are the same if they hold the same in the same order of use, in whatever slots.
impl<T: PartialEq> PartialEq for Recency<T> {
    fn eq(&self, other: &Self) -> bool {
        self.capacity == other.capacity && self.entries().eq(other.entries())
    }
}

impl<T: Eq> Eq for Recency<T> {}

impl<T: Hash> Hash for Recency<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.capacity.hash(state);
        self.entries().for_each(|entry| entry.hash(state));
        state.write_usize(self.places.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(map: &Recency<u32>) -> String {
        map.names().iter().map(ToyName::as_str).collect()
    }

    fn filled(capacity: usize, names: &str) -> Recency<u32> {
        let mut map = Recency::new(capacity);
        for name in names.chars() {
            map.insert(ToyName::from(name.to_string()), 0);
        }
        map
    }

    #[test]
    fn the_least_recently_used_leaves_first() {
        let mut map = filled(3, "abc");
        assert_eq!(names(&map), "cba");
        map.touch("a");
        map.insert("d".into(), 0);
        assert_eq!(names(&map), "dac");
        assert!(map.get("b").is_none());
    }

    #[test]
    fn any_entry_can_be_touched_and_removed_in_any_place() {
        for (touched, order) in [("a", "acb"), ("b", "bca"), ("c", "cba")] {
            let mut map = filled(3, "abc");
            map.touch(touched);
            assert_eq!(names(&map), order, "touch {touched}");
        }
        for (removed, order) in [("a", "cb"), ("b", "ca"), ("c", "ba")] {
            let mut map = filled(3, "abc");
            map.remove(removed);
            assert_eq!(names(&map), order, "remove {removed}");
            map.insert("d".into(), 1);
            assert_eq!(names(&map), format!("d{order}"));
            assert_eq!(map.slots.len(), 3, "the slot is used again");
        }
    }

    #[test]
    fn an_entry_that_is_put_in_again_is_replaced() {
        let mut map = filled(2, "ab");
        map.insert("a".into(), 7);
        assert_eq!((names(&map).as_str(), map.get("a")), ("ab", Some(&7)));
    }

    #[test]
    fn a_map_without_capacity_holds_nothing() {
        let map = filled(0, "ab");
        assert_eq!(names(&map), "");
    }

    #[test]
    fn the_last_entry_leaves_an_empty_map() {
        let mut map = filled(1, "abc");
        assert_eq!(names(&map), "c");
        map.remove("c");
        assert_eq!(names(&map), "");
        map.insert("d".into(), 0);
        assert_eq!(names(&map), "d");
    }
}
