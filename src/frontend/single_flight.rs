//! Single flight: clients that miss the same toy, or want the list of all toys, share calls to the
//! catalog.
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
//! than a call of its own. Of lists, which may have megabytes, a thread asks for one at a time.
//!
//! If the client that makes a call goes away, the last of those that wait makes the call instead.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

use tokio::sync::oneshot;

/// One thread's calls to the catalog, for what `K` names. Their answers are `A`.
pub struct SingleFlight<K: Key, A> {
    calls: ThreadsCalls<K, A>,
}

/// What calls are made for.
pub trait Key: Clone + Eq + Hash {}

impl<K: Clone + Eq + Hash> Key for K {}

type ThreadsCalls<K, A> = Rc<RefCell<Calls<K, oneshot::Sender<Turn<K, A>>>>>;

/// What a client that waits receives.
enum Turn<K: Key, A> {
    /// The answer of a call that was sent after the client arrived.
    Answered(A),
    /// The client is to make the call, for itself and for others.
    Call(Flight<K, A>),
}

/// A call that is under way. When it is dropped, answered or because its client went away, the
/// next one may begin.
struct Flight<K: Key, A> {
    calls: ThreadsCalls<K, A>,
    key: K,
    /// Those that arrived before the call was sent, and share its answer.
    sharers: Vec<oneshot::Sender<Turn<K, A>>>,
}

/// The calls that are under way. `W` is a channel in the service, a letter in a test.
#[derive(Clone, Debug)]
struct Calls<K, W> {
    by_key: HashMap<K, UnderWay<W>>,
    /// How many there may be for one key.
    most: usize,
}

/// The calls for one key.
#[derive(Clone, Debug)]
struct UnderWay<W> {
    /// How many there are.
    calls: usize,
    /// Those that wait for the next.
    waiting: Vec<W>,
}

impl<K: Key, A: Clone> SingleFlight<K, A> {
    /// No calls yet, of which at most `most` for one key are made at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { calls: Rc::new(RefCell::new(Calls::new(most))) }
    }

    /// Makes `call`, or waits for the answer to a call that has not been sent yet. Returns `None`
    /// if there will be no answer, since the front-end is shutting down.
    pub async fn run(&self, key: K, call: impl Future<Output = A>) -> Option<A> {
        let turn = {
            let mut calls = self.calls.borrow_mut();
            (!calls.begin(&key)).then(|| {
                let (waiter, turn) = oneshot::channel();
                calls.keep(&key, waiter);
                turn
            })
        };
        let own = match turn {
            None => Flight { calls: Rc::clone(&self.calls), key, sharers: Vec::new() },
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

impl<K: Key, A: Clone> Flight<K, A> {
    /// Shares the answer, and ends the call.
    fn answer(mut self, answer: &A) {
        for sharer in std::mem::take(&mut self.sharers) {
            let _client_gone = sharer.send(Turn::Answered(answer.clone()));
        }
    }
}

impl<K: Key, A> Drop for Flight<K, A> {
    fn drop(&mut self) {
        let unanswered = std::mem::take(&mut self.sharers);
        let mut waiting = self.calls.borrow_mut().end(&self.key, unanswered);
        // The one that came last has most of its time left.
        if let Some(next) = waiting.pop() {
            let call = Self {
                calls: Rc::clone(&self.calls),
                key: self.key.clone(),
                sharers: waiting.into_iter().filter(|sharer| !sharer.is_closed()).collect(),
            };
            // If that client went away, too, the call comes back, is dropped here, and so passes
            // to the one after it.
            let _client_gone = next.send(Turn::Call(call));
        }
    }
}

impl<K: Key, W> Calls<K, W> {
    fn new(most: usize) -> Self {
        Self { by_key: HashMap::new(), most }
    }

    /// Begins a call, unless there are as many for this key as there may be.
    fn begin(&mut self, key: &K) -> bool {
        let Some(under_way) = self.by_key.get_mut(key) else {
            self.by_key.insert(key.clone(), UnderWay { calls: 1, waiting: Vec::new() });
            return true;
        };
        let begins = under_way.calls < self.most;
        under_way.calls += usize::from(begins);
        begins
    }

    /// Keeps a client that waits for the next call.
    fn keep(&mut self, key: &K, waiter: W) {
        if let Some(under_way) = self.by_key.get_mut(key) {
            under_way.waiting.push(waiter);
        }
    }

    /// Notes that a call ended, with sharers that are still `unanswered` if it was abandoned.
    /// Returns those that wait, if any: one must make the next call for all of them.
    fn end(&mut self, key: &K, mut unanswered: Vec<W>) -> Vec<W> {
        let Some(under_way) = self.by_key.get_mut(key) else { return unanswered };
        unanswered.append(&mut under_way.waiting);
        if unanswered.is_empty() {
            under_way.calls -= 1;
            if under_way.calls == 0 {
                self.by_key.remove(key);
            }
        }
        unanswered
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::wire::toy::ToyName;

    /// Calls for one toy at most, in these tests.
    const MOST: usize = 4;

    /// As many calls for Tux as there may be.
    fn busy() -> (Calls<ToyName, &'static str>, ToyName) {
        let (mut calls, tux) = (Calls::new(MOST), ToyName::from("Tux"));
        for _ in 0..MOST {
            assert!(calls.begin(&tux));
        }
        (calls, tux)
    }

    fn wait(calls: &mut Calls<ToyName, &'static str>, name: &ToyName, waiter: &'static str) {
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
        for _ in 0..MOST {
            assert!(calls.end(&tux, Vec::new()).is_empty());
        }
        assert!(!calls.by_key.contains_key(&tux));
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
        let flight = SingleFlight::<ToyName, _>::new(MOST);
        let pending = || Box::pin(flight.run("Tux".into(), std::future::pending::<u8>()));
        let mut abandoned: Vec<_> = (0..MOST).map(|_| pending()).collect();
        for call in &mut abandoned {
            assert_eq!(call.now_or_never(), None);
        }
        let mut waiting = Box::pin(flight.run("Tux".into(), std::future::ready(4)));
        assert_eq!((&mut waiting).now_or_never(), None);
        abandoned.pop();
        assert_eq!(waiting.await, Some(4));
    }
}
