//! The cache: its hit ratio by capacity and probability of an order, and its items over time.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::Problem;
use crate::chart::{Axis, COLOURS, Frame, Page, Style};
use crate::data::{Row, read, values};
use crate::statistics::{Estimate, estimate, extremes};

pub(crate) fn draw(data: &Path, figures: &Path) -> Result<(), Problem> {
    let ratios = read(&data.join("hit_ratio.csv"))?;
    draw_hit_ratio(&ratios, &figures.join("cache-hit-ratio.svg"))?;
    let items = read(&data.join("items.csv"))?;
    let samples = read(&data.join("samples.csv"))?;
    let text = summary(&ratios)? + &summary_of_looks(&samples)?;
    fs::write(data.join("summary.md"), text)?;
    draw_items(&items, &samples, &figures.join("cache-items.svg"))
}

/// The hit ratios in percent at one capacity and probability, one for each repetition.
fn ratios_at(rows: &[Row], probability: f64, capacity: f64) -> Result<Vec<f64>, Problem> {
    let mut ratios = Vec::new();
    for row in rows {
        let here = row.number("probability")? == probability && row.number("capacity")? == capacity;
        let (hits, misses) = (row.number("hits")?, row.number("misses")?);
        if here && hits + misses > 0.0 {
            ratios.push(100.0 * hits / (hits + misses));
        }
    }
    Ok(ratios)
}

fn draw_hit_ratio(rows: &[Row], path: &Path) -> Result<(), Problem> {
    let capacities = values(rows, "capacity")?;
    let toys = rows[0].number("toys")?;
    let most = capacities.iter().copied().fold(toys, f64::max);
    let frame = Frame {
        title: "Hit ratio of the front-end's cache".into(),
        corner: (100, 60),
        size: (530, 340),
        x: Axis::stepped("capacity, entries", 0.0, most, 2.0),
        y: Axis::stepped("queries answered from the cache, %", 0.0, 100.0, 20.0),
    };
    Page::draw(path, (660, 640), "Hit ratio by capacity and probability of an order", |page| {
        page.frame(&frame)?;
        let bound = [(0.0, 0.0), (toys, 100.0), (most.max(toys), 100.0)];
        page.series(&frame, &bound, Style::reference())?;
        let mut legend = Vec::new();
        for (number, probability) in values(rows, "probability")?.into_iter().enumerate() {
            let style = Style::of_series(number);
            let (mut means, mut bars) = (Vec::new(), Vec::new());
            for capacity in &capacities {
                let ratios = ratios_at(rows, probability, *capacity)?;
                if let (Some(of), Some((low, high))) = (estimate(&ratios), extremes(&ratios)) {
                    means.push((*capacity, of.mean));
                    bars.push((*capacity, low, high));
                }
            }
            page.spread(&frame, &bars, style.colour)?;
            page.series(&frame, &means, style)?;
            legend.push((format!("p = {:.0} %", probability * 100.0), style));
        }
        legend.push(("capacity ÷ number of toys".into(), Style::reference()));
        // In two columns.
        let (left, right) = legend.split_at(legend.len() / 2);
        page.legend((100, 490), left)?;
        page.legend((280, 490), right)?;
        let words = [
            "p: probability of an order after a query. Bars: least and greatest",
            "of the repetitions. Dashed: what would be if nothing was bought.",
        ];
        (0..).zip(words).try_for_each(|(row, words)| page.note(words, (100, 584 + row * 26)))
    })
}

fn summary(rows: &[Row]) -> Result<String, Problem> {
    let mut text = String::from(
        "# Hit ratio of the cache\n\nWritten by `eval/cache/run.sh` from `hit_ratio.csv`; the \
         machine is in `machine.json`. Percent of the queries, mean over the repetitions [95 % \
         confidence interval].\n\n| capacity |",
    );
    let (capacities, probabilities) = (values(rows, "capacity")?, values(rows, "probability")?);
    for probability in &probabilities {
        write!(text, " p = {:.0} % |", probability * 100.0)?;
    }
    write!(text, "\n|---|{}", "---|".repeat(probabilities.len()))?;
    for capacity in &capacities {
        write!(text, "\n| {capacity} |")?;
        for probability in &probabilities {
            match estimate(&ratios_at(rows, *probability, *capacity)?) {
                Some(Estimate { mean, interval: Some((low, high)) }) => {
                    write!(text, " {mean:.1} [{low:.1}, {high:.1}] |")?;
                }
                Some(Estimate { mean, interval: None }) => write!(text, " {mean:.1} |")?,
                None => write!(text, " - |")?,
            }
        }
    }
    text.push('\n');
    Ok(text)
}

/// How closely the items were watched.
fn summary_of_looks(samples: &[Row]) -> Result<String, Problem> {
    let times = values(samples, "time_s")?;
    let (first, last) = (times[0], times[times.len() - 1]);
    let mean = (last - first) / (times.len() - 1).max(1) as f64;
    Ok(format!(
        "\nThe items in the cache were looked at {} times in {last:.1} s, every {mean:.3} s on the \
         average.\n",
        times.len()
    ))
}

fn draw_items(items: &[Row], samples: &[Row], path: &Path) -> Result<(), Problem> {
    let times = values(samples, "time_s")?;
    let end = times[times.len() - 1];
    // Each toy that was ever there, in the catalog's order.
    let mut toys: Vec<(f64, &str)> = Vec::new();
    for row in items {
        let toy = (row.number("toy_index")?, row.text("toy")?);
        if !toys.contains(&toy) {
            toys.push(toy);
        }
    }
    toys.sort_by(|one, other| one.0.total_cmp(&other.0));
    let row_height = 26;
    let height = row_height * toys.len() as i32;
    let names = toys.iter().enumerate();
    let ticks = names.map(|(row, (_, name))| (row as f64 + 0.5, (*name).to_owned())).collect();
    let y = Axis { ticks, ..Axis::stepped("", 0.0, toys.len() as f64, toys.len() as f64) };
    let setting = &samples[0];
    let (capacity, probability) = (setting.number("capacity")?, setting.number("probability")?);
    let frame = Frame {
        title: format!(
            "Items in the cache: capacity {capacity}, p = {:.0} %, {} queries/s",
            probability * 100.0,
            setting.number("rate")?
        ),
        corner: (190, 60),
        size: (880, height),
        x: Axis::from_zero("time, s", end),
        y,
    };
    let frame = Frame { x: Axis { high: end, ticks: within(&frame.x, end), ..frame.x }, ..frame };
    let page_size = (1_120, u32::try_from(height)? + 260);
    Page::draw(path, page_size, "Items in the cache over time", |page| {
        page.frame(&frame)?;
        for row in items {
            let index = row.number("toy_index")?;
            let place = toys.iter().position(|toy| toy.0 == index).ok_or("a toy without a row")?;
            let from = row.number("time_s")?;
            let next = times.iter().copied().find(|time| *time > from).unwrap_or(end);
            let (left, bottom) = frame.at(from, place as f64);
            let (right, top) = frame.at(next, place as f64 + 1.0);
            // The most recently used is in full colour.
            let strength = 1.0 - 0.75 * (row.number("place")? - 1.0) / (capacity - 1.0).max(1.0);
            page.shade((left, top + 4), (right, bottom - 4), COLOURS[0], strength)?;
        }
        let below = frame.corner.1 + height + 92;
        page.note_before("invalidated", (frame.corner.0 - 10, below))?;
        for pair in samples.windows(2) {
            if pair[1].number("invalidations")? > pair[0].number("invalidations")? {
                let (at, _) = frame.at(pair[1].number("time_s")?, 0.0);
                page.block((at - 1, below - 11), (at + 2, below + 11), COLOURS[3])?;
            }
        }
        let left = frame.corner.0;
        for (step, strength) in [(0, 1.0), (1, 0.625), (2, 0.25)] {
            let at = left + step * 20;
            page.shade((at, below + 34), (at + 20, below + 50), COLOURS[0], strength)?;
        }
        let words =
            "in the cache; the most recently used in full colour, the least in the faintest";
        page.note(words, (left + 70, below + 42))?;
        // The catalog knows who asked for a toy, but not whose cache has let go of it since.
        page.block((left + 28, below + 61), (left + 31, below + 83), COLOURS[3])?;
        let words = "a toy was about to be sold or restocked; it was dropped, if it was there";
        page.note(words, (left + 70, below + 72))
    })
}

/// An axis' marks up to where it ends.
fn within(axis: &Axis, end: f64) -> Vec<(f64, String)> {
    axis.ticks.iter().filter(|(value, _)| *value <= end).cloned().collect()
}
