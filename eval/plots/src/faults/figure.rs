//! What clients saw around each fault. All faults of one kind are in one column, laid over one
//! another, with the time counted from the fault.
//!
//! The upper row counts answers instead of showing a rate. While requests wait, the line is level;
//! when the clients catch up, it jumps back to what was due. A rate would show one high spike, next
//! to which nothing else can be seen.

use std::path::Path;

use super::{Fault, Moment, Seen};
use crate::Problem;
use crate::chart::{Axis, COLOURS, Frame, Line, Page, Shape, Style};
use crate::statistics::{extremes, quantile};

/// How much is shown before a fault, and after the replicas were brought back.
const BEFORE_S: f64 = 1.0;
const AFTER_S: f64 = 2.0;
/// Latencies below are of no interest here, and would take half of a logarithmic axis.
const LEAST_MS: f64 = 0.1;

/// Where the columns are, in pixels.
const WIDTH: i32 = 1_420;
const LEFT: i32 = 120;
const GAP: i32 = 36;
const UPPER: (i32, i32) = (100, 280);
const LOWER: (i32, i32) = (490, 330);

pub(super) fn draw(faults: &[Fault], seen: &Seen, path: &Path) -> Result<(), Problem> {
    let shopping = || faults.iter().filter(|fault| fault.is_while_shopping());
    let mut kinds: Vec<(&str, Vec<&Fault>)> = Vec::new();
    for name in super::KINDS {
        let these: Vec<&Fault> = shopping().filter(|fault| fault.name() == name).collect();
        if !these.is_empty() {
            kinds.push((name, these));
        }
    }
    let down: Vec<f64> = shopping().map(|fault| fault.to - fault.from).collect();
    let down = quantile(&down, 0.5).ok_or("there are no faults")?;
    let until = down.round() + AFTER_S;
    let rates: Vec<f64> = seen.queries.iter().filter_map(|moment| moment.per_second).collect();
    let rate = quantile(&rates, 0.5).ok_or("there are no queries")?;
    let due = [(-BEFORE_S, 0.0), (until, rate * (until + BEFORE_S))];
    let longest = seen.queries.iter().chain(&seen.orders).filter_map(|moment| moment.longest);
    let (_, most_ms) = extremes(&longest.collect::<Vec<_>>()).ok_or("nothing was answered")?;

    let styles = [Style::of_series(0), Style { shape: Shape::Square, ..Style::of_series(2) }];
    let count = i32::try_from(kinds.len())?;
    let width = (WIDTH - LEFT - GAP * count) / count;
    let title = "Answers and latencies around each fault";
    Page::draw(path, (WIDTH as u32, 1_000), title, |page| {
        page.heading("Requests answered, counted from a second before each fault", (LEFT, 26))?;
        let below = "Longest latency in each tenth of a second, from when the request was due";
        page.heading(below, (LEFT, LOWER.0 - 32))?;
        for (column, (name, faults)) in (0..).zip(&kinds) {
            let axes = |title: String, (top, height), x: &str, y: Axis| Frame {
                title,
                corner: (LEFT + column * (width + GAP), top),
                size: (width, height),
                x: Axis::stepped(x, -BEFORE_S, until, 1.0),
                y: if column == 0 { y } else { without_text(y) },
            };
            let y = Axis::from_zero("requests", due[1].1);
            let upper = axes((*name).to_owned(), UPPER, "", y);
            let y = Axis::log("milliseconds", LEAST_MS, most_ms);
            let lower = axes(String::new(), LOWER, "seconds since the fault", y);
            for frame in [&upper, &lower] {
                page.band(frame, 0.0, down, COLOURS[3])?;
                page.frame(frame)?;
            }
            page.series(&upper, &due, Style::reference())?;
            // Queries last: they come evenly, so their line shows a time without service.
            for (moments, style) in [&seen.queries, &seen.orders].into_iter().zip(styles).rev() {
                for fault in faults {
                    page.curve(&upper, &answered(moments, fault.from, until), style.colour)?;
                    let dots = latencies(moments, fault.from, until);
                    page.dots(&lower, &dots, Style { line: Line::None, ..style })?;
                }
            }
        }
        let names = ["queries", "orders"].into_iter().zip(styles);
        let mut names: Vec<_> = names.map(|(name, style)| (name.to_owned(), style)).collect();
        names.push(("queries that were due".into(), Style::reference()));
        page.legend((LEFT, 908), &names)?;
        page.legend_of_area((500, 908), "killed or stopped, until brought back", COLOURS[3])?;
        page.note("Each line is one fault.", (500, 936))
    })
}

fn without_text(axis: Axis) -> Axis {
    let ticks = axis.ticks.into_iter().map(|(value, _)| (value, String::new())).collect();
    Axis { label: String::new(), ticks, ..axis }
}

/// How many requests were answered from a second before a fault on, by the time since the fault. An
/// interval that begins before that counts in part.
fn answered(moments: &[Moment], fault: f64, until: f64) -> Vec<(f64, f64)> {
    let (start, end) = (fault - BEFORE_S, fault + until);
    let mut count = 0.0;
    let mut points = vec![(-BEFORE_S, 0.0)];
    for moment in moments.iter().filter(|moment| moment.to > start && moment.from < end) {
        let (from, to) = (moment.from.max(start), moment.to.min(end));
        count += moment.count * (to - from) / (moment.to - moment.from);
        points.push((to - fault, count));
    }
    points
}

/// The longest latency in each interval, by the time since a fault.
fn latencies(moments: &[Moment], fault: f64, until: f64) -> Vec<(f64, f64)> {
    let dots = moments.iter().filter_map(|moment| {
        let since = moment.to - fault;
        let is_shown = (-BEFORE_S..=until).contains(&since);
        is_shown.then_some((since, moment.longest?.max(LEAST_MS)))
    });
    dots.collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::moments_of;
    use super::*;

    #[test]
    fn answers_are_counted_from_a_second_before_the_fault() {
        let moments = moments_of(&[10.0, 20.0, 0.0, 40.0, 80.0]);
        // The fault is at 2.5, so half of the second interval counts.
        let points = answered(&moments, 2.5, 1.5);
        assert_eq!(points, [(-1.0, 0.0), (-0.5, 10.0), (0.5, 10.0), (1.5, 50.0)]);
    }

    #[test]
    fn latencies_are_those_around_the_fault() {
        let moments = moments_of(&[10.0, 20.0, 0.0, 40.0, 80.0]);
        assert_eq!(latencies(&moments, 2.5, 1.0), [(-0.5, 20.0)]);
    }
}
