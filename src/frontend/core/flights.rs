//! Questions to the catalog that several clients share.
//!
//! When a toy that everybody asks for changes, everybody misses at once. They may share one
//! question, but only if they came before it was sent: an answer that was given before a client
//! asked may be older than what that client has been told already.
//!
//! ```text
//! client a   |--ask Tux------------------>|
//! client b      |-- came too late for a's question; waits
//! client c          |-- waits, too        |--b asks for itself and c-->|
//! catalog        answers a                    answers b and c
//! ```
//!
//! So at most one question about a toy is under way, and those who come meanwhile share the next.
//!
//! `W` is who waits: a channel in the server, a number in a test.

use std::collections::HashMap;

use crate::wire::toy::ToyName;

/// The questions under way, and who waits for the next.
#[derive(Clone, Debug)]
pub struct Flights<W> {
    waiting: HashMap<ToyName, Vec<W>>,
}

/// What becomes of a client that misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boarding {
    /// Ask at once.
    Depart,
    /// Wait for the next question's answer, or for one's turn to ask it.
    Wait,
}

impl<W> Default for Flights<W> {
    fn default() -> Self {
        Self { waiting: HashMap::new() }
    }
}

impl<W> Flights<W> {
    /// A client misses a toy. `waiter` is kept if it has to wait.
    pub fn board(&mut self, name: &ToyName, waiter: impl FnOnce() -> W) -> Boarding {
        if let Some(waiting) = self.waiting.get_mut(name) {
            waiting.push(waiter());
            return Boarding::Wait;
        }
        self.waiting.insert(name.clone(), Vec::new());
        Boarding::Depart
    }

    /// The question is answered, or was given up with `unanswered` companions. If anybody waits,
    /// all of them come back: the first is to ask for the others.
    pub fn land(&mut self, name: &ToyName, mut unanswered: Vec<W>) -> Vec<W> {
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
    use super::*;

    #[test]
    fn those_who_come_after_a_question_was_sent_share_the_next() {
        let (mut flights, tux) = (Flights::default(), ToyName::from("Tux"));
        assert_eq!(flights.board(&tux, || "a"), Boarding::Depart);
        assert_eq!(flights.board(&tux, || "b"), Boarding::Wait);
        assert_eq!(flights.board(&tux, || "c"), Boarding::Wait);
        assert_eq!(flights.board(&"Uno".into(), || "d"), Boarding::Depart);
        assert_eq!(flights.land(&tux, Vec::new()), ["b", "c"]);
        // b asks now; whoever comes from here on waits for the question after it.
        assert_eq!(flights.board(&tux, || "e"), Boarding::Wait);
        assert_eq!(flights.land(&tux, Vec::new()), ["e"]);
        assert!(flights.land(&tux, Vec::new()).is_empty());
        assert_eq!(flights.board(&tux, || "f"), Boarding::Depart);
    }

    #[test]
    fn the_companions_of_a_question_that_was_given_up_go_first() {
        let (mut flights, tux) = (Flights::default(), ToyName::from("Tux"));
        flights.board(&tux, || "a");
        flights.board(&tux, || "d");
        assert_eq!(flights.land(&tux, vec!["b", "c"]), ["b", "c", "d"]);
        assert_eq!(flights.board(&tux, || "e"), Boarding::Wait);
    }
}
