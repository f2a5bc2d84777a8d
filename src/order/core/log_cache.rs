//! The log's newest rows in memory, so that the leader replicates without reading them back.
//!
//! # The idea
//!
//! Rows are kept from the moment they are accepted, each with the position behind it, so that a
//! message to a follower can begin at any of them. A follower is thus sent a row while the leader's
//! own disk is still writing it. If that write fails, the log goes on from an earlier position, and
//! the rows that were taken back are forgotten:
//!
//! ```text
//! core                           cache        disk
//!   | accept 7, 8                | 7 8        | full: refused
//!   | not written: end is 6 again|            |
//!   | accept 7                   | 7          |
//! ```
//!
//! If they stayed, row 7 would stand behind row 8, and a follower would be sent rows that do not
//! continue one another.
//!
//! # What is left out
//!
//! Older rows: a follower that is further behind is served from the database.

use std::collections::VecDeque;

use crate::wire::order::{Order, Position, Rows};

/// Rows kept: some sixteen full batches, so that a follower that keeps up never needs the database.
const MOST_KEPT: usize = 4_096;

/// The newest rows, gapless, each with the position behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LogCache {
    after: Position,
    rows: VecDeque<(Order, Position)>,
}

impl LogCache {
    /// An empty cache of a log that ends at `after`.
    pub(super) fn new(after: Position) -> Self {
        Self { after, rows: VecDeque::new() }
    }

    /// Keeps rows that were accepted behind `after`. Returns the position behind them.
    pub(super) fn extend(&mut self, after: Position, orders: &[Order]) -> Position {
        if self.end() != after {
            // Rows that were kept did not get to the disk; the log went on from before them.
            *self = Self::new(after);
        }
        let mut end = after;
        for order in orders {
            end = end.continued_by(order);
            self.rows.push_back((order.clone(), end));
            if self.rows.len() > MOST_KEPT {
                let oldest = self.rows.pop_front();
                self.after = oldest.map_or(self.after, |(_, position)| position);
            }
        }
        end
    }

    /// At most `most` rows from number `from` on. `None` if they are not all here.
    pub(super) fn rows(&self, from: u64, most: u64) -> Option<Rows> {
        let skipped = usize::try_from(from.checked_sub(self.after.length)?).ok()?;
        let after = match skipped.checked_sub(1) {
            None => self.after,
            Some(last) => self.rows.get(last)?.1,
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let orders = self.rows.iter().skip(skipped).take(most);
        Some(Rows { after, orders: orders.map(|(order, _)| order.clone()).collect() })
    }

    fn end(&self) -> Position {
        self.rows.back().map_or(self.after, |(_, position)| *position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::order::OrderNumber;
    use crate::wire::quantity::Quantity;

    fn orders(from: u64, to: u64) -> Vec<Order> {
        let order = |number| Order {
            number: OrderNumber(number),
            name: "Tux".into(),
            quantity: Quantity::ONE,
            key: None,
        };
        (from..to).map(order).collect()
    }

    fn end(length: u64) -> Position {
        orders(0, length).iter().fold(Position::START, Position::continued_by)
    }

    #[test]
    fn rows_are_found_from_any_number_that_is_kept() {
        let mut log_cache = LogCache::new(end(2));
        log_cache.extend(end(2), &orders(2, 5));
        log_cache.extend(end(5), &orders(5, 6));
        assert_eq!(log_cache.rows(1, 10), None);
        assert_eq!(log_cache.rows(2, 2), Some(Rows { after: end(2), orders: orders(2, 4) }));
        assert_eq!(log_cache.rows(4, 10), Some(Rows { after: end(4), orders: orders(4, 6) }));
        assert_eq!(log_cache.rows(6, 10), Some(Rows::none(end(6))));
        assert_eq!(log_cache.rows(7, 10), None);
    }

    #[test]
    fn the_oldest_rows_leave() {
        let mut log_cache = LogCache::new(Position::START);
        log_cache.extend(Position::START, &orders(0, MOST_KEPT as u64 + 3));
        assert_eq!(log_cache.rows(2, 10), None);
        assert_eq!(log_cache.rows(3, 1), Some(Rows { after: end(3), orders: orders(3, 4) }));
    }

    #[test]
    fn rows_that_were_not_written_are_forgotten() {
        let mut log_cache = LogCache::new(end(2));
        log_cache.extend(end(2), &orders(2, 5));
        log_cache.extend(end(3), &orders(3, 4));
        assert_eq!(log_cache.rows(2, 10), None);
        assert_eq!(log_cache.rows(3, 10), Some(Rows { after: end(3), orders: orders(3, 4) }));
    }
}
