//! Answers that may take a small share of a role's time.
//!
//! The text of a role's metrics takes as long as some ten queries of toys, and so may what a page
//! or a person asks about the store. No client needs it often. If a role answered all who ask for
//! it without a pause, little would be left for those who shop, of its threads and of the
//! processors that the other roles need. So such answers are made one at a time, and after each the
//! role makes none for seven times as long as it took, at least for a millisecond or two (the timer
//! is no finer):
//!
//! ```text
//! asked     a b c
//! answers   [a]··········[b]··········[c]··········
//! ```
//!
//! A client that asks when no other has just done so waits for nothing. One that has waited for too
//! long is told to come again: it keeps a turn to be served, which others may need.

use std::sync::Arc;
use std::time::Duration;

use actix_web::rt;
use tokio::sync::Semaphore;

use super::reply::ErrorReply;
use crate::clock;

/// How much longer than an answer the pause after it is: they take at most an eighth of a thread's
/// time.
const PAUSE: u32 = 7;
/// How long a request waits for its answer to be made.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What all threads of a role together may spend on such answers. Clones are the same ration.
#[derive(Clone, Debug)]
pub struct Ration(Arc<Semaphore>);

impl Default for Ration {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Ration {
    /// Makes an answer when those before it have been made. To be called on a thread of actix.
    ///
    /// # Errors
    ///
    /// 503 if that takes longer than a second.
    pub async fn spend<T>(&self, answer: impl FnOnce() -> T) -> Result<T, ErrorReply> {
        let permit = Arc::clone(&self.0).acquire_owned();
        let Ok(Ok(permit)) = rt::time::timeout(LONGEST_WAIT, permit).await else {
            return Err(ErrorReply::Unavailable("too many ask for this; retry in a moment".into()));
        };
        let began = clock::now();
        let made = answer();
        let pause = PAUSE * (clock::now() - began);
        rt::spawn(async move {
            rt::time::sleep(pause).await;
            drop(permit);
        });
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    #[actix_web::test]
    async fn answers_take_at_most_an_eighth_of_the_time() {
        const ANSWERS: usize = 10;
        let (ration, took) = (Ration::default(), RefCell::new(Vec::new()));
        let began = clock::now();
        join_all((0..ANSWERS).map(async |_| {
            let answer = || {
                let begun = clock::now();
                while clock::now() - begun < Duration::from_millis(2) {}
                took.borrow_mut().push(clock::now() - begun);
            };
            ration.spend(answer).await.unwrap();
        }))
        .await;
        let (all, took) = (clock::now() - began, took.into_inner());
        // The pause after the last one has only begun.
        let pauses = PAUSE * took[..ANSWERS - 1].iter().sum::<Duration>();
        assert!(all >= took.iter().sum::<Duration>() + pauses, "{took:?} in {all:?}");
    }

    #[actix_web::test]
    async fn a_request_that_is_dropped_makes_way() {
        let ration = Ration::default();
        ration.spend(|| ()).await.unwrap();
        let mut gives_up = Box::pin(ration.spend(|| ()));
        assert!(futures_util::poll!(&mut gives_up).is_pending(), "there is a pause");
        drop(gives_up);
        ration.spend(|| ()).await.unwrap();
    }

    #[actix_web::test]
    async fn a_request_that_has_waited_for_too_long_is_refused() {
        let ration = Ration::default();
        let _a_long_pause = Arc::clone(&ration.0).acquire_owned().await.unwrap();
        let refused = ration.spend(|| ()).await.unwrap_err();
        assert!(matches!(refused, ErrorReply::Unavailable(_)), "{refused}");
    }
}
