//! Answers that may take a small share of a thread's time.
//!
//! The text of a role's metrics takes as long as some ten queries of toys, and so does what a page
//! or a person may ask for of the last requests. No client needs it often. If a thread answered all
//! who ask for it without a pause, little would be left for those who shop, of this thread and of
//! the processors that the other roles need. So such answers are made one at a time, and after each
//! the thread makes none for three times as long as it took:
//!
//! ```text
//! asked     a b c
//! answers   [a]··········[b]··········[c]··········
//! ```
//!
//! A client that asks when no other has just done so waits for nothing.

use std::sync::Arc;

use actix_web::rt;
use tokio::sync::Semaphore;

use crate::clock;

/// How much longer than an answer the pause after it is: they take at most a quarter of the time.
const PAUSE: u32 = 3;

/// What one thread may spend on such answers.
#[derive(Debug)]
pub struct Ration(Arc<Semaphore>);

impl Default for Ration {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Ration {
    /// Makes an answer when it is its turn. To be called on a thread of actix.
    pub async fn spend<T>(&self, answer: impl FnOnce() -> T) -> T {
        // It never fails, as nothing closes the semaphore.
        let turn = Arc::clone(&self.0).acquire_owned().await;
        let began = clock::now();
        let made = answer();
        let pause = PAUSE * (clock::now() - began);
        rt::spawn(async move {
            rt::time::sleep(pause).await;
            drop(turn);
        });
        made
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    #[actix_web::test]
    async fn answers_take_at_most_a_quarter_of_the_time() {
        const ANSWERS: usize = 10;
        let (ration, took) = (Ration::default(), RefCell::new(Vec::new()));
        let began = clock::now();
        join_all((0..ANSWERS).map(async |_| {
            let answer = || {
                let begun = clock::now();
                while clock::now() - begun < Duration::from_millis(2) {}
                took.borrow_mut().push(clock::now() - begun);
            };
            ration.spend(answer).await;
        }))
        .await;
        let (all, took) = (clock::now() - began, took.into_inner());
        // The pause after the last one has only begun.
        let pauses = PAUSE * took[..ANSWERS - 1].iter().sum::<Duration>();
        assert!(all >= took.iter().sum::<Duration>() + pauses, "{took:?} in {all:?}");
    }

    #[actix_web::test]
    async fn who_gives_up_makes_way() {
        let ration = Ration::default();
        ration.spend(|| ()).await;
        let mut gives_up = Box::pin(ration.spend(|| ()));
        assert!(futures_util::poll!(&mut gives_up).is_pending(), "there is a pause");
        drop(gives_up);
        ration.spend(|| ()).await;
    }
}
