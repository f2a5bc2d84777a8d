//! What a replica asks of its database, and SQLite's answer to it.

use std::path::{Path, PathBuf};

use super::order_log::OrderLog;
use crate::storage::Outcome;
use crate::wire::identity::StoreId;
use crate::wire::order::{Order, OrderNumber, Position, Rows};

/// A replica's database: the order log.
///
/// A write that fails with [`Full`](crate::storage::StorageError::Full),
/// [`ReadOnly`](crate::storage::StorageError::ReadOnly) or
/// [`Busy`](crate::storage::StorageError::Busy) has changed nothing. After any other failure its
/// outcome is unknown, and the replica has to end.
pub trait Storage: Send + Sync {
    /// Appends `orders` behind `after`; they are on disk when this ends, with everything that was
    /// queued before. They are queued when the call returns, whenever its future is awaited. Fails,
    /// and changes nothing, if an append before this one failed.
    fn append(&self, after: Position, orders: Vec<Order>) -> Outcome<'static, Position>;

    /// Ends when everything that was queued before is done, and there is room to write more.
    fn pulse(&self) -> Outcome<'static, ()>;

    /// Writes, and changes nothing: shows whether the disk takes writes again.
    fn try_write(&self) -> Outcome<'_, ()>;

    /// Reads one order.
    fn order(&self, number: OrderNumber) -> Outcome<'_, Option<Order>>;

    /// Reads at most `most` orders from number `from` on, with the position before them. `None` if
    /// the log ends before `from`.
    fn rows(&self, from: u64, most: u64) -> Outcome<'_, Option<Rows>>;

    /// Keeps a copy of the database under another name and begins an empty log. Returns the copy's
    /// name.
    fn set_aside(&self) -> Outcome<'_, PathBuf>;

    /// Records which store the database belongs to.
    fn set_store(&self, store: StoreId) -> Outcome<'_, ()>;

    /// Leaves the database in one file.
    fn checkpoint(&self) -> Outcome<'_, ()>;

    /// Returns where the database is.
    fn path(&self) -> &Path;
}

impl Storage for OrderLog {
    fn append(&self, after: Position, orders: Vec<Order>) -> Outcome<'static, Position> {
        Box::pin(Self::append(self, after, orders))
    }

    fn pulse(&self) -> Outcome<'static, ()> {
        Box::pin(Self::pulse(self))
    }

    fn try_write(&self) -> Outcome<'_, ()> {
        Box::pin(Self::try_write(self))
    }

    fn order(&self, number: OrderNumber) -> Outcome<'_, Option<Order>> {
        Box::pin(Self::order(self, number))
    }

    fn rows(&self, from: u64, most: u64) -> Outcome<'_, Option<Rows>> {
        Box::pin(Self::rows(self, from, most))
    }

    fn set_aside(&self) -> Outcome<'_, PathBuf> {
        Box::pin(Self::set_aside(self))
    }

    fn set_store(&self, store: StoreId) -> Outcome<'_, ()> {
        Box::pin(Self::set_store(self, store))
    }

    fn checkpoint(&self) -> Outcome<'_, ()> {
        Box::pin(Self::checkpoint(self))
    }

    fn path(&self) -> &Path {
        Self::path(self)
    }
}
