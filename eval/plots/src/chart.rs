//! Figures: a page with frames, axes, marks and legends.
//!
//! Every figure has a background of its own, which is dark where the reader's is (SVG's
//! `prefers-color-scheme`), so that it can be read on either. The colours of marks are Okabe and
//! Ito's, which colour-blind readers can tell apart; marks differ in shape, too.

use std::fs;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Problem;

const PAPER: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(31, 35, 40);
const FAINT: RGBColor = RGBColor(216, 220, 225);
/// Ink that is not a mark of any series.
const DULL: RGBColor = RGBColor(107, 114, 122);
/// What these become on a dark screen.
const DARK: [(RGBColor, &str); 4] =
    [(PAPER, "#15181c"), (INK, "#e8eaed"), (FAINT, "#363c44"), (DULL, "#9aa2ab")];
/// Okabe and Ito's colours that show on white and on black.
pub(crate) const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
];
const TEXT: i32 = 20;
const TITLE: i32 = 24;
const MARK: i32 = 6;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A point on the page, in pixels from the upper left corner.
pub(crate) type Point = (i32, i32);

/// What a series' points look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
    Cross,
    /// No marks, only lines.
    None,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) colour: RGBColor,
    pub(crate) shape: Shape,
    pub(crate) line: Line,
}

/// The line between a series' points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Solid,
    Dashed,
    None,
}

/// How values become distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    Log,
}

/// One axis of a frame.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) label: String,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) scale: Scale,
    /// Where it is marked, and with what.
    pub(crate) ticks: Vec<(f64, String)>,
}

/// A part of the page with axes.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) title: String,
    /// The upper left corner of what the axes enclose.
    pub(crate) corner: Point,
    pub(crate) size: (i32, i32),
    pub(crate) x: Axis,
    pub(crate) y: Axis,
}

/// A page under way.
pub(crate) struct Page<'a> {
    area: Area<'a>,
}

impl Style {
    /// The style of the series with this number, from 0 on.
    pub(crate) fn of_series(number: usize) -> Self {
        const SHAPES: [Shape; 5] =
            [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Diamond, Shape::Cross];
        let colour = COLOURS[number % COLOURS.len()];
        Self { colour, shape: SHAPES[number % SHAPES.len()], line: Line::Solid }
    }

    /// A dashed line that is no series but something to compare with.
    pub(crate) fn reference() -> Self {
        Self { colour: DULL, shape: Shape::None, line: Line::Dashed }
    }
}

impl Axis {
    /// From 0 to a little above `most`, with round marks.
    pub(crate) fn from_zero(label: &str, most: f64) -> Self {
        let step = round_step(most.max(1e-9) / 5.0);
        let high = (most / step).ceil().max(1.0) * step;
        Self::stepped(label, 0.0, high, step)
    }

    /// From `low` to `high`, marked at every `step`.
    pub(crate) fn stepped(label: &str, low: f64, high: f64, step: f64) -> Self {
        let count = ((high - low) / step).round() as i32;
        let ticks = (0..=count).map(|n| low + f64::from(n) * step);
        let ticks = ticks.map(|value| (value, short(value))).collect();
        Self { label: label.into(), low, high, scale: Scale::Linear, ticks }
    }

    /// Marked where the values are, with some room to both sides.
    pub(crate) fn of_values(label: &str, values: &[f64], room: f64) -> Self {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min) - room;
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max) + room;
        let ticks = values.iter().map(|value| (*value, short(*value))).collect();
        Self { label: label.into(), low, high, scale: Scale::Linear, ticks }
    }

    /// Logarithmic, which its label says, around all values. Marked at 1, 2 and 5 of each decade; at
    /// 1 only, if there are many decades; and more closely, if there is not even one.
    pub(crate) fn log(label: &str, least: f64, most: f64) -> Self {
        let (low, high) = (least / 1.2, most * 1.2);
        let steps: &[f64] = match high / low {
            decades if decades > 2_000.0 => &[1.0],
            decades if decades > 10.0 => &[1.0, 2.0, 5.0],
            _ => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
        };
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let ticks =
            decades.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
        let ticks = ticks.filter(|tick| (low..=high).contains(tick));
        let ticks = ticks.map(|tick| (tick, short(tick))).collect();
        let label = format!("{label} (logarithmic)");
        Self { label, low, high, scale: Scale::Log, ticks }
    }

    /// Where a value is, from 0 to 1.
    fn share(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        }
    }
}

impl Frame {
    /// Where a pair of values is on the page.
    pub(crate) fn at(&self, x: f64, y: f64) -> Point {
        let right = self.x.share(x) * f64::from(self.size.0);
        let down = (1.0 - self.y.share(y)) * f64::from(self.size.1);
        (self.corner.0 + right.round() as i32, self.corner.1 + down.round() as i32)
    }
}

impl Page<'_> {
    /// Draws a figure of this size and writes it to `path`. `title` is for those who do not see it.
    pub(crate) fn draw(
        path: &Path,
        size: (u32, u32),
        title: &str,
        draw: impl FnOnce(&Page<'_>) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            area.fill(&PAPER).map_err(text_of)?;
            let page = Page { area };
            draw(&page)?;
            page.area.present().map_err(text_of)?;
        }
        fs::write(path, adapted(&svg, title))
            .map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// Draws a frame: the title, the axes with their marks and labels, and the grid.
    pub(crate) fn frame(&self, frame: &Frame) -> Result<(), Problem> {
        let Frame { title, corner, size, x, y } = frame;
        let (left, top, right, bottom) = (corner.0, corner.1, corner.0 + size.0, corner.1 + size.1);
        for (value, mark) in &y.ticks {
            let (_, at) = frame.at(x.low, *value);
            self.line(&[(left, at), (right, at)], FAINT, 1)?;
            self.text(mark, (left - 10, at), HPos::Right, VPos::Center, TEXT, INK)?;
        }
        for (value, mark) in &x.ticks {
            let (at, _) = frame.at(*value, y.low);
            self.line(&[(at, bottom), (at, bottom + 6)], INK, 1)?;
            self.text(mark, (at, bottom + 10), HPos::Center, VPos::Top, TEXT, INK)?;
        }
        self.line(&[(left, top), (left, bottom), (right, bottom)], INK, 1)?;
        let middle = i32::midpoint(left, right);
        self.text(&x.label, (middle, bottom + 36), HPos::Center, VPos::Top, TEXT, INK)?;
        self.text(title, (left, top - 16), HPos::Left, VPos::Bottom, TITLE, INK)?;
        // Upright beside the axis there is no room for a long label; above it there is.
        let style = ("sans-serif", TEXT).into_font().transform(FontTransform::Rotate270);
        let style = style.color(&INK).pos(Pos::new(HPos::Center, VPos::Top));
        let widest = y.ticks.iter().map(|(_, mark)| mark.chars().count() as i32).max();
        let away = 36 + widest.unwrap_or_default() * 11;
        let at = (left - away, i32::midpoint(top, bottom));
        self.area.draw(&Text::new(y.label.clone(), at, style)).map_err(text_of)
    }

    /// Draws a series: its line, then its marks.
    pub(crate) fn series(
        &self,
        frame: &Frame,
        points: &[(f64, f64)],
        style: Style,
    ) -> Result<(), Problem> {
        let points: Vec<Point> = points.iter().map(|(x, y)| frame.at(*x, *y)).collect();
        match style.line {
            Line::Solid => self.line(&points, style.colour, 3)?,
            Line::Dashed => self.dashed(&points, style.colour)?,
            Line::None => {}
        }
        points.iter().try_for_each(|point| self.mark(*point, style, MARK))
    }

    /// Draws a series of so many points that a line with marks would cover everything.
    pub(crate) fn curve(
        &self,
        frame: &Frame,
        points: &[(f64, f64)],
        colour: RGBColor,
    ) -> Result<(), Problem> {
        let points: Vec<Point> = points.iter().map(|(x, y)| frame.at(*x, *y)).collect();
        self.line(&points, colour, 2)
    }

    /// Draws a bar from one value to another at each x, for the spread.
    pub(crate) fn spread(
        &self,
        frame: &Frame,
        bars: &[(f64, f64, f64)],
        colour: RGBColor,
    ) -> Result<(), Problem> {
        for (x, low, high) in bars {
            let ((at, low), (_, high)) = (frame.at(*x, *low), frame.at(*x, *high));
            self.line(&[(at, low), (at, high)], colour, 2)?;
            for end in [low, high] {
                self.line(&[(at - 5, end), (at + 5, end)], colour, 2)?;
            }
        }
        Ok(())
    }

    /// Fills what lies between two values of x, over the frame's whole height.
    pub(crate) fn band(
        &self,
        frame: &Frame,
        from: f64,
        to: f64,
        colour: RGBColor,
    ) -> Result<(), Problem> {
        let (left, bottom) = frame.at(from.max(frame.x.low), frame.y.low);
        let (right, top) = frame.at(to.min(frame.x.high), frame.y.high);
        self.area
            .draw(&Rectangle::new(
                [(left, top), (right.max(left + 2), bottom)],
                colour.mix(0.25).filled(),
            ))
            .map_err(text_of)
    }

    /// Fills a rectangle.
    pub(crate) fn block(&self, from: Point, to: Point, colour: RGBColor) -> Result<(), Problem> {
        self.area.draw(&Rectangle::new([from, to], colour.filled())).map_err(text_of)
    }

    /// Fills a rectangle more or less strongly, from 0 to 1.
    pub(crate) fn shade(
        &self,
        from: Point,
        to: Point,
        colour: RGBColor,
        strength: f64,
    ) -> Result<(), Problem> {
        let fill = colour.mix(strength).filled();
        self.area.draw(&Rectangle::new([from, to], fill)).map_err(text_of)
    }

    /// Draws small marks that are not joined.
    pub(crate) fn dots(
        &self,
        frame: &Frame,
        points: &[(f64, f64)],
        style: Style,
    ) -> Result<(), Problem> {
        points.iter().try_for_each(|(x, y)| self.mark(frame.at(*x, *y), style, 3))
    }

    /// Draws a legend: one entry below the other.
    pub(crate) fn legend(&self, corner: Point, entries: &[(String, Style)]) -> Result<(), Problem> {
        for (row, (name, style)) in (0..).zip(entries) {
            let (x, y) = (corner.0, corner.1 + row * 28);
            match style.line {
                Line::Solid => self.line(&[(x, y), (x + 40, y)], style.colour, 3)?,
                Line::Dashed => self.dashed(&[(x, y), (x + 40, y)], style.colour)?,
                Line::None => {}
            }
            self.mark((x + 20, y), *style, MARK)?;
            self.note(name, (x + 50, y))?;
        }
        Ok(())
    }

    /// Draws a legend entry for an area.
    pub(crate) fn legend_of_area(
        &self,
        at: Point,
        name: &str,
        colour: RGBColor,
    ) -> Result<(), Problem> {
        let corners = [(at.0, at.1 - 8), (at.0 + 40, at.1 + 8)];
        self.area.draw(&Rectangle::new(corners, colour.mix(0.25).filled())).map_err(text_of)?;
        self.note(name, (at.0 + 50, at.1))
    }

    /// Writes some words, beginning there.
    pub(crate) fn note(&self, text: &str, at: Point) -> Result<(), Problem> {
        self.text(text, at, HPos::Left, VPos::Center, TEXT, INK)
    }

    /// Writes a title, beginning there.
    pub(crate) fn heading(&self, text: &str, at: Point) -> Result<(), Problem> {
        self.text(text, at, HPos::Left, VPos::Center, TITLE, INK)
    }

    /// Writes some words, ending there.
    pub(crate) fn note_before(&self, text: &str, at: Point) -> Result<(), Problem> {
        self.text(text, at, HPos::Right, VPos::Center, TEXT, INK)
    }

    fn text(
        &self,
        text: &str,
        at: Point,
        horizontal: HPos,
        vertical: VPos,
        size: i32,
        colour: RGBColor,
    ) -> Result<(), Problem> {
        let style = ("sans-serif", size).into_font().color(&colour);
        let style = style.pos(Pos::new(horizontal, vertical));
        self.area.draw(&Text::new(text.to_owned(), at, style)).map_err(text_of)
    }

    fn line(&self, points: &[Point], colour: RGBColor, width: u32) -> Result<(), Problem> {
        let path = PathElement::new(points.to_vec(), colour.stroke_width(width));
        self.area.draw(&path).map_err(text_of)
    }

    fn dashed(&self, points: &[Point], colour: RGBColor) -> Result<(), Problem> {
        const DASH: f64 = 9.0;
        for ends in points.windows(2) {
            let (dx, dy) = (f64::from(ends[1].0 - ends[0].0), f64::from(ends[1].1 - ends[0].1));
            let dashes = (dx.hypot(dy) / (2.0 * DASH)).ceil().max(1.0);
            let on = |share: f64| {
                (ends[0].0 + (dx * share).round() as i32, ends[0].1 + (dy * share).round() as i32)
            };
            for dash in 0..dashes as i32 {
                let from = f64::from(dash) / dashes;
                self.line(&[on(from), on(from + 0.5 / dashes)], colour, 2)?;
            }
        }
        Ok(())
    }

    fn mark(&self, (x, y): Point, style: Style, size: i32) -> Result<(), Problem> {
        let fill = style.colour.filled();
        let corners = |points: &[(i32, i32)]| {
            let points = points.iter().map(|(dx, dy)| (x + dx * size / 4, y + dy * size / 4));
            Polygon::new(points.collect::<Vec<_>>(), fill)
        };
        let drawn = match style.shape {
            Shape::None => return Ok(()),
            Shape::Circle => self.area.draw(&Circle::new((x, y), size, fill)),
            Shape::Square => {
                let half = size - 1;
                self.area.draw(&Rectangle::new([(x - half, y - half), (x + half, y + half)], fill))
            }
            Shape::Triangle => self.area.draw(&corners(&[(0, -5), (5, 4), (-5, 4)])),
            Shape::Diamond => self.area.draw(&corners(&[(0, -6), (6, 0), (0, 6), (-6, 0)])),
            Shape::Cross => {
                let half = size - 1;
                self.line(&[(x - half, y - half), (x + half, y + half)], style.colour, 3)?;
                return self.line(&[(x - half, y + half), (x + half, y - half)], style.colour, 3);
            }
        };
        drawn.map_err(text_of)
    }
}

/// The picture with a title, and with colours that follow the reader's screen.
fn adapted(svg: &str, title: &str) -> String {
    let rules: Vec<String> = DARK
        .iter()
        .map(|(RGBColor(r, g, b), dark)| {
            let light = format!("#{r:02X}{g:02X}{b:02X}");
            format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}")
        })
        .collect();
    let style = format!("@media (prefers-color-scheme: dark) {{{}}}", rules.concat());
    let start = svg.find('>').map_or(0, |end| end + 1);
    let (head, rest) = svg.split_at(start);
    format!("{head}\n<title>{title}</title>\n<style>{style}</style>{rest}")
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn round_step(least: f64) -> f64 {
    let decade = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|step| step * decade)
        .into_iter()
        .find(|step| *step >= least * 0.999)
        .unwrap_or(decade * 10.0)
}

/// A number without needless decimals.
pub(crate) fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn text_of(error: impl std::fmt::Display) -> Problem {
    error.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (most, high) in [(0.9, 1.0), (9.3, 10.0), (101.0, 150.0), (4.0, 4.0)] {
            let axis = Axis::from_zero("", most);
            assert!((axis.high - high).abs() < 1e-9, "{most}: {}", axis.high);
        }
    }

    #[test]
    fn a_value_is_where_its_axis_says() {
        let log = Axis::log("", 1.2, 1_000.0 / 1.2);
        assert!((log.share(1.0)).abs() < 1e-9 && (log.share(1_000.0) - 1.0).abs() < 1e-9);
        assert!((log.share(10.0) - 1.0 / 3.0).abs() < 1e-9);
        let (x, y) = (Axis::stepped("", 0.0, 10.0, 5.0), Axis::stepped("", 0.0, 1.0, 0.5));
        let frame = Frame { title: String::new(), corner: (100, 50), size: (200, 100), x, y };
        assert_eq!(frame.at(5.0, 1.0), (200, 50));
        assert_eq!(frame.at(0.0, 0.0), (100, 150));
    }
}
