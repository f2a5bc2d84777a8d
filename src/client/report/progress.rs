//! The progress of a run: a bar on standard error, if that is a terminal.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, stderr};
use std::rc::Rc;
use std::time::Duration;

use actix_web::rt::task::JoinHandle;
use indicatif::{ProgressBar, ProgressStyle};

use crate::client::core::latency::per_second;
use crate::client::core::live::LiveCounts;
use crate::client::core::schedule::End;
use crate::clock;

/// How often the bar is drawn.
const INTERVAL: Duration = Duration::from_millis(200);
/// The bar shows the rate over this time.
const RECENT: Duration = Duration::from_secs(1);

/// The iterations of the last [`RECENT`].
#[derive(Clone, Debug, Default)]
struct Recent {
    /// Times, and how many iterations had been made by then; the latest last.
    marks: VecDeque<(Duration, u64)>,
}

/// A bar that shows [`LiveCounts`] until it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: Option<(ProgressBar, JoinHandle<()>)>,
}

impl Progress {
    /// Shows the progress of a run, if there is a terminal to show it on.
    pub(crate) fn show(live: Rc<LiveCounts>, end: End, clients: u32) -> Self {
        if !stderr().is_terminal() {
            return Self { shown: None };
        }
        let bar = match end {
            End::Iterations(each) => ProgressBar::new(each.saturating_mul(clients.into())),
            End::Time(time) => {
                ProgressBar::new(u64::try_from(time.get().as_millis()).unwrap_or(u64::MAX))
            }
        };
        bar.set_style(style());
        let task = actix_web::rt::spawn(follow(bar.clone(), live, end));
        Self { shown: Some((bar, task)) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((bar, task)) = &self.shown {
            task.abort();
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{wide_bar} {percent:>3} % {elapsed} {msg}")
        .expect("the template is a valid constant")
}

async fn follow(bar: ProgressBar, live: Rc<LiveCounts>, end: End) {
    let began = clock::now();
    let mut recent = Recent::default();
    let mut ticks = actix_web::rt::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        let elapsed = clock::now() - began;
        let (orders, checked) = (live.orders.get(), live.checked.get());
        if checked > 0 {
            bar.set_length(orders);
            bar.set_position(checked);
            bar.set_message(format!("checked {checked} of {orders} orders"));
            continue;
        }
        bar.set_position(match end {
            End::Iterations(_) => live.iterations.get(),
            End::Time(_) => u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        });
        let rate = recent.rate(elapsed, live.iterations.get()).unwrap_or(0.0);
        let (refusals, errors) = (live.refusals.get(), live.errors.get());
        bar.set_message(format!(
            "{rate:.0} iterations/s, {orders} orders, {refusals} refused, {errors} errors"
        ));
    }
}

impl Recent {
    /// Iterations per second over the last [`RECENT`], if `iterations` have been made by now.
    fn rate(&mut self, now: Duration, iterations: u64) -> Option<f64> {
        while self.marks.len() > 1 && self.marks[1].0 + RECENT <= now {
            self.marks.pop_front();
        }
        self.marks.push_back((now, iterations));
        let (since, before) = self.marks.front()?;
        per_second(iterations - before, now.saturating_sub(*since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let mut recent = Recent::default();
        let mut rate = |at_ms, iterations| recent.rate(Duration::from_millis(at_ms), iterations);
        assert_eq!(rate(0, 0), None);
        assert_eq!(rate(500, 10), Some(20.0));
        assert_eq!(rate(1_000, 20), Some(20.0));
        // Ten in the second from 500 ms on, all of them before the store began to hang.
        assert_eq!(rate(1_500, 20), Some(10.0));
        assert_eq!(rate(2_000, 20), None);
    }
}
