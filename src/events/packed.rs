//! A list of bytes that keeps the newest of what is put in it, and counts what it had no more room
//! for.
//!
//! # The idea
//!
//! An event has few of the parts that one may have. Kept as a value, it takes as much memory as one
//! with all parts, and its texts are allocated by one thread and freed by another much later. Of
//! thousands of such events, none is in a processor's cache any more when its memory is used again.
//! So events are written one behind the other, and the oldest make room:
//!
//! ```text
//! lengths   41          96                         38
//! bytes     [received  ][sent, with its body      ][answered ]
//!           oldest                                 newest
//! ```
//!
//! What is read is copied first, so that a reader of thousands of events holds up what records only
//! for the time of a copy.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Where entries are longer than this on average, fewer are kept: the events of a batch have the
/// traces of all its purchases.
const USUAL_BYTES: usize = 512;

/// The newest entries, at most as many as it was made for.
#[derive(Debug)]
pub(super) struct PackedRing {
    most: usize,
    lengths: VecDeque<usize>,
    bytes: VecDeque<u8>,
    dropped: u64,
}

/// An entry, or a part of one, is written in the place of `earlier`, so that its memory need not be
/// allocated each time.
pub(super) fn written(entry: &impl Serialize, mut earlier: Vec<u8>) -> Vec<u8> {
    earlier.clear();
    postcard::to_extend(entry, earlier).expect("memory takes what is written")
}

/// What a ring had at some time.
pub(super) struct Packed {
    /// Where each entry begins and ends.
    places: Vec<(usize, usize)>,
    bytes: Vec<u8>,
    /// How many older ones had left.
    pub(super) dropped: u64,
}

impl PackedRing {
    /// An empty ring with room for `most` entries. The room is taken when it is used.
    pub(super) fn new(most: usize) -> Self {
        Self { most, lengths: VecDeque::new(), bytes: VecDeque::new(), dropped: 0 }
    }

    /// Adds an entry, which is written in parts; if there is no more room, the oldest ones leave.
    pub(super) fn push(&mut self, parts: &[&[u8]]) {
        let length = parts.iter().map(|part| part.len()).sum();
        while self.lengths.len() >= self.most || self.bytes.len() + length > self.most * USUAL_BYTES
        {
            let Some(oldest) = self.lengths.pop_front() else { break };
            drop(self.bytes.drain(..oldest));
            self.dropped += 1;
        }
        if self.most == 0 {
            self.dropped += 1;
            return;
        }
        for part in parts {
            self.bytes.extend(*part);
        }
        self.lengths.push_back(length);
    }

    /// Copies the entries.
    pub(super) fn copy(&self) -> Packed {
        let (front, back) = self.bytes.as_slices();
        let mut begin = 0;
        let place = |length: &usize| {
            let end = begin + length;
            (std::mem::replace(&mut begin, end), end)
        };
        let places = self.lengths.iter().map(place).collect();
        Packed { places, bytes: [front, back].concat(), dropped: self.dropped }
    }

    /// Takes all entries out.
    pub(super) fn take(&mut self) -> Packed {
        let all = self.copy();
        self.lengths.clear();
        self.bytes.clear();
        all
    }
}

impl Packed {
    /// The entries, from the oldest to the newest.
    pub(super) fn iter<'a, T: Deserialize<'a>>(&'a self) -> impl DoubleEndedIterator<Item = T> {
        self.iter_from(0)
    }

    /// The entries behind the first `known`.
    pub(super) fn iter_from<'a, T: Deserialize<'a>>(
        &'a self,
        known: usize,
    ) -> impl DoubleEndedIterator<Item = T> {
        let read = |(begin, end): &(usize, usize)| {
            postcard::from_bytes(&self.bytes[*begin..*end])
                .expect("an entry is read as it was written")
        };
        self.places.get(known..).unwrap_or_default().iter().map(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries of some types, of which none has the length of the one before it.
    fn ring(most: usize, entries: std::ops::Range<u64>) -> PackedRing {
        let mut ring = PackedRing::new(most);
        for number in entries {
            let text = "x".repeat(usize::try_from(number).unwrap() % 5);
            ring.push(&[&written(&number, Vec::new()), &written(&text, vec![1, 2])]);
        }
        ring
    }

    fn numbers(packed: &Packed) -> Vec<u64> {
        let entry = |(number, text): (u64, &str)| {
            assert_eq!(text.len() as u64, number % 5);
            number
        };
        packed.iter().map(entry).collect()
    }

    #[test]
    fn the_oldest_entry_leaves_a_full_ring_and_is_counted() {
        let packed = ring(3, 0..3).copy();
        assert_eq!((numbers(&packed), packed.dropped), (vec![0, 1, 2], 0));
        for length in 3..100 {
            let packed = ring(3, 0..length).copy();
            let expected = vec![length - 3, length - 2, length - 1];
            assert_eq!((numbers(&packed), packed.dropped), (expected, length - 3));
        }
    }

    #[test]
    fn what_was_taken_out_is_there_no_more() {
        let mut ring = ring(3, 0..5);
        assert_eq!(numbers(&ring.take()), [2, 3, 4]);
        assert_eq!(numbers(&ring.copy()).len(), 0);
        ring.push(&[&written(&(5_u64, ""), Vec::new())]);
        assert_eq!(numbers(&ring.copy()), [5]);
    }

    #[test]
    fn of_long_entries_fewer_are_kept_and_at_least_one() {
        let mut ring = PackedRing::new(3);
        for length in [USUAL_BYTES, 1, USUAL_BYTES, USUAL_BYTES, 3 * USUAL_BYTES, 1] {
            ring.push(&[&vec![0; length]]);
            let kept: usize = ring.lengths.iter().sum();
            assert_eq!(ring.bytes.len(), kept);
            assert!(kept <= 3 * USUAL_BYTES, "{kept}");
        }
        ring.push(&[&vec![0; 4 * USUAL_BYTES]]);
        assert_eq!((ring.lengths, ring.dropped), ([4 * USUAL_BYTES].into(), 6));
    }

    #[test]
    fn a_ring_without_room_keeps_nothing() {
        let packed = ring(0, 0..1).copy();
        assert_eq!((numbers(&packed), packed.dropped), (vec![], 1));
    }
}
