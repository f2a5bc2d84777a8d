//! Misses on their way to the catalog: [`flights`](super::core::flights), with channels to wait at.

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::core::flights::{Boarding, Flights};
use crate::wire::toy::ToyName;

type Shared<A> = Arc<Mutex<Flights<oneshot::Sender<Turn<A>>>>>;

/// All misses of a front-end, whose answers are `A`.
pub struct Misses<A> {
    flights: Shared<A>,
}

/// What those who wait are told.
enum Turn<A> {
    /// Somebody asked for them.
    Answered(A),
    /// They are to ask, for themselves and others.
    Ask(Flight<A>),
}

/// A question that is under way. When it ends, answered or because the client that asked it has
/// gone, the next one goes out.
struct Flight<A> {
    flights: Shared<A>,
    name: ToyName,
    companions: Vec<oneshot::Sender<Turn<A>>>,
}

impl<A> Default for Misses<A> {
    fn default() -> Self {
        Self { flights: Shared::default() }
    }
}

impl<A: Clone> Misses<A> {
    /// Asks, or waits for somebody's answer to a question that is not asked yet. Nothing if that
    /// cannot be had any more, because the front-end is ending.
    ///
    /// # Panics
    ///
    /// If another thread panicked in the middle of this.
    pub async fn ask(&self, name: ToyName, ask: impl Future<Output = A>) -> Option<A> {
        let (waiter, turn) = oneshot::channel();
        let boarding = {
            let mut flights = self.flights.lock().expect("nothing panics under this lock");
            flights.board(&name, || waiter)
        };
        let flight = match boarding {
            Boarding::Depart => {
                Flight { flights: Arc::clone(&self.flights), name, companions: Vec::new() }
            }
            Boarding::Wait => match turn.await {
                Ok(Turn::Answered(answer)) => return Some(answer),
                Ok(Turn::Ask(flight)) => flight,
                Err(_gone) => return None,
            },
        };
        let answer = ask.await;
        flight.answer(&answer);
        Some(answer)
    }
}

impl<A: Clone> Flight<A> {
    fn answer(mut self, answer: &A) {
        for companion in std::mem::take(&mut self.companions) {
            let _unheard = companion.send(Turn::Answered(answer.clone()));
        }
    }
}

impl<A> Drop for Flight<A> {
    fn drop(&mut self) {
        let unanswered = std::mem::take(&mut self.companions);
        let waiting = {
            // A panic elsewhere must not make a second one of this drop.
            let Ok(mut flights) = self.flights.lock() else { return };
            flights.land(&self.name, unanswered)
        };
        let mut waiting = waiting.into_iter();
        if let Some(next) = waiting.next() {
            let flight = Self {
                flights: Arc::clone(&self.flights),
                name: self.name.clone(),
                companions: waiting.filter(|companion| !companion.is_closed()).collect(),
            };
            // If it has gone, too, its flight comes back and is dropped, and so the next is asked.
            let _gone = next.send(Turn::Ask(flight));
        }
    }
}
