//! The sweep over the probability of an order: latencies with the cache and without it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::Problem;
use crate::chart::{Axis, Frame, Line, Page, Style};
use crate::data::{Row, read, values};
use crate::statistics::{Estimate, estimate, extremes};

/// Each network's folder, and what it is called.
const NETWORKS: [(&str, &str); 3] = [
    ("loopback", "one machine, plain loopback"),
    ("links", "one machine, 0.5 ms added to each way of each link"),
    ("aws", "clients here, the store on an AWS instance"),
];
const TYPES: [(&str, &str); 3] =
    [("query", "query"), ("order", "order"), ("order_query", "order query")];
const CACHES: [(&str, &str); 2] = [("true", "with the cache"), ("false", "without it")];

pub(crate) fn draw(data: &Path, figures: &Path) -> Result<(), Problem> {
    let mut text = String::from(
        "# Latency with the cache and without it\n\nWritten by `eval/sweep/run.sh` from each \
         network's `sweep.csv`; the machine that it was run from is in `machine.json` beside it. \
         Latencies of all clients in milliseconds, mean over the repetitions [95 % confidence \
         interval by Student's t]. By how many times a query is faster, and by how much an order or an iteration takes longer, \
         comes from pairs of runs with the same seed: the ratio of their latencies, as a geometric \
         mean, or the difference. An iteration is a query and p times an order.\n",
    );
    let mut benefits = Vec::new();
    for (folder, name) in NETWORKS {
        let path = data.join(folder).join("sweep.csv");
        if !path.exists() {
            continue;
        }
        let rows = read(&path)?;
        draw_latencies(&rows, name, &figures.join(format!("sweep-{folder}.svg")))?;
        write_table(&mut text, &rows, name)?;
        benefits.push((name, rows));
    }
    if benefits.is_empty() {
        return Err(format!("{} has no sweep.csv below it", data.display()).into());
    }
    write_changes(&mut text, &benefits)?;
    draw_benefits(&benefits, &figures.join("sweep-benefit.svg"))?;
    fs::write(data.join("summary.md"), text)?;
    Ok(())
}

/// What of a latency is told.
const MEAN: &str = "mean_ms";
const MEDIAN: &str = "p50_ms";

/// One setting of a run.
#[derive(Clone, Copy)]
struct Setting<'a> {
    probability: f64,
    cache: &'a str,
    request: &'a str,
    client: &'a str,
    /// [`MEAN`] or [`MEDIAN`].
    figure: &'a str,
}

/// The latencies of a setting, by repetition.
fn latencies(rows: &[Row], setting: Setting<'_>) -> Result<Vec<(f64, f64)>, Problem> {
    let mut latencies = Vec::new();
    for row in rows {
        let here = row.number("probability")? == setting.probability
            && row.text("cache")? == setting.cache
            && row.text("type")? == setting.request
            && row.text("client")? == setting.client;
        if let (true, Some(latency)) = (here, row.figure(setting.figure)?) {
            latencies.push((row.number("repetition")?, latency));
        }
    }
    Ok(latencies)
}

fn estimated(latencies: &[(f64, f64)]) -> Option<Estimate> {
    estimate(&latencies.iter().map(|(_, latency)| *latency).collect::<Vec<_>>())
}

/// How many times as fast a query is with the cache as without it. The two runs of a pair have the
/// same seed; it is the ratio of their latencies that is estimated, by its logarithm.
fn benefit(rows: &[Row], probability: f64, figure: &str) -> Result<Option<Estimate>, Problem> {
    let of = |cache| Setting { probability, cache, request: "query", client: "all", figure };
    let (with, without) = (latencies(rows, of("true"))?, latencies(rows, of("false"))?);
    let pairs = with.iter().filter_map(|(repetition, with)| {
        let pair = without.iter().find(|(other, _)| other == repetition)?;
        Some((pair.1 / with).ln())
    });
    let logarithm = estimate(&pairs.collect::<Vec<_>>());
    Ok(logarithm.map(|of| Estimate {
        mean: of.mean.exp(),
        interval: of.interval.map(|(low, high)| (low.exp(), high.exp())),
    }))
}

/// By how many milliseconds so many of these requests take longer with the cache, on the average,
/// for each pair of runs with the same seed: (repetition, difference).
fn paired(
    rows: &[Row],
    probability: f64,
    requests: &[(&str, f64)],
) -> Result<Vec<(f64, f64)>, Problem> {
    let mut differences: Vec<(f64, f64)> = Vec::new();
    for (request, many) in requests {
        let of = |cache| Setting { probability, cache, request, client: "all", figure: MEAN };
        let (with, without) = (latencies(rows, of("true"))?, latencies(rows, of("false"))?);
        for (repetition, with) in with {
            let Some((_, without)) = without.iter().find(|(other, _)| *other == repetition) else {
                continue;
            };
            let difference = many * (with - without);
            match differences.iter_mut().find(|(other, _)| *other == repetition) {
                Some((_, sum)) => *sum += difference,
                None => differences.push((repetition, difference)),
            }
        }
    }
    Ok(differences)
}

fn clients(rows: &[Row]) -> Result<Vec<String>, Problem> {
    let mut clients = Vec::new();
    for row in rows {
        let client = row.text("client")?;
        if client != "all" && !clients.iter().any(|known| known == client) {
            clients.push(client.to_owned());
        }
    }
    Ok(clients)
}

fn draw_latencies(rows: &[Row], network: &str, path: &Path) -> Result<(), Problem> {
    let probabilities = values(rows, "probability")?;
    let clients = clients(rows)?;
    let title = format!("Latency by probability of an order: {network}");
    Page::draw(path, (1_440, 600), &title, |page| {
        page.heading(&title, (100, 28))?;
        for (panel, (request, name)) in (0..).zip(TYPES) {
            // What each client saw, next to where all together are: (x, estimate).
            let mut marks = Vec::new();
            let mut dots = Vec::new();
            for (number, (cache, _)) in CACHES.iter().enumerate() {
                let aside = if number == 0 { -1.5 } else { 1.5 };
                let (mut all, mut each) = (Vec::new(), Vec::new());
                for probability in &probabilities {
                    let of = |client| Setting {
                        probability: *probability,
                        cache,
                        request,
                        client,
                        figure: MEAN,
                    };
                    let x = probability * 100.0 + aside;
                    all.extend(estimated(&latencies(rows, of("all"))?).map(|of| (x, of)));
                    for client in &clients {
                        let mean = estimated(&latencies(rows, of(client))?);
                        each.extend(mean.map(|mean| (x + 2.0 * aside, mean.mean)));
                    }
                }
                marks.push(all);
                dots.push(each);
            }
            let highs = marks.iter().flatten().filter_map(|(_, of)| Some(of.interval?.1));
            let means = marks.iter().flatten().map(|(_, of)| of.mean);
            let seen = dots.iter().flatten().map(|(_, mean)| *mean).chain(means);
            let most = seen.fold(0.0, f64::max);
            // A few repetitions say so little that their interval would be all there is to see.
            let most = highs.fold(most, f64::max).min(2.5 * most);
            let percents: Vec<f64> = probabilities.iter().map(|p| p * 100.0).collect();
            let frame = Frame {
                title: name.into(),
                corner: (100 + panel * 460, 100),
                size: (350, 340),
                x: Axis::of_values("p, %", &percents, 8.0),
                y: Axis::from_zero("mean latency, ms", most),
            };
            page.frame(&frame)?;
            for (number, (all, each)) in marks.iter().zip(&dots).enumerate() {
                let style = Style::of_series(number);
                let inside = |value: f64| value.clamp(0.0, frame.y.high);
                let bars = all.iter().filter_map(|(x, of)| Some((*x, of.interval?)));
                let bars: Vec<_> = bars.map(|(x, i)| (x, inside(i.0), inside(i.1))).collect();
                page.spread(&frame, &bars, style.colour)?;
                let points: Vec<_> = all.iter().map(|(x, of)| (*x, of.mean)).collect();
                page.series(&frame, &points, style)?;
                page.dots(&frame, each, Style { line: Line::None, ..style })?;
            }
        }
        let entries = CACHES.iter().enumerate();
        let entries: Vec<_> =
            entries.map(|(n, (_, name))| ((*name).to_owned(), Style::of_series(n))).collect();
        page.legend((100, 532), &entries)?;
        page.note(
            "p: probability of an order after a query. Large marks: all clients,",
            (420, 532),
        )?;
        page.note("mean and 95 % confidence interval. Small marks: each client's mean.", (420, 560))
    })
}

fn draw_benefits(networks: &[(&str, Vec<Row>)], path: &Path) -> Result<(), Problem> {
    let mut series = Vec::new();
    let mut percents: Vec<f64> = Vec::new();
    for (number, (name, rows)) in networks.iter().enumerate() {
        let mut points = Vec::new();
        for probability in values(rows, "probability")? {
            // Beside one another, around the value that they belong to.
            let aside = 1.2 * (number as f64 - (networks.len() - 1) as f64 / 2.0);
            let of = benefit(rows, probability, MEAN)?;
            points.extend(of.map(|of| (probability * 100.0 + aside, of)));
            percents.push(probability * 100.0);
        }
        series.push((name, points));
    }
    percents.sort_by(f64::total_cmp);
    percents.dedup();
    let ends = series.iter().flat_map(|(_, points)| points.iter().map(|(_, of)| *of));
    let ends = ends.flat_map(|of| of.interval.map_or([of.mean; 2], |(low, high)| [low, high]));
    let ends: Vec<f64> = ends.map(|end| end.clamp(0.1, 100.0)).chain([0.9, 2.0]).collect();
    let (least, most) = extremes(&ends).ok_or("there is nothing to draw")?;
    let frame = Frame {
        title: "How many times as fast a query is with the cache".into(),
        corner: (100, 60),
        size: (530, 340),
        x: Axis::of_values("p, %", &percents, 6.0),
        y: Axis::log("without the cache ÷ with it", least, most),
    };
    Page::draw(path, (660, 640), "Benefit of the cache", |page| {
        page.frame(&frame)?;
        let none = [(frame.x.low, 1.0), (frame.x.high, 1.0)];
        page.series(&frame, &none, Style::reference())?;
        let mut legend = Vec::new();
        for (number, (name, points)) in series.iter().enumerate() {
            let style = Style::of_series(number);
            let bars = points.iter().filter_map(|(x, of)| Some((*x, of.interval?)));
            let inside = |value: f64| value.clamp(frame.y.low, frame.y.high);
            let bars: Vec<_> = bars.map(|(x, i)| (x, inside(i.0), inside(i.1))).collect();
            page.spread(&frame, &bars, style.colour)?;
            let points: Vec<_> = points.iter().map(|(x, of)| (*x, inside(of.mean))).collect();
            page.series(&frame, &points, style)?;
            legend.push(((**name).to_owned(), style));
        }
        page.legend((100, 490), &legend)?;
        let below = 500 + 28 * i32::try_from(legend.len())?;
        page.note("Mean latency of queries, from pairs of runs with one seed;", (100, below))?;
        page.note("95 % confidence intervals.", (100, below + 26))
    })
}

fn write_table(text: &mut String, rows: &[Row], network: &str) -> Result<(), Problem> {
    let repetitions = values(rows, "repetition")?.len();
    let plural = if repetitions == 1 { "" } else { "s" };
    write!(text, "\n## {network}\n\n{repetitions} repetition{plural}.\n")?;
    for (figure, name) in [(MEAN, "mean"), (MEDIAN, "median")] {
        write!(text, "\n| {name}, ms: p |")?;
        for (_, name) in TYPES {
            write!(text, " {name}, with the cache | {name}, without |")?;
        }
        write!(text, " a query is faster by |\n|---|{}---|", "---|".repeat(2 * TYPES.len()))?;
        for probability in values(rows, "probability")? {
            write!(text, "\n| {:.0} % |", probability * 100.0)?;
            for (request, _) in TYPES {
                for (cache, _) in CACHES {
                    let setting = Setting { probability, cache, request, client: "all", figure };
                    write_estimate(text, estimated(&latencies(rows, setting)?), 3, "")?;
                }
            }
            write_estimate(text, benefit(rows, probability, figure)?, 2, " ×")?;
        }
        text.push('\n');
    }
    Ok(())
}

/// What the cache changes, in a table for each network. Mean and median of queries disagree where
/// about half of them are hits: the median is a hit or it is not.
fn write_changes(text: &mut String, networks: &[(&str, Vec<Row>)]) -> Result<(), Problem> {
    text.push_str("\n## What the cache changes\n");
    for (name, rows) in networks {
        write!(text, "\n| {name}: p | a query is faster by: mean | median |")?;
        text.push_str(" an order takes longer by, ms | an iteration takes longer by, ms |");
        text.push_str("\n|---|---|---|---|---|");
        for probability in values(rows, "probability")? {
            write!(text, "\n| {:.0} % |", probability * 100.0)?;
            write_estimate(text, benefit(rows, probability, MEAN)?, 2, " ×")?;
            let median = benefit(rows, probability, MEDIAN)?;
            write_estimate(text, median.map(|of| Estimate { interval: None, ..of }), 2, " ×")?;
            let orders = paired(rows, probability, &[("order", 1.0)])?;
            write_estimate(text, estimated(&orders), 2, "")?;
            let iterations = paired(rows, probability, &[("query", 1.0), ("order", probability)])?;
            write_estimate(text, estimated(&iterations), 2, "")?;
        }
        text.push('\n');
    }
    Ok(())
}

fn write_estimate(
    text: &mut String,
    estimate: Option<Estimate>,
    digits: usize,
    unit: &str,
) -> Result<(), Problem> {
    // Rounded first, and without a sign on what is 0 then.
    let scale = 10_f64.powi(i32::try_from(digits)?);
    let round = |value: f64| (value * scale).round() / scale + 0.0;
    match estimate {
        Some(Estimate { mean, interval }) => {
            write!(text, " {:.digits$}{unit}", round(mean))?;
            if let Some((low, high)) = interval {
                write!(text, " [{:.digits$}, {:.digits$}]", round(low), round(high))?;
            }
            text.push_str(" |");
        }
        None => text.push_str(" - |"),
    }
    Ok(())
}
