//! Waiting for something that must happen: tests poll until a deadline and never sleep for it.

use std::time::Duration;

use toystore::clock;

/// How long a test waits before it fails. Far more than anything takes; a machine may be busy.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(20);
/// The pause between two looks: short beside what tests wait for, long beside a look.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The result of a look: `true`, or `Some` of what was looked for.
pub(crate) trait Look {
    type Found;

    fn found(self) -> Option<Self::Found>;
}

impl Look for bool {
    type Found = ();

    fn found(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Look for Option<T> {
    type Found = T;

    fn found(self) -> Option<T> {
        self
    }
}

/// Looks until something is found, and returns it. Panics with `what` after [`TIME_LIMIT`].
pub(crate) async fn eventually<L: Look>(what: &str, mut look: impl AsyncFnMut() -> L) -> L::Found {
    let deadline = clock::now() + TIME_LIMIT;
    loop {
        if let Some(found) = look().await.found() {
            return found;
        }
        assert!(clock::now() < deadline, "this did not happen within {TIME_LIMIT:?}: {what}");
        actix_web::rt::time::sleep(LOOK_INTERVAL).await;
    }
}
