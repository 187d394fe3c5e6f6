//! Draws what was certified: each cell's measurement between its limits, beside its goal.

use super::certify::{Certificate, MeasuredGoal};
use crate::_core::svg::{Anchor, Stroke, Svg};

const ROW: f64 = 17.0;
const HEAD: f64 = 46.0;
const LABELS: f64 = 400.0;
const WIDTH: f64 = 900.0;
/// Room for the last number of an axis.
const MARGIN: f64 = 30.0;

/// Cells that share an axis.
struct Panel {
    title: &'static str,
    /// Of the same kind, so that one axis fits all.
    goals: &'static [&'static str],
    /// Where the axis ends; what lies beyond is cut.
    end: f64,
    step: f64,
}

const PANELS: [Panel; 3] = [
    Panel {
        title: "False rollbacks and promotions, as a part of all runs",
        goals: &["G1", "G5", "G6", "G6b"],
        end: 0.03,
        step: 0.005,
    },
    Panel {
        title: "Delays, as multiples",
        goals: &["G2", "G3", "G8"],
        end: 2.6,
        step: 0.5,
    },
    Panel {
        title: "Errors served by a candidate that always fails",
        goals: &["G4"],
        end: 7.0,
        step: 1.0,
    },
];

/// An SVG image.
pub fn svg(report: &Certificate) -> String {
    let panels: Vec<(&Panel, Vec<&MeasuredGoal>)> = PANELS
        .iter()
        .map(|panel| {
            let of_panel = |cell: &&MeasuredGoal| panel.goals.contains(&cell.goal);
            (panel, report.cells.iter().filter(of_panel).collect())
        })
        .filter(|(_, cells): &(_, Vec<_>)| !cells.is_empty())
        .collect();
    let rows = |cells: &[&MeasuredGoal]| cells.len() as f64 * ROW;
    let height: f64 = panels.iter().map(|(_, cells)| HEAD + rows(cells)).sum();
    let mut svg = Svg::new(WIDTH, height, "Certification");
    let mut top = 0.0;
    for (panel, cells) in panels {
        panel.draw(&cells, top, &mut svg);
        top += HEAD + rows(&cells);
    }
    svg.finish()
}

impl Panel {
    fn x(&self, value: f64) -> f64 {
        LABELS + (value / self.end).clamp(0.0, 1.0) * (WIDTH - LABELS - MARGIN)
    }

    fn draw(&self, cells: &[&MeasuredGoal], top: f64, svg: &mut Svg) {
        let first = top + HEAD;
        let bottom = first + cells.len() as f64 * ROW;
        svg.heading(10.0, top + 20.0, self.title);
        for line in 0..=(self.end / self.step).round() as u32 {
            let value = f64::from(line) * self.step;
            let x = self.x(value);
            svg.line([(x, first), (x, bottom)], Stroke::thin("#ddd"));
            let label = ((value * 1e3).round() / 1e3).to_string();
            svg.text(x, first - 5.0, Anchor::Middle, "#555", &label);
        }
        for (row, cell) in (0_u32..).zip(cells) {
            let y = first + (f64::from(row) + 0.5) * ROW;
            let colour = if cell.passed() { "#1f6f54" } else { "#c0262d" };
            let (low, high) = cell.limits;
            let [low, high, measured, goal] =
                [low, high, cell.measured, cell.goal_at_most].map(|value| self.x(value));
            let name = format!("{} {}", cell.goal, cell.name);
            svg.text(10.0, y + 4.0, Anchor::Start, "#000", &name);
            svg.line([(goal, y - 6.0), (goal, y + 6.0)], Stroke::bold("#c77700"));
            svg.line([(low, y), (high, y)], Stroke::thin(colour));
            svg.dot(measured, y, colour);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_drawn_with_its_goal_and_its_limits() {
        let cell = |goal, measured| MeasuredGoal {
            goal,
            name: "A/A 10 %".to_owned(),
            runs: 100,
            measured,
            limits: (measured * 0.5, measured * 1.5),
            goal_at_most: 0.012,
            alarms: None,
            is_held_out: false,
            note: String::new(),
        };
        let report = Certificate {
            seed: 1,
            cells: vec![cell("G1", 0.01), cell("G6b", 0.03), cell("G4", 4.0)],
        };
        let svg = svg(&report);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_eq!(svg.matches("stroke=\"#c77700\"").count(), 3);
        assert_eq!(
            svg.matches("#c0262d").count(),
            4,
            "two missed, twice coloured"
        );
        assert_eq!(
            svg.matches("font-weight").count(),
            2,
            "no panel without cells"
        );
        assert!(svg.contains(">G6b A/A 10 %<"), "{svg}");
    }
}
