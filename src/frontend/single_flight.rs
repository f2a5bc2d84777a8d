//! Single flight: clients that miss the same toy share one call to the catalog.
//!
//! When a popular toy is invalidated, all its readers miss at once. As in Go's
//! `golang.org/x/sync/singleflight`, at most one call per toy is under way. One rule differs: a
//! client may share an answer only if it arrived *before the call was sent*. In Go's version a
//! client joins a call that is already under way; here it waits for the next one.
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
//! If the client that makes a call goes away, the first of those that wait makes the call instead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use crate::wire::toy::ToyName;

/// The calls of a front-end to the catalog, whose answers are `A`.
pub struct SingleFlight<A> {
    calls: SharedCalls<A>,
}

type SharedCalls<A> = Arc<Mutex<Calls<oneshot::Sender<Turn<A>>>>>;

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
    calls: SharedCalls<A>,
    name: ToyName,
    /// Those that arrived before the call was sent, and share its answer.
    sharers: Vec<oneshot::Sender<Turn<A>>>,
}

/// The toys for which a call is under way, each with those that wait for the next call. `W` is a
/// channel in the service, a letter in a test.
#[derive(Clone, Debug)]
struct Calls<W> {
    waiting: HashMap<ToyName, Vec<W>>,
}

/// What a client that misses is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// Make the call at once.
    Call,
    /// Wait for the answer to the next call, or for a turn to make it.
    Wait,
}

impl<A> Default for SingleFlight<A> {
    fn default() -> Self {
        Self { calls: Arc::default() }
    }
}

impl<A: Clone> SingleFlight<A> {
    /// Makes `call`, or waits for the answer to a call that has not been sent yet. Returns `None`
    /// if there will be no answer, since the front-end is shutting down.
    ///
    /// # Panics
    ///
    /// If another thread panicked in the middle of this.
    pub async fn run(&self, name: ToyName, call: impl Future<Output = A>) -> Option<A> {
        let (waiter, turn) = oneshot::channel();
        let arrival = {
            let mut calls = self.calls.lock().expect("no thread panics under this lock");
            calls.arrive(&name, || waiter)
        };
        let own = match arrival {
            Arrival::Call => Flight { calls: Arc::clone(&self.calls), name, sharers: Vec::new() },
            Arrival::Wait => match turn.await {
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
        let waiting = {
            // A panic elsewhere must not cause a second one in this drop.
            let Ok(mut calls) = self.calls.lock() else { return };
            calls.end(&self.name, unanswered)
        };
        let mut waiting = waiting.into_iter();
        if let Some(next) = waiting.next() {
            let call = Self {
                calls: Arc::clone(&self.calls),
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
        Self { waiting: HashMap::new() }
    }
}

impl<W> Calls<W> {
    /// Notes that a client misses a toy. `waiter` is kept if the client has to wait.
    fn arrive(&mut self, name: &ToyName, waiter: impl FnOnce() -> W) -> Arrival {
        if let Some(waiting) = self.waiting.get_mut(name) {
            waiting.push(waiter());
            return Arrival::Wait;
        }
        self.waiting.insert(name.clone(), Vec::new());
        Arrival::Call
    }

    /// Notes that a call ended, with sharers that are still `unanswered` if it was abandoned.
    /// Returns those that wait, if any: the first must make the next call for all of them.
    fn end(&mut self, name: &ToyName, mut unanswered: Vec<W>) -> Vec<W> {
        let waiting = self.waiting.get_mut(name).map(std::mem::take).unwrap_or_default();
        unanswered.extend(waiting);
        if unanswered.is_empty() {
            self.waiting.remove(name);
        }
        unanswered
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn clients_that_arrive_after_a_call_was_sent_share_the_next() {
        let (mut calls, tux) = (Calls::default(), ToyName::from("Tux"));
        assert_eq!(calls.arrive(&tux, || "a"), Arrival::Call);
        assert_eq!(calls.arrive(&tux, || "b"), Arrival::Wait);
        assert_eq!(calls.arrive(&tux, || "c"), Arrival::Wait);
        assert_eq!(calls.arrive(&"Uno".into(), || "d"), Arrival::Call);
        assert_eq!(calls.end(&tux, Vec::new()), ["b", "c"]);
        // b makes the call now; clients that arrive from here on wait for the call after it.
        assert_eq!(calls.arrive(&tux, || "e"), Arrival::Wait);
        assert_eq!(calls.end(&tux, Vec::new()), ["e"]);
        assert!(calls.end(&tux, Vec::new()).is_empty());
        assert_eq!(calls.arrive(&tux, || "f"), Arrival::Call);
    }

    #[test]
    fn the_sharers_of_a_call_that_was_abandoned_go_first() {
        let (mut calls, tux) = (Calls::default(), ToyName::from("Tux"));
        calls.arrive(&tux, || "a");
        calls.arrive(&tux, || "d");
        assert_eq!(calls.end(&tux, vec!["b", "c"]), ["b", "c", "d"]);
        assert_eq!(calls.arrive(&tux, || "e"), Arrival::Wait);
    }

    #[actix_web::test]
    async fn a_client_that_goes_away_passes_its_call_to_one_that_waits() {
        let flight = SingleFlight::default();
        let abandoned = flight.run("Tux".into(), std::future::pending::<u8>());
        let waiting = flight.run("Tux".into(), std::future::ready(4));
        let (mut abandoned, mut waiting) = (Box::pin(abandoned), Box::pin(waiting));
        assert_eq!((&mut abandoned).now_or_never(), None);
        assert_eq!((&mut waiting).now_or_never(), None);
        drop(abandoned);
        assert_eq!(waiting.await, Some(4));
    }
}
