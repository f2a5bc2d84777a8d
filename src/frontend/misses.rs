//! Misses on their way to the catalog: [`flights`](super::flights), with channels to wait at.

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::flights::{Boarding, Flights};
use super::service::{ToyAnswer, Trouble};
use crate::wire::toy::ToyName;

/// What comes of a miss.
type Answer = Result<ToyAnswer, Trouble>;
type Shared = Arc<Mutex<Flights<oneshot::Sender<Turn>>>>;

/// All misses of a front-end.
#[derive(Default)]
pub(super) struct Misses {
    flights: Shared,
}

/// What those who wait are told.
enum Turn {
    /// Somebody asked for them.
    Answered(Answer),
    /// They are to ask, for themselves and others.
    Ask(Flight),
}

/// A question that is under way. When it ends, answered or because the client that asked it has
/// gone, the next one goes out.
struct Flight {
    flights: Shared,
    name: ToyName,
    companions: Vec<oneshot::Sender<Turn>>,
}

impl Misses {
    /// Asks, or waits for somebody's answer to a question that is not asked yet.
    pub(super) async fn ask(&self, name: ToyName, ask: impl Future<Output = Answer>) -> Answer {
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
                Ok(Turn::Answered(answer)) => return answer,
                Ok(Turn::Ask(flight)) => flight,
                Err(_gone) => return Err(Trouble::Overloaded),
            },
        };
        let answer = ask.await;
        flight.answer(&answer);
        answer
    }
}

impl Flight {
    fn answer(mut self, answer: &Answer) {
        for companion in std::mem::take(&mut self.companions) {
            let _unheard = companion.send(Turn::Answered(answer.clone()));
        }
    }
}

impl Drop for Flight {
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
