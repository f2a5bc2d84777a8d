//! Single flight: clients that miss the same toy share calls to the catalog.
//!
//! When a popular toy is invalidated, all its readers miss at once. As in Go's
//! `golang.org/x/sync/singleflight`, they share calls. Two rules differ. A client may share an
//! answer only if it arrived *before the call was sent*: in Go's version a client joins a call that
//! is already under way; here it waits for a later one.
//!
//! The reason is that an answer is as old as the call. A client that arrives later may have been
//! told a newer quantity by then, at another front-end or as the answer to a purchase:
//!
//! ```text
//! client a    catalog           client b
//!   | Tux? ----->|                  |
//!   |            | reads 5          |
//!   |            | sells one        |
//!   |            |- - - - - - - - ->| told of the sale: 4 are left
//!   |            |                  | Tux?  a's answer (5) would be stale: b waits
//!   |<---- 5 ----|                  |
//!   |            |<----------- Tux? | the next call, for b and all who waited with it
//!   |            |-------- 4 ------>|
//! ```
//!
//! And each thread may have some calls for one toy under way, not the whole process one. With one,
//! a client that arrives just after it was sent waits twice as long as it has to, while the catalog
//! is idle; and to wake a client's thread for an answer that came to another thread takes longer
//! than a call of its own.
//!
//! If the client that makes a call goes away, the first of those that wait makes the call instead.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::oneshot;

use crate::wire::toy::ToyName;

/// Calls for one toy that a thread has under way at most: so many that a few clients need not wait,
/// and so few that many of them share.
const MOST_CALLS: usize = 4;

/// One thread's calls to the catalog, whose answers are `A`.
pub struct SingleFlight<A> {
    calls: ThreadsCalls<A>,
}

type ThreadsCalls<A> = Rc<RefCell<Calls<oneshot::Sender<Turn<A>>>>>;

/// What a client that waits receives.
enum Turn<A> {
    /// The answer of a call that was sent after the client arrived.
    Answered(A),
    /// The client is to make the call, for itself and for others.
    Call(Flight<A>),
}

/// A call that is under way. When it is dropped, answered or because its client went away, the
/// next one may begin.
struct Flight<A> {
    calls: ThreadsCalls<A>,
    name: ToyName,
    /// Those that arrived before the call was sent, and share its answer.
    sharers: Vec<oneshot::Sender<Turn<A>>>,
}

/// The toys for which calls are under way. `W` is a channel in the service, a letter in a test.
#[derive(Clone, Debug)]
struct Calls<W> {
    by_toy: HashMap<ToyName, UnderWay<W>>,
}

/// The calls for one toy.
#[derive(Clone, Debug)]
struct UnderWay<W> {
    /// How many there are.
    calls: usize,
    /// Those that wait for the next.
    waiting: Vec<W>,
}

impl<A> Default for SingleFlight<A> {
    fn default() -> Self {
        Self { calls: Rc::default() }
    }
}

impl<A: Clone> SingleFlight<A> {
    /// Makes `call`, or waits for the answer to a call that has not been sent yet. Returns `None`
    /// if there will be no answer, since the front-end is shutting down.
    pub async fn run(&self, name: ToyName, call: impl Future<Output = A>) -> Option<A> {
        let turn = {
            let mut calls = self.calls.borrow_mut();
            (!calls.begin(&name)).then(|| {
                let (waiter, turn) = oneshot::channel();
                calls.keep(&name, waiter);
                turn
            })
        };
        let own = match turn {
            None => Flight { calls: Rc::clone(&self.calls), name, sharers: Vec::new() },
            Some(turn) => match turn.await {
                Ok(Turn::Answered(answer)) => return Some(answer),
                Ok(Turn::Call(own)) => own,
                Err(_shutting_down) => return None,
            },
        };
        let answer = call.await;
        own.answer(&answer);
        Some(answer)
    }
}

impl<A: Clone> Flight<A> {
    /// Shares the answer, and ends the call.
    fn answer(mut self, answer: &A) {
        for sharer in std::mem::take(&mut self.sharers) {
            let _client_gone = sharer.send(Turn::Answered(answer.clone()));
        }
    }
}

impl<A> Drop for Flight<A> {
    fn drop(&mut self) {
        let unanswered = std::mem::take(&mut self.sharers);
        let waiting = self.calls.borrow_mut().end(&self.name, unanswered);
        let mut waiting = waiting.into_iter();
        if let Some(next) = waiting.next() {
            let call = Self {
                calls: Rc::clone(&self.calls),
                name: self.name.clone(),
                sharers: waiting.filter(|sharer| !sharer.is_closed()).collect(),
            };
            // If that client went away, too, the call comes back, is dropped here, and so passes
            // to the one after it.
            let _client_gone = next.send(Turn::Call(call));
        }
    }
}

impl<W> Default for Calls<W> {
    fn default() -> Self {
        Self { by_toy: HashMap::new() }
    }
}

impl<W> Calls<W> {
    /// Begins a call, unless there are as many for this toy as there may be.
    fn begin(&mut self, name: &ToyName) -> bool {
        let Some(under_way) = self.by_toy.get_mut(name) else {
            self.by_toy.insert(name.clone(), UnderWay { calls: 1, waiting: Vec::new() });
            return true;
        };
        let begins = under_way.calls < MOST_CALLS;
        under_way.calls += usize::from(begins);
        begins
    }

    /// Keeps a client that waits for the next call.
    fn keep(&mut self, name: &ToyName, waiter: W) {
        if let Some(under_way) = self.by_toy.get_mut(name) {
            under_way.waiting.push(waiter);
        }
    }

    /// Notes that a call ended, with sharers that are still `unanswered` if it was abandoned.
    /// Returns those that wait, if any: the first must make the next call for all of them.
    fn end(&mut self, name: &ToyName, mut unanswered: Vec<W>) -> Vec<W> {
        let Some(under_way) = self.by_toy.get_mut(name) else { return unanswered };
        unanswered.append(&mut under_way.waiting);
        if unanswered.is_empty() {
            under_way.calls -= 1;
            if under_way.calls == 0 {
                self.by_toy.remove(name);
            }
        }
        unanswered
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// As many calls for Tux as there may be.
    fn busy() -> (Calls<&'static str>, ToyName) {
        let (mut calls, tux) = (Calls::default(), ToyName::from("Tux"));
        for _ in 0..MOST_CALLS {
            assert!(calls.begin(&tux));
        }
        (calls, tux)
    }

    fn wait(calls: &mut Calls<&'static str>, name: &ToyName, waiter: &'static str) {
        assert!(!calls.begin(name), "{waiter} has to wait");
        calls.keep(name, waiter);
    }

    #[test]
    fn clients_that_arrive_after_calls_were_sent_share_the_next() {
        let (mut calls, tux) = busy();
        wait(&mut calls, &tux, "b");
        wait(&mut calls, &tux, "c");
        assert!(calls.begin(&"Uno".into()));
        assert_eq!(calls.end(&tux, Vec::new()), ["b", "c"]);
        // b makes the call now; clients that arrive from here on wait for a call after it.
        wait(&mut calls, &tux, "e");
        assert_eq!(calls.end(&tux, Vec::new()), ["e"]);
        for _ in 0..MOST_CALLS {
            assert!(calls.end(&tux, Vec::new()).is_empty());
        }
        assert!(!calls.by_toy.contains_key(&tux));
        assert!(calls.begin(&tux));
    }

    #[test]
    fn a_call_that_ends_while_no_client_waits_makes_room_for_one() {
        let (mut calls, tux) = busy();
        assert!(calls.end(&tux, Vec::new()).is_empty());
        assert!(calls.begin(&tux));
        wait(&mut calls, &tux, "c");
    }

    #[test]
    fn the_sharers_of_a_call_that_was_abandoned_go_first() {
        let (mut calls, tux) = busy();
        wait(&mut calls, &tux, "d");
        assert_eq!(calls.end(&tux, vec!["b", "c"]), ["b", "c", "d"]);
        wait(&mut calls, &tux, "e");
    }

    #[actix_web::test]
    async fn a_client_that_goes_away_passes_its_call_to_one_that_waits() {
        let flight = SingleFlight::default();
        let pending = || Box::pin(flight.run("Tux".into(), std::future::pending::<u8>()));
        let mut abandoned: Vec<_> = (0..MOST_CALLS).map(|_| pending()).collect();
        for call in &mut abandoned {
            assert_eq!(call.now_or_never(), None);
        }
        let mut waiting = Box::pin(flight.run("Tux".into(), std::future::ready(4)));
        assert_eq!((&mut waiting).now_or_never(), None);
        abandoned.pop();
        assert_eq!(waiting.await, Some(4));
    }
}
