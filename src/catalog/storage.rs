//! What the catalog asks of its database, and SQLite's answer to it.

use std::collections::HashMap;

use super::core::stock::{Change, RecordedDecision};
use super::journal::Journal;
use super::journal::marker::Past;
use crate::storage::Outcome;
use crate::wire::lease::SessionId;
use crate::wire::order::Rows;
use crate::wire::purchase::IdempotencyKey;
use crate::wire::replication::Leadership;

/// The catalog's database: stock, journal, decisions, leadership and sessions.
///
/// A write that fails with [`Full`](crate::storage::StorageError::Full),
/// [`ReadOnly`](crate::storage::StorageError::ReadOnly) or
/// [`Busy`](crate::storage::StorageError::Busy) has changed nothing. After any other failure its
/// outcome is unknown, and the catalog has to end. Calls take effect in the order in which they are
/// made, in whatever order they are awaited.
pub trait Storage: Send + Sync {
    /// Looks up the decisions that were taken on any of `keys`.
    fn recorded(
        &self,
        keys: Vec<IdempotencyKey>,
    ) -> Outcome<'_, HashMap<IdempotencyKey, RecordedDecision>>;

    /// Makes `change`, all of it or nothing; it is on disk when this ends.
    fn commit(&self, change: Change) -> Outcome<'_, ()>;

    /// Records who leads.
    fn set_leadership(&self, leadership: Leadership) -> Outcome<'_, ()>;

    /// Records whether replicas must be heard before anything is sold, also after a restart.
    fn set_past(&self, past: Past) -> Outcome<'_, ()>;

    /// Records that a session begins and that others have ended.
    fn note_sessions(&self, begun: Option<SessionId>, ended: Vec<SessionId>) -> Outcome<'_, ()>;

    /// Reads at most `most` orders from number `from` on, with the position before them. `None` if
    /// the journal ends before `from`.
    fn rows(&self, from: u64, most: u64) -> Outcome<'_, Option<Rows>>;

    /// Ends when everything that was asked before is done, and there is room to write more.
    fn pulse(&self) -> Outcome<'_, ()>;

    /// Writes something that changes nothing; it is on disk when this ends.
    fn try_write(&self) -> Outcome<'_, ()>;

    /// Leaves the database in one file.
    fn checkpoint(&self) -> Outcome<'_, ()>;
}

impl Storage for Journal {
    fn recorded(
        &self,
        keys: Vec<IdempotencyKey>,
    ) -> Outcome<'_, HashMap<IdempotencyKey, RecordedDecision>> {
        Box::pin(Self::recorded(self, keys))
    }

    fn commit(&self, change: Change) -> Outcome<'_, ()> {
        Box::pin(Self::commit(self, change))
    }

    fn set_leadership(&self, leadership: Leadership) -> Outcome<'_, ()> {
        Box::pin(Self::set_leadership(self, leadership))
    }

    fn set_past(&self, past: Past) -> Outcome<'_, ()> {
        Box::pin(Self::set_past(self, past))
    }

    fn note_sessions(&self, begun: Option<SessionId>, ended: Vec<SessionId>) -> Outcome<'_, ()> {
        Box::pin(Self::note_sessions(self, begun, ended))
    }

    fn rows(&self, from: u64, most: u64) -> Outcome<'_, Option<Rows>> {
        Box::pin(Self::rows(self, from, most))
    }

    fn pulse(&self) -> Outcome<'_, ()> {
        Box::pin(Self::pulse(self))
    }

    fn try_write(&self) -> Outcome<'_, ()> {
        Box::pin(Self::try_write(self))
    }

    fn checkpoint(&self) -> Outcome<'_, ()> {
        Box::pin(Self::checkpoint(self))
    }
}
