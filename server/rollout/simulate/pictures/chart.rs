//! Lines between limits, and maps of numbers.

use crate::_core::svg::{Anchor, Stroke, Svg};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = HEIGHT - 36.0;
/// Where the names of the lines stand.
const RIGHT: f64 = WIDTH - 190.0;
const GAP: f64 = 18.0;
const COLOURS: [&str; 4] = ["#1f6f54", "#c77700", "#5b3fa0", "#888"];
const STEPS: u32 = 4;

/// A measured value between its limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) limits: (f64, f64),
}

/// Values that belong together.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
}

/// Where values are drawn.
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) x: (f64, f64),
    pub(super) y: (f64, f64),
    /// What is not to be exceeded.
    pub(super) level: Option<f64>,
    /// Of both axes.
    pub(super) is_logarithmic: bool,
}

impl Chart {
    fn place(&self, value: f64, (from, to): (f64, f64)) -> f64 {
        let (value, from, to) = if self.is_logarithmic {
            (value.max(from).ln(), from.ln(), to.ln())
        } else {
            (value, from, to)
        };
        ((value - from) / (to - from)).clamp(0.0, 1.0)
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let (x, y) = (self.place(x, self.x), self.place(y, self.y));
        (LEFT + x * (RIGHT - LEFT), BOTTOM - y * (BOTTOM - TOP))
    }

    /// Values along an axis.
    fn marks(&self, (from, to): (f64, f64)) -> Vec<f64> {
        if self.is_logarithmic {
            let powers = from.log10().round() as i32..=to.log10().round() as i32;
            return powers.map(|power| 10_f64.powi(power)).collect();
        }
        let step = (to - from) / f64::from(STEPS);
        (0..=STEPS).map(|n| from + f64::from(n) * step).collect()
    }

    pub(super) fn draw(&self, lines: &[Line]) -> String {
        let mut svg = Svg::new(WIDTH, HEIGHT, self.title);
        svg.heading(10.0, 20.0, self.title);
        for y in self.marks(self.y) {
            let (left, at) = self.at(self.x.0, y);
            svg.line([(left, at), (RIGHT, at)], Stroke::thin("#ddd"));
            svg.text(left - 6.0, at + 4.0, Anchor::End, "#555", &short(y));
        }
        for x in self.marks(self.x) {
            let (at, bottom) = self.at(x, self.y.0);
            svg.text(at, bottom + 16.0, Anchor::Middle, "#555", &short(x));
        }
        if let Some(level) = self.level {
            let (from, to) = (self.at(self.x.0, level), self.at(self.x.1, level));
            svg.line([from, to], Stroke::dashed("#c0262d"));
        }
        for (n, (line, colour)) in lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let points = line.points.iter();
            svg.line(
                points.clone().map(|it| self.at(it.x, it.y)),
                Stroke::bold(colour),
            );
            for point in points.filter(|it| it.limits.0 < it.limits.1) {
                let (low, high) = point.limits;
                let ends = [self.at(point.x, low), self.at(point.x, high)];
                svg.line(ends, Stroke::thin(colour));
                let (x, y) = self.at(point.x, point.y);
                svg.dot(x, y, colour);
            }
            let y = TOP + 10.0 + n as f64 * GAP;
            svg.text(RIGHT + 14.0, y, Anchor::Start, colour, &line.name);
        }
        svg.finish()
    }
}

/// A number without what rounding left.
fn short(number: f64) -> String {
    ((number * 1e4).round() / 1e4).to_string()
}

/// A map: a row for each of `rows`, in each place hours and the part in which they were enough.
pub(super) fn map(
    title: &str,
    rows: &[String],
    columns: &[String],
    places: &[(f64, f64)],
) -> String {
    const CELL: (f64, f64) = (110.0, 44.0);
    const NAMES: f64 = 110.0;
    let width = NAMES + CELL.0 * columns.len() as f64 + 10.0;
    let mut svg = Svg::new(width.max(WIDTH), 60.0 + CELL.1 * rows.len() as f64, title);
    svg.heading(10.0, 20.0, title);
    for (n, column) in columns.iter().enumerate() {
        let x = NAMES + (n as f64 + 0.5) * CELL.0;
        svg.text(x, 42.0, Anchor::Middle, "#555", column);
    }
    for (row, (name, places)) in rows.iter().zip(places.chunks(columns.len())).enumerate() {
        let top = 50.0 + row as f64 * CELL.1;
        svg.text(10.0, top + 26.0, Anchor::Start, "#000", name);
        for (column, (hours, part)) in places.iter().enumerate() {
            let left = NAMES + column as f64 * CELL.0;
            let corners = [
                (left, top),
                (left + CELL.0 - 2.0, top),
                (left + CELL.0 - 2.0, top + CELL.1 - 2.0),
                (left, top + CELL.1 - 2.0),
            ];
            let colour = match *hours {
                hours if hours < 6.0 => "#bfe3d0",
                hours if hours < 24.0 => "#dcefe2",
                hours if hours < 96.0 => "#f6ecd2",
                _ => "#f6d9d2",
            };
            svg.area(corners, colour);
            let (middle, hours) = (left + CELL.0 / 2.0, in_hours(*hours));
            svg.text(middle, top + 18.0, Anchor::Middle, "#000", &hours);
            let part = format!("{:.0} of 100", part * 100.0);
            svg.text(middle, top + 34.0, Anchor::Middle, "#555", &part);
        }
    }
    svg.finish()
}

fn in_hours(hours: f64) -> String {
    if hours < 10.0 {
        format!("{hours:.1} h")
    } else {
        format!("{hours:.0} h")
    }
}
