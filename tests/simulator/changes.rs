//! News for several who wait for it, woken in the order in which they began to wait. (Tokio's own
//! `watch` wakes them in an order that it draws, which no seed repeats.)

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Where news is told.
#[derive(Clone, Default)]
pub(crate) struct Changes(Rc<Inner>);

#[derive(Default)]
struct Inner {
    count: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

/// Somebody who waits for news.
pub(crate) struct Listener {
    changes: Changes,
    heard: u64,
}

impl Changes {
    pub(crate) fn tell(&self) {
        self.0.count.set(self.0.count.get() + 1);
        self.0.waiting.take().into_iter().for_each(Waker::wake);
    }

    pub(crate) fn listen(&self) -> Listener {
        Listener { changes: self.clone(), heard: self.0.count.get() }
    }
}

impl Listener {
    /// What was told until now is no news any more.
    pub(crate) fn catch_up(&mut self) {
        self.heard = self.changes.0.count.get();
    }

    /// Ends when there is news, at once if there is some already.
    pub(crate) async fn news(&mut self) {
        poll_fn(|context| {
            if self.heard == self.changes.0.count.get() {
                self.changes.0.waiting.borrow_mut().push(context.waker().clone());
                return Poll::Pending;
            }
            self.catch_up();
            Poll::Ready(())
        })
        .await;
    }
}
