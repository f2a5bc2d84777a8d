//! The thread that reads a database while its role works, in search of damage, and moves its
//! [mark](super::checked) on.

use std::convert::Infallible;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle, Transaction};
use rustix::process::setpriority_process;
use tokio::sync::oneshot;

use super::checked::{Checked, MANY, TableChecks, agreeing, mark_path, remove_mark, write_mark};
use super::log_table::{length, position_before};
use super::walk::Walk;
use super::{StorageError, classify, damage_or, open_reader};

/// How many rows are read at once: some hundredths of a second.
const PIECE: u64 = 10_000;
/// The pause after each piece, in which SQLite can empty its write-ahead log: that needs a moment
/// without a reader when a transaction ends.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the thread looks how long the log has become.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How often the thread is interrupted until it ends.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(2);
/// The lowest priority of a thread: what is not waited for takes no processor from what is.
const NICE: i32 = 19;

/// The thread that reads what a start did not wait for, and moves the mark on. Dropping it ends the
/// thread.
pub(crate) struct Checker {
    path: PathBuf,
    running: Mutex<Option<Running>>,
    log: SharedLogNumber,
    outcome: Mutex<Option<oneshot::Receiver<Result<(), StorageError>>>>,
}

/// How to end the thread.
struct Running {
    thread: JoinHandle<()>,
    /// Ends its waits, when it is dropped.
    awake: SyncSender<Infallible>,
    /// Disconnected when the thread has ended its reading.
    ended: Receiver<Infallible>,
    is_ending: Arc<AtomicBool>,
    interrupt: InterruptHandle,
    may_interrupt: MayInterrupt,
}

/// Whether what the thread reads may be interrupted. Held while it is.
type MayInterrupt = Arc<Mutex<bool>>;

/// How often the log was set aside and begun anew, twice: the number is odd while it is emptied.
/// Otherwise the thread would take the new log's rows for the continuation of the old one's, and
/// call them damaged.
#[derive(Clone, Default)]
pub(crate) struct SharedLogNumber(Arc<AtomicU64>);

/// What the thread works with.
struct Reading {
    path: PathBuf,
    connection: Connection,
    checks: TableChecks,
    log: SharedLogNumber,
    asleep: Receiver<Infallible>,
    is_ending: Arc<AtomicBool>,
    may_interrupt: MayInterrupt,
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
        checks: TableChecks,
        first: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<Self, StorageError> {
        let connection = open_reader(path)?;
        // A transaction sees the database as it was when it began to read.
        let begun = connection.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema");
        begun.map_err(|error| classify(path, &error))?;
        let interrupt = connection.get_interrupt_handle();
        let ((awake, asleep), (ending, ended)) = (sync_channel(0), sync_channel(0));
        let (tell, outcome) = oneshot::channel();
        let (log, is_ending) = (SharedLogNumber::default(), Arc::default());
        let may_interrupt = Arc::new(Mutex::new(true));
        let reading = Reading {
            path: path.to_owned(),
            connection,
            checks,
            log: SharedLogNumber::clone(&log),
            asleep,
            is_ending: Arc::clone(&is_ending),
            may_interrupt: Arc::clone(&may_interrupt),
        };
        let is_all_read = !checked.is_by_mark;
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || reading.run(first, is_all_read, ending, tell))
            .map_err(|error| StorageError::Broken(path.to_owned(), error.to_string()))?;
        let running = Running { thread, awake, ended, is_ending, interrupt, may_interrupt };
        let (running, outcome) = (Mutex::new(Some(running)), Mutex::new(Some(outcome)));
        Ok(Self { path: path.to_owned(), running, log, outcome })
    }

    /// Returns what is damaged, once that is found. For one caller.
    pub(crate) fn damage(&self) -> impl Future<Output = StorageError> + use<> {
        let outcome = locked(&self.outcome).take();
        let path = self.path.clone();
        async move {
            let Some(outcome) = outcome else { return pending().await };
            match outcome.await {
                Ok(Ok(())) => pending().await,
                Ok(Err(error)) => error,
                Err(_dropped) => StorageError::Broken(path, "its thread has panicked".into()),
            }
        }
    }

    /// Returns what to empty the log by.
    pub(crate) fn log(&self) -> SharedLogNumber {
        self.log.clone()
    }

    /// Ends the thread, whatever it reads.
    pub(crate) fn end(&self) {
        let running = locked(&self.running).take();
        let Some(running) = running else { return };
        running.is_ending.store(true, Ordering::Release);
        drop(running.awake);
        // An interrupt that comes between two statements has no effect.
        while running.ended.recv_timeout(INTERRUPT_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            if *locked(&running.may_interrupt) {
                running.interrupt.interrupt();
            }
        }
        if running.thread.join().is_err() {
            log::error!("the thread that checks {} panicked", self.path.display());
        }
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.end();
    }
}

impl SharedLogNumber {
    /// Empties the log by `empty`.
    pub(crate) fn begin_anew<T>(
        &self,
        empty: impl FnOnce() -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let emptied = empty();
        self.0.fetch_add(1, Ordering::SeqCst);
        emptied
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Reading {
    /// Reads until the role ends, or damage is found. `ending` is dropped when all was read that
    /// will be.
    fn run(
        &self,
        first: impl FnOnce(&Connection) -> rusqlite::Result<()>,
        mut is_all_read: bool,
        ending: SyncSender<Infallible>,
        tell: oneshot::Sender<Result<(), StorageError>>,
    ) {
        let mut marked = 0;
        let worked = self.work(first, &mut is_all_read, &mut marked);
        *locked(&self.may_interrupt) = false;
        drop(ending);
        let outcome = match worked {
            Err(error) if !self.is_interrupt(&error) => Err(error),
            // At the end as well, so that the next start reads less.
            Ok(()) | Err(_) if is_all_read => {
                self.leave_transaction();
                self.move_mark(&mut marked, 1)
            }
            Ok(()) | Err(_) => Ok(()),
        };
        if outcome.is_err() {
            remove_mark(&self.path);
        }
        if let Err(Err(error)) = tell.send(outcome) {
            log::error!("{error}");
        }
    }

    /// Whether an error is only that the role ends.
    fn is_interrupt(&self, error: &StorageError) -> bool {
        self.is_ending() && !matches!(error, StorageError::Corrupt(..))
    }

    fn work(
        &self,
        first: impl FnOnce(&Connection) -> rusqlite::Result<()>,
        is_all_read: &mut bool,
        marked: &mut u64,
    ) -> Result<(), StorageError> {
        let done = first(&self.connection);
        self.leave_transaction();
        done.map_err(|error| damage_or(&self.path, &error))?;
        // Not before: what `first` reads keeps SQLite's log from being emptied. A thread that keeps
        // its priority does the same work.
        let _kept = setpriority_process(None, NICE);
        while !self.is_ending() {
            match self.look(is_all_read, marked) {
                // Nothing is wrong with the database: it may be locked.
                Err(error) if error.is_refusal() => log::warn!("{error}"),
                looked => looked?,
            }
            self.rest(LOOK_INTERVAL);
        }
        Ok(())
    }

    fn look(&self, is_all_read: &mut bool, marked: &mut u64) -> Result<(), StorageError> {
        if !*is_all_read {
            *is_all_read = self.read_everything()?;
        }
        if *is_all_read {
            self.move_mark(marked, MANY)?;
        }
        Ok(())
    }

    /// Ends a transaction that an interrupt left open, if there is one.
    fn leave_transaction(&self) {
        if !self.connection.is_autocommit() {
            // One that only reads has nothing to lose.
            let _ended = self.connection.execute_batch("ROLLBACK");
        }
    }

    fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// Waits so long, or until the role ends.
    fn rest(&self, time: Duration) {
        // Nothing is ever sent: the wait ends early when the sender is dropped.
        let _awake = self.asleep.recv_timeout(time);
    }

    /// Reads all rows, in pieces. Returns false if the role ends before.
    fn read_everything(&self) -> Result<bool, StorageError> {
        let mut read = ReadPart { log: self.log.get(), walk: Walk::start() };
        while !self.read_piece(&mut read)? {
            if !self.goes_on() {
                return Ok(false);
            }
        }
        let mut from = Some(String::new());
        while let Some(key) = from {
            let at_once = self.transaction()?;
            let checked = (self.checks.check_keys)(&at_once, &key, PIECE);
            from = checked.map_err(|error| damage_or(&self.path, &error))?;
            drop(at_once);
            if !self.goes_on() {
                return Ok(false);
            }
        }
        let (file, length) = (self.path.display(), read.walk.end.length);
        log::info!("{file}: all {length} orders were read, and none is damaged");
        Ok(true)
    }

    /// Pauses between two pieces. Returns false if the role ends.
    fn goes_on(&self) -> bool {
        self.rest(PAUSE);
        !self.is_ending()
    }

    /// Reads the next rows. Returns whether those were the last, and the sums agree.
    fn read_piece(&self, read: &mut ReadPart) -> Result<bool, StorageError> {
        let log = self.log.get();
        if read.log != log {
            *read = ReadPart { log, walk: Walk::start() };
        }
        let piece = self.advance(&mut read.walk);
        let is_one_log = log.is_multiple_of(2) && self.log.get() == log;
        // What was read of two logs means nothing.
        if is_one_log { piece } else { Ok(false) }
    }

    fn advance(&self, walk: &mut Walk) -> Result<bool, StorageError> {
        // The last rows and the sums are of one time.
        let at_once = self.transaction()?;
        if walk.advance(&at_once, &self.path, PIECE)? == PIECE {
            return Ok(false);
        }
        agreeing(&at_once, &self.path, walk.clone(), &self.checks).map(|_walk| true)
    }

    /// Moves the mark to the end of the log, if that has grown by `step`.
    fn move_mark(&self, marked: &mut u64, step: u64) -> Result<(), StorageError> {
        let Some(undamaged) = self.grown(marked, step)? else { return Ok(()) };
        let length = undamaged.end.length;
        match write_mark(&self.path, undamaged) {
            Ok(()) => *marked = length,
            // The next start reads more.
            Err(error) => log::debug!("{}: {error}", mark_path(&self.path).display()),
        }
        Ok(())
    }

    /// Reads where the log ends, and the sums, if it has grown.
    fn grown(&self, marked: &mut u64, step: u64) -> Result<Option<Walk>, StorageError> {
        let at_once = self.transaction()?;
        let mut read = || -> rusqlite::Result<Option<Walk>> {
            let length = length(&at_once)?;
            // A log that was begun anew is shorter.
            *marked = length.min(*marked);
            if length < MANY || length - *marked < step {
                return Ok(None);
            }
            let sold = (self.checks.sold)(&at_once)?.unwrap_or_default();
            Ok(position_before(&at_once, length)?.map(|end| Walk { end, sold }))
        };
        read().map_err(|error| damage_or(&self.path, &error))
    }

    fn transaction(&self) -> Result<Transaction<'_>, StorageError> {
        let begun = self.connection.unchecked_transaction();
        begun.map_err(|error| classify(&self.path, &error))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    const NO_SUMS: TableChecks = TableChecks {
        small_tables: &[],
        sold: |_connection| Ok(None),
        check_keys: |_connection, _from, _most| Ok(None),
    };

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

        fn check(&self, checks: TableChecks) -> Result<Checked, StorageError> {
            check(&self.connection, &self.path, &checks)
        }

        /// Checks the log as a role's start does, and has the thread read it until its end.
        fn run(&self, checks: TableChecks) -> Result<Checked, StorageError> {
            let found = self.check(checks)?;
            Checker::start("checker", &self.path, &found, checks, |_| Ok(())).unwrap().end();
            Ok(found)
        }

        fn reading(&self) -> Reading {
            Reading {
                path: self.path.clone(),
                connection: open_reader(&self.path).unwrap(),
                checks: NO_SUMS,
                log: SharedLogNumber::default(),
                asleep: sync_channel(0).1,
                is_ending: Arc::default(),
                may_interrupt: Arc::default(),
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
        let newer = [b"{\"of\":2,", &mark[1..]].concat();
        let foreign = fs::read(mark_path(&other.path)).unwrap();
        for foreign in [foreign, newer, mark[1..].to_vec(), vec![0xff]] {
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
        const ALL: TableChecks = TableChecks {
            sold: |_connection| Ok(Some([("Tux".into(), MANY), ("Uno".into(), 2)].into())),
            ..NO_SUMS
        };
        const ONE_MORE: TableChecks = TableChecks {
            sold: |_connection| Ok(Some([("Tux".into(), MANY + 1), ("Uno".into(), 2)].into())),
            ..NO_SUMS
        };
        let log = Log::of(MANY, "Tux");
        log.append(log.check(NO_SUMS).unwrap().walk.end, 2, "Uno");
        assert!(!log.run(ALL).unwrap().is_by_mark);
        assert!(log.run(ALL).unwrap().is_by_mark);
        let said = "the journal's orders of Tux add up to 100000, but the table stock says that \
                    100001 were sold";
        assert_eq!(problem(log.run(ONE_MORE)), said);
    }

    #[test]
    fn small_tables_are_checked_by_each_start() {
        const SMALL: TableChecks = TableChecks { small_tables: &["small"], ..NO_SUMS };
        let log = Log::of(MANY, "Tux");
        log.change("CREATE TABLE small (count INTEGER CHECK (count > 0))");
        log.change("INSERT INTO small VALUES (1)");
        log.run(SMALL).unwrap();
        assert!(log.check(SMALL).unwrap().is_by_mark);
        log.change(
            "PRAGMA ignore_check_constraints = ON; UPDATE small SET count = 0;
             PRAGMA ignore_check_constraints = OFF",
        );
        assert!(log.check(NO_SUMS).unwrap().is_by_mark);
        assert_eq!(problem(log.check(SMALL)), "CHECK constraint failed in small");
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
