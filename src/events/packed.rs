//! A list of bytes that keeps the newest of what is put in it, and counts what it had no more room
//! for.
//!
//! # The idea
//!
//! An event has few of the parts that one may have. Kept as a value, it takes as much memory as one
//! with all parts, and its texts are allocated by one thread and freed by another much later. Of
//! thousands of such events, none is in a processor's cache any more when its memory is used again.
//! So events are written one behind the other, in blocks of memory, and the oldest make room:
//!
//! ```text
//! lengths   41          96                         38        …
//! blocks    [received  ][sent, with its body      ][answered ] … full, not changed any more
//! open      [received  ][sent …                                  where the next is written
//! ```
//!
//! A reader shares the full blocks and copies the open one, so that it does not hold up what
//! records, however much is kept.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The room for each entry, on average: more than a purchase's events have with their bodies.
/// Where entries are longer, fewer are kept: the events of a batch have the traces of all its
/// purchases.
const USUAL_BYTES: usize = 512;
/// From how many bytes on a block is full. A reader copies less than that, in some microseconds.
const FULL_BLOCK: usize = 64 << 10;

/// The newest entries, at most as many as it was made for.
#[derive(Debug)]
pub(super) struct PackedRing {
    most: usize,
    most_bytes: usize,
    lengths: VecDeque<u32>,
    /// The bytes of the entries that are kept.
    kept: usize,
    /// Blocks that are full, the oldest first.
    full: VecDeque<Arc<Vec<u8>>>,
    open: Vec<u8>,
    /// How many bytes at the start of the oldest block, or of the open one if there is no other,
    /// belong to entries that have left.
    left_behind: usize,
    dropped: u64,
}

/// What a ring had at some time.
pub(super) struct Packed {
    lengths: VecDeque<u32>,
    blocks: Vec<Arc<Vec<u8>>>,
    left_behind: usize,
    /// How many older entries had left.
    pub(super) dropped: u64,
}

/// Returns an entry, or a part of one, in postcard, in the memory of `earlier`.
pub(super) fn written(entry: &impl Serialize, mut earlier: Vec<u8>) -> Vec<u8> {
    earlier.clear();
    postcard::to_extend(entry, earlier).expect("memory takes what is written")
}

impl PackedRing {
    /// An empty ring with room for `most` entries. The room is taken when it is used.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            most_bytes: most.saturating_mul(USUAL_BYTES),
            lengths: VecDeque::new(),
            kept: 0,
            full: VecDeque::new(),
            open: Vec::new(),
            left_behind: 0,
            dropped: 0,
        }
    }

    /// Adds an entry, which is written in parts; if there is no more room, the oldest ones leave.
    /// One that is longer than all of the room is kept alone.
    pub(super) fn push(&mut self, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        while self.lengths.len() >= self.most || self.kept + length > self.most_bytes {
            if !self.drop_oldest() {
                break;
            }
        }
        if self.most == 0 {
            self.dropped += 1;
            return;
        }
        if self.open.len() + length > FULL_BLOCK && !self.open.is_empty() {
            let open = Vec::with_capacity(FULL_BLOCK);
            self.full.push_back(Arc::new(std::mem::replace(&mut self.open, open)));
        }
        for part in parts {
            self.open.extend_from_slice(part);
        }
        self.kept += length;
        self.lengths.push_back(u32::try_from(length).expect("no entry has 4 GiB"));
    }

    /// Returns whether there was an entry to drop.
    fn drop_oldest(&mut self) -> bool {
        let Some(length) = self.lengths.pop_front() else { return false };
        self.dropped += 1;
        self.kept -= length as usize;
        self.left_behind += length as usize;
        let oldest = self.full.front().map_or(&self.open, |block| &**block);
        if self.left_behind == oldest.len() {
            self.left_behind = 0;
            if self.full.pop_front().is_none() {
                self.open.clear();
            }
        }
        true
    }

    /// Copies the entries.
    pub(super) fn copy(&self) -> Packed {
        let blocks = self.full.iter().cloned().chain([Arc::new(self.open.clone())]);
        Packed {
            lengths: self.lengths.clone(),
            blocks: blocks.collect(),
            left_behind: self.left_behind,
            dropped: self.dropped,
        }
    }

    /// Takes all entries out.
    pub(super) fn take(&mut self) -> Packed {
        let all = self.copy();
        *self = Self { dropped: self.dropped, ..Self::new(self.most) };
        all
    }
}

fn read<'a, T: Deserialize<'a>>((block, place): (&'a Arc<Vec<u8>>, Range<usize>)) -> T {
    postcard::from_bytes(&block[place]).expect("an entry is read as it was written")
}

impl Packed {
    /// The entries, from the oldest to the newest.
    pub(super) fn iter<'a, T: Deserialize<'a>>(&'a self) -> impl Iterator<Item = T> {
        self.iter_from(0)
    }

    /// The entries behind the first `known`.
    pub(super) fn iter_from<'a, T: Deserialize<'a>>(
        &'a self,
        known: usize,
    ) -> impl Iterator<Item = T> {
        self.places().skip(known).map(read)
    }

    /// The entries, from the newest to the oldest.
    pub(super) fn newest_first<'a, T: Deserialize<'a>>(&'a self) -> impl Iterator<Item = T> {
        let places: Vec<_> = self.places().collect();
        places.into_iter().rev().map(read)
    }

    /// The block that each entry is in, and where.
    fn places(&self) -> impl Iterator<Item = (&Arc<Vec<u8>>, Range<usize>)> {
        let mut blocks = self.blocks.iter();
        let mut block = blocks.next().expect("there is an open one");
        let mut begin = self.left_behind;
        self.lengths.iter().map(move |length| {
            if begin == block.len() {
                block = blocks.next().expect("each entry is in a block");
                begin = 0;
            }
            let end = begin + *length as usize;
            (block, std::mem::replace(&mut begin, end)..end)
        })
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
            assert_eq!(ring.lengths.iter().sum::<u32>() as usize, ring.kept);
            assert!(ring.kept <= 3 * USUAL_BYTES, "{ring:?}");
        }
        ring.push(&[&vec![0; 4 * USUAL_BYTES]]);
        assert_eq!((ring.kept, ring.dropped), (4 * USUAL_BYTES, 6));
    }

    #[test]
    fn entries_of_all_lengths_are_read_from_full_blocks_and_from_the_open_one() {
        let mut ring = PackedRing::new(1_000);
        let mut kept = VecDeque::new();
        for number in 0..5_000_u64 {
            let text = "x".repeat(usize::try_from(number * 7_919 % 1_003).unwrap());
            ring.push(&[&written(&number, Vec::new()), &written(&text, Vec::new())]);
            kept.push_back((number, text));
            kept.drain(..kept.len() - ring.lengths.len());
            if number % 97 == 0 {
                let copy = ring.copy();
                assert!(copy.iter::<(u64, String)>().eq(kept.iter().cloned()));
                assert!(copy.newest_first::<(u64, String)>().eq(kept.iter().rev().cloned()));
                let newest = copy.iter_from::<(u64, &str)>(kept.len() - 1).next();
                assert_eq!(newest.map(|(number, _)| number), Some(number));
            }
        }
        let memory: usize = ring.full.iter().map(|block| block.capacity()).sum();
        let most = 1_000 * USUAL_BYTES + 2 * FULL_BLOCK;
        assert!(memory + ring.open.capacity() <= most, "{memory} bytes");
    }

    #[test]
    fn a_ring_without_room_keeps_nothing() {
        let packed = ring(0, 0..1).copy();
        assert_eq!((numbers(&packed), packed.dropped), (vec![], 1));
    }
}
