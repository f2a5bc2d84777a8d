//! The thread that reads a database while its role works, in search of damage, and moves its
//! [mark](super::checked) on.

use std::convert::Infallible;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle, Transaction};
use rustix::process::setpriority_process;
use tokio::sync::oneshot;

use super::checked::{
    Checked, MANY, SoldOf, agreeing, check_pages, mark_path, remove_mark, write_mark,
};
use super::log_table::{length, position_before};
use super::walk::Walk;
use super::{StorageError, classify, open_reader};

/// How many rows are read at once: some hundredths of a second, for which another thread waits that
/// sets the log aside.
const PIECE: u64 = 10_000;
/// How often the thread looks how long the log has become.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How often the thread is interrupted until it ends.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(2);
/// The lowest priority of a thread: what is not waited for takes no processor from what is.
const NICE: i32 = 19;

/// The thread that reads what a start did not wait for, and moves the mark on. Dropping it ends the
/// thread.
pub(crate) struct Checker {
    running: Mutex<Option<Running>>,
    log: SharedLog,
    damage: Mutex<Option<oneshot::Receiver<StorageError>>>,
}

/// How to end the thread.
struct Running {
    thread: JoinHandle<()>,
    /// Ends its waits, when it is dropped.
    awake: SyncSender<Infallible>,
    /// Whose sender the thread drops at its end.
    ended: Receiver<Infallible>,
    is_ending: Arc<AtomicBool>,
    interrupt: InterruptHandle,
}

/// How often the log was set aside and begun anew. Locked while rows are read, and while the log is
/// emptied: else a thread that has read a part of the one would go on with the other.
#[derive(Clone, Default)]
pub(crate) struct SharedLog(Arc<Mutex<u64>>);

/// What the thread works with.
struct Reading {
    path: PathBuf,
    connection: Connection,
    sold: SoldOf,
    log: SharedLog,
    asleep: Receiver<Infallible>,
    is_ending: Arc<AtomicBool>,
}

/// Which part of which log was read.
struct ReadPart {
    log: u64,
    walk: Walk,
}

impl Checker {
    /// Starts the thread for the database at `path`, which was `checked`. Before all else, the
    /// thread does `first` with the database as it is now.
    ///
    /// # Errors
    ///
    /// If the database cannot be opened once more, or no thread can be started.
    pub(crate) fn start(
        name: &str,
        path: &Path,
        checked: &Checked,
        sold: SoldOf,
        first: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<Self, StorageError> {
        let connection = open_reader(path)?;
        // A transaction sees the database as it was when it began to read.
        let begun = connection.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema");
        begun.map_err(|error| classify(path, &error))?;
        let interrupt = connection.get_interrupt_handle();
        let ((awake, asleep), (ending, ended)) = (sync_channel(0), sync_channel(0));
        let (tell, damage) = oneshot::channel();
        let (log, is_ending) = (SharedLog::default(), Arc::default());
        let reading = Reading {
            path: path.to_owned(),
            connection,
            sold,
            log: SharedLog::clone(&log),
            asleep,
            is_ending: Arc::clone(&is_ending),
        };
        let is_rest_unread = checked.is_by_mark;
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _ending: SyncSender<Infallible> = ending;
            // A thread that keeps its priority does the same work.
            let _kept = setpriority_process(None, NICE);
            match reading.run(first, is_rest_unread) {
                Ok(()) => {}
                Err(_interrupted) if reading.is_ending() => {}
                Err(error) => {
                    remove_mark(&reading.path);
                    // A role that ends does not ask.
                    let _not_asked = tell.send(error);
                }
            }
        });
        let thread =
            thread.map_err(|error| StorageError::Broken(path.to_owned(), error.to_string()))?;
        let running = Mutex::new(Some(Running { thread, awake, ended, is_ending, interrupt }));
        Ok(Self { running, log, damage: Mutex::new(Some(damage)) })
    }

    /// Returns what is damaged, once that is found. For one caller.
    pub(crate) fn damage(&self) -> impl Future<Output = StorageError> + use<> {
        let damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            if let Some(damage) = damage
                && let Ok(error) = damage.await
            {
                return error;
            }
            pending().await
        }
    }

    /// Returns what to hold while the log is emptied.
    pub(crate) fn log(&self) -> SharedLog {
        self.log.clone()
    }

    /// Ends the thread, whatever it reads.
    pub(crate) fn end(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return };
        let Running { thread, awake, ended, is_ending, interrupt } = running;
        is_ending.store(true, Ordering::Release);
        drop(awake);
        // An interrupt that comes between two statements has no effect.
        interrupt.interrupt();
        while ended.recv_timeout(INTERRUPT_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
        if thread.join().is_err() {
            log::error!("the thread that checks a database panicked");
        }
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.end();
    }
}

impl SharedLog {
    /// Empties the log by `empty`.
    pub(crate) fn begin_anew<T>(
        &self,
        empty: impl FnOnce() -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut number = self.lock();
        let emptied = empty()?;
        *number += 1;
        Ok(emptied)
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    fn run(
        &self,
        first: impl FnOnce(&Connection) -> rusqlite::Result<()>,
        is_rest_unread: bool,
    ) -> Result<(), StorageError> {
        first(&self.connection)
            .and_then(|()| self.connection.execute_batch("COMMIT"))
            .map_err(|error| classify(&self.path, &error))?;
        if is_rest_unread {
            self.read_everything()?;
        }
        let mut marked = 0;
        loop {
            // At the end, too: the next start has the less to read.
            let is_ending = self.is_ending();
            self.move_mark(&mut marked, if is_ending { 1 } else { MANY })?;
            if is_ending {
                return Ok(());
            }
            // Nothing is ever sent: it ends when the sender is dropped.
            let _awake = self.asleep.recv_timeout(LOOK_INTERVAL);
        }
    }

    fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// Reads all pages and all rows, in pieces, so that other threads wait for a piece only, and
    /// SQLite can empty its write-ahead log.
    fn read_everything(&self) -> Result<(), StorageError> {
        check_pages(&self.connection, &self.path)?;
        let mut read = ReadPart { log: *self.log.lock(), walk: Walk::start() };
        while !self.is_ending() {
            if self.read_piece(&mut read)? {
                let (file, length) = (self.path.display(), read.walk.end.length);
                log::info!("{file}: all {length} orders are in order");
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads the next rows. Returns whether that was all, and the sums agree.
    fn read_piece(&self, read: &mut ReadPart) -> Result<bool, StorageError> {
        let log = self.log.lock();
        if read.log != *log {
            *read = ReadPart { log: *log, walk: Walk::start() };
        }
        if read.walk.advance(&self.connection, &self.path, PIECE)? == PIECE {
            return Ok(false);
        }
        // The last rows and the sums, as of one time.
        let at_once = self.transaction()?;
        let walk = read.walk.clone().completed(&at_once, &self.path)?;
        read.walk = agreeing(&at_once, &self.path, walk, self.sold)?;
        Ok(true)
    }

    /// Moves the mark to the end of the log, if that has grown by `step`.
    fn move_mark(&self, marked: &mut u64, step: u64) -> Result<(), StorageError> {
        let _log = self.log.lock();
        let at_once = self.transaction()?;
        let mut read = || -> rusqlite::Result<Option<Walk>> {
            let length = length(&at_once)?;
            // A log that was begun anew is shorter.
            *marked = length.min(*marked);
            if length < MANY || length - *marked < step {
                return Ok(None);
            }
            let sold = (self.sold)(&at_once)?.unwrap_or_default();
            Ok(position_before(&at_once, length)?.map(|end| Walk { end, sold }))
        };
        let Some(walk) = read().map_err(|error| classify(&self.path, &error))? else {
            return Ok(());
        };
        match write_mark(&self.path, &walk) {
            Ok(()) => *marked = walk.end.length,
            // The next start reads more.
            Err(error) => log::debug!("{}: {error}", mark_path(&self.path).display()),
        }
        Ok(())
    }

    fn transaction(&self) -> Result<Transaction<'_>, StorageError> {
        let begun = self.connection.unchecked_transaction();
        begun.map_err(|error| classify(&self.path, &error))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::checked::check;
    use super::super::log_table::{self, insert};
    use super::super::open_writer;
    use super::*;
    use crate::wire::order::{Order, OrderNumber, Position};
    use crate::wire::quantity::Quantity;

    const NO_SUMS: SoldOf = |_connection| Ok(None);

    struct Log {
        _folder: tempfile::TempDir,
        path: PathBuf,
        connection: Connection,
    }

    impl Log {
        /// A log of so many orders of a toy.
        fn of(count: u64, toy: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("order-1.db");
            let connection = open_writer(&path, &[log_table::SCHEMA]).unwrap();
            let log = Self { _folder: folder, path, connection };
            log.append(Position::START, count, toy);
            log
        }

        fn append(&self, after: Position, count: u64, toy: &str) -> Position {
            let orders = (after.length..after.length + count).map(|number| Order {
                number: OrderNumber(number),
                name: toy.into(),
                quantity: Quantity::ONE,
                key: None,
            });
            let at_once = self.connection.unchecked_transaction().unwrap();
            let end = insert(&at_once, after, &orders.collect::<Vec<_>>()).unwrap();
            at_once.commit().unwrap();
            end
        }

        fn change(&self, sql: &str) {
            self.connection.execute_batch(sql).unwrap();
        }

        fn check(&self, sold: SoldOf) -> Result<Checked, StorageError> {
            check(&self.connection, &self.path, sold)
        }

        /// Checks the log as a role's start does, and has the thread read it until its end.
        fn run(&self, sold: SoldOf) -> Result<Checked, StorageError> {
            let found = self.check(sold)?;
            Checker::start("checker", &self.path, &found, sold, |_| Ok(())).unwrap().end();
            Ok(found)
        }

        fn reading(&self) -> Reading {
            Reading {
                path: self.path.clone(),
                connection: open_reader(&self.path).unwrap(),
                sold: NO_SUMS,
                log: SharedLog::default(),
                asleep: sync_channel(0).1,
                is_ending: Arc::default(),
            }
        }

        fn has_mark(&self) -> bool {
            mark_path(&self.path).exists()
        }
    }

    fn problem(result: Result<Checked, StorageError>) -> String {
        match result {
            Err(StorageError::Corrupt(_, problem)) => problem,
            other => panic!("it is damaged: {other:?}"),
        }
    }

    #[test]
    fn a_small_log_has_no_mark_and_is_checked_as_a_whole() {
        let log = Log::of(MANY - 1, "Tux");
        assert!(!log.run(NO_SUMS).unwrap().is_by_mark && !log.has_mark());
        log.change("UPDATE log SET quantity = 7 WHERE number = 4");
        assert_eq!(problem(log.run(NO_SUMS)), "order 4 does not match its hash");
    }

    #[actix_web::test]
    async fn damage_before_the_mark_is_found_beside_the_work_and_the_next_start_reads_everything() {
        let log = Log::of(MANY, "Tux");
        assert!(!log.run(NO_SUMS).unwrap().is_by_mark && log.has_mark());
        assert!(log.run(NO_SUMS).unwrap().is_by_mark);
        log.change("UPDATE log SET quantity = 7 WHERE number = 4");
        let by_mark = log.check(NO_SUMS).unwrap();
        let checker = Checker::start("checker", &log.path, &by_mark, NO_SUMS, |_| Ok(())).unwrap();
        let found = checker.damage().await.to_string();
        assert!(found.contains("order 4 does not match its hash"), "{found}");
        assert!(!log.has_mark());
        assert_eq!(problem(log.check(NO_SUMS)), "order 4 does not match its hash");
    }

    #[test]
    fn damage_after_the_mark_is_found_by_the_start() {
        let log = Log::of(MANY, "Tux");
        let end = log.run(NO_SUMS).unwrap().walk.end;
        log.append(end, 9, "Uno");
        log.change("UPDATE log SET name = 'Tux' WHERE number = 100005");
        assert_eq!(problem(log.check(NO_SUMS)), "order 100005 does not match its hash");
    }

    #[test]
    fn a_mark_of_another_log_of_a_longer_one_or_that_is_damaged_counts_as_none() {
        let (log, other) = (Log::of(MANY, "Tux"), Log::of(MANY, "Uno"));
        log.run(NO_SUMS).unwrap();
        other.run(NO_SUMS).unwrap();
        let mark = fs::read(mark_path(&log.path)).unwrap();
        for foreign in [fs::read(mark_path(&other.path)).unwrap(), mark[1..].to_vec(), vec![0xff]] {
            fs::write(mark_path(&log.path), foreign).unwrap();
            assert!(!log.check(NO_SUMS).unwrap().is_by_mark);
        }
        // A database that was restored is older than its mark.
        fs::write(mark_path(&log.path), mark).unwrap();
        assert!(log.check(NO_SUMS).unwrap().is_by_mark);
        log.change("DELETE FROM log WHERE number = 99999");
        let checked = log.check(NO_SUMS).unwrap();
        assert!(!checked.is_by_mark && checked.walk.end.length == MANY - 1);
    }

    #[test]
    fn sums_are_compared_by_the_start_also_those_from_before_the_mark() {
        const ALL: SoldOf =
            |_connection| Ok(Some([("Tux".into(), MANY), ("Uno".into(), 2)].into()));
        const ONE_MORE: SoldOf =
            |_connection| Ok(Some([("Tux".into(), MANY + 1), ("Uno".into(), 2)].into()));
        let log = Log::of(MANY, "Tux");
        log.append(log.check(NO_SUMS).unwrap().walk.end, 2, "Uno");
        assert!(!log.run(ALL).unwrap().is_by_mark);
        assert!(log.run(ALL).unwrap().is_by_mark);
        let said = "the journal's orders of Tux add up to 100000, but the table stock says that \
                    100001 were sold";
        assert_eq!(problem(log.run(ONE_MORE)), said);
    }

    #[test]
    fn a_log_that_is_begun_anew_while_it_is_read_is_no_damage() {
        let log = Log::of(PIECE + 5, "Tux");
        let reading = log.reading();
        let mut read = ReadPart { log: 0, walk: Walk::start() };
        assert!(!reading.read_piece(&mut read).unwrap(), "a piece of it");
        let emptied = reading.log.begin_anew(|| log.connection.execute("DELETE FROM log", []));
        emptied.unwrap();
        let end = log.append(Position::START, PIECE + 9, "Uno");
        while !reading.read_piece(&mut read).unwrap() {}
        assert_eq!(read.walk.end, end);
    }
}
