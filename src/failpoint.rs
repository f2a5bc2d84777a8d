//! Places between the steps of the protocol where a test can end or hold up a role.
//!
//! Without the feature `failpoints` there is nothing here. With it, the environment's `FAILPOINTS`
//! says what happens where, as in `FAILPOINTS='catalog-committed=100*off->return'`: pass a hundred
//! times, then abort, as by kill -9. `sleep(500)` instead of `return` holds the role up.

/// The journal's transaction is about to begin.
pub const CATALOG_BEFORE_COMMIT: &str = "catalog-before-commit";
/// The transaction is on disk, and not visible yet.
pub const CATALOG_COMMITTED: &str = "catalog-committed";
/// The change is visible, and the leader is not answered yet.
pub const CATALOG_PUBLISHED: &str = "catalog-published";
/// A new leadership is on disk, and the nominee is not answered yet.
pub const CATALOG_ACQUIRED: &str = "catalog-acquired";
/// The catalog has answered, and the leader has not accepted the rows yet.
pub const LEADER_SOLD: &str = "leader-sold";
/// Rows are on the leader's disk, and no client has its answer yet.
pub const LEADER_APPENDED: &str = "leader-appended";
/// Rows are on a follower's disk, and the leader is not answered yet.
pub const FOLLOWER_SYNCED: &str = "follower-synced";
/// A replica has written some of what it missed, and not all.
pub const CATCHING_UP: &str = "catching-up";

/// A step of a backup is done, and the next one has not begun.
pub const BACKUP_STEP: &str = "backup-step";
/// A step of a restore is done, and the next one has not begun.
pub const RESTORE_STEP: &str = "restore-step";

/// A transaction is about to be synced, and the sync hangs.
pub const DISK_HANGS: &str = "disk-hangs";
/// A transaction is about to be synced, and the disk is full.
pub const DISK_FULL: &str = "disk-full";

/// Passes the place called `name`, unless a test has it otherwise.
#[cfg(feature = "failpoints")]
pub fn pass(name: &'static str) {
    fail::fail_point!(name, |_| std::process::abort());
}

/// Passes the place called `name`.
#[cfg(not(feature = "failpoints"))]
pub fn pass(_name: &'static str) {}

/// Whether a test makes the step called `name` fail.
#[cfg(feature = "failpoints")]
#[must_use]
pub fn fails(name: &'static str) -> bool {
    fail::fail_point!(name, |_| true);
    false
}

/// Nothing fails by order.
#[cfg(not(feature = "failpoints"))]
#[must_use]
pub fn fails(_name: &'static str) -> bool {
    false
}

/// Reads the environment's `FAILPOINTS`. What it says holds while the result lives.
#[cfg(feature = "failpoints")]
#[must_use]
pub fn set_up() -> impl Drop {
    fail::FailScenario::setup()
}
