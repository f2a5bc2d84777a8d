//! How strangers share a thread with a role's own work.
//!
//! A catalog and a replica serve their connections on the thread that does their work. A thousand
//! clients that ask for `/metrics` without a pause have a thousand connections that are ready
//! whenever the runtime looks at the network. It would go through all of them before it looks
//! again, and an order, which comes to such a thread some five times, would wait for thousands of
//! answers. So they stand in line: one of them takes a step, and before the next one everything
//! else that is ready goes on.
//!
//! ```text
//! │ is a look at the network, `frame` another role's call
//! without lines  │ frame  client client client client … client │ frame  client client …
//! with lines     │ frame  client │ frame  client │ frame  client │
//! ```
//!
//! Connections over which a role makes calls stand in no line: those with frames, and those over
//! which the store's secret has come. Until its first bytes have been read, a role's connection
//! looks like a client's. Such connections have a line of their own, so that a role that connects
//! anew does not wait for the answers to all clients, but for the first bytes of those that came
//! before it.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::rt;
use tokio::sync::{Notify, Semaphore};
use tokio::task::yield_now;
use tokio_util::sync::PollSemaphore;

/// Who stands in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A connection of which nothing has been heard.
    Unheard,
    /// One that may be any client's.
    Stranger,
}

/// The lines of one thread.
pub(super) struct Lines {
    unheard: WaitingLine,
    strangers: WaitingLine,
}

/// One line. Its first may go on when the runtime has gone through all else that is ready.
struct WaitingLine {
    may_go_on: Arc<Semaphore>,
    /// One has gone on.
    gone_on: Rc<Notify>,
}

impl Lines {
    /// Lines that move until the thread ends.
    pub(super) fn new() -> Self {
        Self { unheard: WaitingLine::new(), strangers: WaitingLine::new() }
    }

    /// Does `work`. Before each step it waits in the line that `standing` names at that time, if
    /// any; `waits` says whether it does.
    pub(super) async fn stand<W: Future>(
        &self,
        standing: impl Fn() -> Option<Standing>,
        waits: &Cell<bool>,
        work: W,
    ) -> W::Output {
        let mut work = pin!(work);
        let mut place = None;
        poll_fn(|cx| {
            let standing = standing();
            // Who leaves a line makes way in it.
            if place.as_ref().is_none_or(|(line, _)| Some(*line) != standing) {
                place = standing.map(|line| (line, self.line(line).join()));
            }
            let first = match &mut place {
                Some((_, place)) => place.poll_first(cx),
                None => Poll::Ready(()),
            };
            waits.set(first.is_pending());
            ready!(first);
            work.as_mut().poll(cx)
        })
        .await
    }

    fn line(&self, standing: Standing) -> &WaitingLine {
        match standing {
            Standing::Unheard => &self.unheard,
            Standing::Stranger => &self.strangers,
        }
    }
}

impl WaitingLine {
    /// A line that moves until the thread ends.
    fn new() -> Self {
        let (may_go_on, gone_on) = (Arc::new(Semaphore::new(1)), Rc::new(Notify::new()));
        rt::spawn(advance(Arc::clone(&may_go_on), Rc::clone(&gone_on)));
        Self { may_go_on, gone_on }
    }

    fn join(&self) -> PlaceInLine<'_> {
        PlaceInLine { line: self, may_go_on: PollSemaphore::new(Arc::clone(&self.may_go_on)) }
    }
}

/// Lets the next one go on when all else that was ready has. The pause is another task's: a
/// dispatcher may poll a handler that yields several times in a row.
async fn advance(may_go_on: Arc<Semaphore>, gone_on: Rc<Notify>) {
    loop {
        gone_on.notified().await;
        yield_now().await;
        may_go_on.add_permits(1);
    }
}

/// A place in a line.
struct PlaceInLine<'a> {
    line: &'a WaitingLine,
    may_go_on: PollSemaphore,
}

impl PlaceInLine<'_> {
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let permit = ready!(Pin::new(&mut self.may_go_on).poll_acquire(cx));
        permit.expect("it is never closed").forget();
        self.line.gone_on.notify_one();
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;
    use tokio::task::JoinSet;

    use super::*;

    /// Serves many clients, which never pause, and says how many steps they took at most while a
    /// byte was on its way to another task; and how many while a connection came that is unheard.
    async fn steps_meanwhile(standing: Option<Standing>) -> (usize, usize) {
        const CLIENTS: usize = 200;
        const BYTES: usize = 100;
        let lines = Rc::new(Lines::new());
        let steps = Rc::new(Cell::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (lines, steps) = (Rc::clone(&lines), Rc::clone(&steps));
            clients.spawn_local(async move {
                let endless = poll_fn(|cx| {
                    steps.set(steps.get() + 1);
                    cx.waker().wake_by_ref();
                    Poll::<()>::Pending
                });
                lines.stand(|| standing, &Cell::new(false), endless).await;
            });
        }
        let (mut near, mut far) = UnixStream::pair().expect("a pair of sockets");
        let mut most = 0;
        for _ in 0..BYTES {
            // The byte comes when the other task waits for it.
            let write = async {
                yield_now().await;
                let before = steps.get();
                far.write_all(b"x").await.expect("it takes a byte");
                before
            };
            let mut byte = [0];
            let (before, read) = tokio::join!(write, near.read_exact(&mut byte));
            read.expect("it has a byte");
            most = most.max(steps.get() - before);
        }
        let before = steps.get();
        lines.stand(|| Some(Standing::Unheard), &Cell::new(false), yield_now()).await;
        (most, steps.get() - before)
    }

    #[actix_web::test]
    async fn one_stranger_takes_a_step_between_two_looks_at_the_network() {
        let (in_line, _) = steps_meanwhile(Some(Standing::Stranger)).await;
        // The runtime goes through 61 tasks before it looks again.
        let (without_lines, _) = steps_meanwhile(None).await;
        assert!(in_line <= 3 && without_lines > 50, "{in_line}, {without_lines}");
    }

    #[actix_web::test]
    async fn what_is_unheard_does_not_wait_for_all_strangers() {
        let (_, strangers) = steps_meanwhile(Some(Standing::Stranger)).await;
        let (_, unheard) = steps_meanwhile(Some(Standing::Unheard)).await;
        assert!(strangers <= 6 && unheard >= 200, "{strangers}, {unheard}");
    }

    /// Gives the first place in line to the first of three, and the next place to the second, which
    /// does not use it. Then `leaves`; returns who has gone on in the end.
    async fn gone_on_if(leaves: impl FnOnce(&Cell<Option<Standing>>) -> bool) -> Vec<char> {
        let lines = Lines::new();
        let gone_on = RefCell::new(Vec::new());
        let standings = [(); 3].map(|()| Cell::new(Some(Standing::Stranger)));
        let waits = [(); 3].map(|()| Cell::new(false));
        let (lines, gone_on, standings, waits) = (&lines, &gone_on, &standings, &waits);
        let work = |place: usize, name| {
            let own = async move {
                gone_on.borrow_mut().push(name);
                // It has more to do.
                if name == 'b' {
                    std::future::pending::<()>().await;
                }
            };
            Box::pin(lines.stand(move || standings[place].get(), &waits[place], own))
        };
        let (mut a, mut b, mut c) = (work(0, 'a'), work(1, 'b'), work(2, 'c'));
        assert!((&mut a).now_or_never().is_some());
        assert!((&mut b).now_or_never().is_none() && (&mut c).now_or_never().is_none());
        assert_eq!(waits.each_ref().map(Cell::get), [false, true, true]);
        // The next place is given away.
        for _ in 0..3 {
            yield_now().await;
        }
        let mut b = Some(b);
        if leaves(&standings[1]) {
            b = None;
        }
        let _goes_on = b.as_mut().map(futures_util::FutureExt::now_or_never);
        rt::time::timeout(Duration::from_secs(10), c).await.expect("its turn comes");
        drop(b);
        gone_on.take()
    }

    #[actix_web::test]
    async fn one_that_leaves_the_line_when_it_is_first_makes_way() {
        assert_eq!(gone_on_if(|_| true).await, ['a', 'c'], "its connection ends");
        let is_known = |standing: &Cell<_>| {
            standing.set(None);
            false
        };
        assert_eq!(gone_on_if(is_known).await, ['a', 'b', 'c'], "it belongs to a role");
    }
}
