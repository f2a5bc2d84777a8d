//! How far the run is, for whoever watches: a bar on standard error, if that is a terminal.

use std::cell::Cell;
use std::io::{IsTerminal as _, stderr};
use std::rc::Rc;
use std::time::Duration;

use actix_web::rt::task::JoinHandle;
use indicatif::{ProgressBar, ProgressStyle};

use super::latency::per_second;
use super::pace::End;
use crate::clock;

/// How often the bar is drawn.
const INTERVAL: Duration = Duration::from_millis(200);

/// What all clients have done so far. They share one thread, so plain cells will do.
#[derive(Debug, Default)]
pub struct Watch {
    /// Iterations.
    pub visits: Cell<u64>,
    /// Orders that were granted.
    pub orders: Cell<u64>,
    /// Requests that ended in an error.
    pub errors: Cell<u64>,
    /// Orders that were checked.
    pub checked: Cell<u64>,
}

/// A bar that follows a [`Watch`] until it is dropped.
#[derive(Debug)]
pub struct Progress {
    shown: Option<(ProgressBar, JoinHandle<()>)>,
}

impl Progress {
    /// Shows the progress of a run, if there is a terminal to show it on.
    #[must_use]
    pub fn show(watch: Rc<Watch>, end: End, clients: u32) -> Self {
        if !stderr().is_terminal() {
            return Self { shown: None };
        }
        let bar = match end {
            End::Visits(each) => ProgressBar::new(each.saturating_mul(clients.into())),
            End::Time(time) => {
                ProgressBar::new(u64::try_from(time.get().as_millis()).unwrap_or(u64::MAX))
            }
        };
        bar.set_style(style());
        let task = actix_web::rt::spawn(follow(bar.clone(), watch, end));
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
    ProgressStyle::with_template("{bar:30} {percent:>3} % {elapsed} {msg}")
        .expect("the template is a constant that works")
}

async fn follow(bar: ProgressBar, watch: Rc<Watch>, end: End) {
    let began = clock::now();
    let mut ticks = actix_web::rt::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        let elapsed = clock::now() - began;
        bar.set_position(match end {
            End::Visits(_) => watch.visits.get(),
            End::Time(_) => u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        });
        let (orders, errors) = (watch.orders.get(), watch.errors.get());
        bar.set_message(if watch.checked.get() > 0 {
            format!("checked {} of {orders} orders", watch.checked.get())
        } else {
            let rate = per_second(watch.visits.get(), elapsed).unwrap_or(0.0);
            format!("{rate:.0} iterations/s, {orders} orders, {errors} errors")
        });
    }
}

/// Adds one.
pub fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}
