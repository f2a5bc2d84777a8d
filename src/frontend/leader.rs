//! Asking the leader, whichever replica that is: until there is an answer, or the deadline passes.
//!
//! A leader that dies or hangs is replaced within the deadline, and the purchase is retried at the
//! next one under its key, so that the client waits and sees no error. What an attempt tells of a
//! replica goes into the [selection](super::core::selection).

use std::time::Duration;

use super::answers::FrontendError;
use super::core::retry::{DEADLINE, Retry, RetryDecision};
use super::core::selection::{AttemptOutcome, Selection};
use super::service::Service;
use crate::transport::{CallError, Unreachable};
use crate::wire::replication::{Leadership, ReplicaId};

/// Why a replica that answered gave no answer to the question.
pub(super) enum NotAnswered {
    /// It does not lead.
    NotLeader(Leadership),
    /// Something else, which may pass.
    Because(FrontendError),
}

/// What is asked of the leader.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// To sell, which ends when the store cannot sell any more.
    Purchase,
    /// For an order, which can be read all the same.
    Order,
}

/// Why an attempt ends before it is answered.
enum Interruption {
    /// Another replica leads.
    AnotherLeads,
    /// The store cannot sell any more.
    SalesStop(String),
}

impl Service {
    /// Asks the leader until there is an answer. An attempt ends when another replica leads.
    pub(super) async fn ask_leader<T>(
        &self,
        question: Question,
        mut ask: impl AsyncFnMut(ReplicaId, Duration) -> Result<Result<T, NotAnswered>, CallError>,
    ) -> Result<T, FrontendError> {
        let Ok(_place) = self.in_flight.try_acquire() else {
            return Err(FrontendError::Overloaded);
        };
        let mut retry = Retry::new(self.runtime.now(), DEADLINE);
        let mut error = None;
        loop {
            // A change from here on ends the pause below.
            let changed = self.leader_changed.notified();
            if let Some(leader) = self.selected(Selection::leader) {
                // In a box: the future of a handler is moved before it begins.
                let attempt = Box::pin(ask(leader, retry.time_limit(self.runtime.now())));
                tokio::select! {
                    biased;
                    answer = attempt => match self.judge(leader, answer) {
                        Ok(answer) => return Ok(answer),
                        Err(problem) => error = Some(problem),
                    },
                    why = self.interruption(question, leader) => match why {
                        Interruption::AnotherLeads => {
                            log::debug!(
                                "an attempt at replica {leader} ends: another replica leads"
                            );
                            continue;
                        }
                        Interruption::SalesStop(why) => return Err(FrontendError::Stopped(why)),
                    }
                }
            }
            // What cannot be answered until an operator acts need not be waited for.
            if let Some(why) = self.stopped() {
                return Err(FrontendError::Stopped(why));
            }
            let RetryDecision::Again(pause) = retry.failed(self.runtime.now()) else {
                let error = error.unwrap_or_else(|| FrontendError::NoLeader(self.no_leader()));
                return Err(if self.catalog_answers() { error } else { without_catalog(error) });
            };
            let _either = self.runtime.timeout(pause, changed).await;
        }
    }

    /// What an attempt's outcome tells of the replica, and the answer if there is one.
    fn judge<T>(
        &self,
        replica: ReplicaId,
        outcome: Result<Result<T, NotAnswered>, CallError>,
    ) -> Result<T, FrontendError> {
        let (attempt, answer) = match outcome {
            Ok(Ok(answer)) => (AttemptOutcome::Answered, Ok(answer)),
            Ok(Err(NotAnswered::Because(why))) => (AttemptOutcome::Answered, Err(why)),
            Ok(Err(NotAnswered::NotLeader(leadership))) => (
                AttemptOutcome::NotLeader(leadership),
                Err(FrontendError::NoLeader(self.no_leader())),
            ),
            Err(error) => {
                log::debug!("replica {replica} gave no answer: {error}");
                let attempt = match error {
                    CallError::Unreachable(Unreachable::ConnectionRefused) => AttemptOutcome::Gone,
                    CallError::Unreachable(_) | CallError::Refused { .. } => {
                        AttemptOutcome::Unanswered
                    }
                };
                (attempt, Err(FrontendError::Undecided(error.to_string())))
            }
        };
        self.select(|selection| selection.attempted(replica, attempt));
        answer
    }

    /// Waits until an attempt at `leader` has to end.
    async fn interruption(&self, question: Question, leader: ReplicaId) -> Interruption {
        loop {
            let changed = self.leader_changed.notified();
            if !self.selected(|selection| selection.leadership().is_led_by(leader)) {
                return Interruption::AnotherLeads;
            }
            if question == Question::Purchase
                && let Some(why) = self.stopped()
            {
                return Interruption::SalesStop(why);
            }
            changed.await;
        }
    }
}

/// The error of an attempt that ended while the catalog did not answer. Without it no replica can
/// sell, and one that leads waits for it, so that it is what a client is to be told of.
fn without_catalog(error: FrontendError) -> FrontendError {
    match error {
        FrontendError::NoLeader(_) => {
            FrontendError::NoCatalog("no order replica can lead without it".into())
        }
        FrontendError::Undecided(_) => FrontendError::NoCatalog(error.to_string()),
        FrontendError::Overloaded
        | FrontendError::NoCatalog(_)
        | FrontendError::Stopped(_)
        | FrontendError::OtherCatalog => error,
    }
}
