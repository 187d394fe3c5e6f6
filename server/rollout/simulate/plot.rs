//! Draws what was certified: of each cell that can miss its goal, what was measured between its limits, beside the goal.

use super::certify::{Certificate, MeasuredGoal, Unit};
use crate::_core::svg::{Anchor, Stroke, Svg};

const ROW: f64 = 17.0;
const HEAD: f64 = 46.0;
const LABELS: f64 = 400.0;
const WIDTH: f64 = 900.0;
/// Room for the last number of an axis.
const MARGIN: f64 = 30.0;

/// Cells that share an axis, as they are of one unit.
struct Panel {
    title: &'static str,
    unit: Unit,
    /// Where the axis ends; what lies beyond is cut.
    end: f64,
    step: f64,
}

const PANELS: [Panel; 4] = [
    Panel {
        title: "What may happen in so many of all runs",
        unit: Unit::Part,
        end: 0.06,
        step: 0.01,
    },
    Panel {
        title: "Delays, as multiples",
        unit: Unit::Multiple,
        end: 2.6,
        step: 0.5,
    },
    Panel {
        title: "Requests or errors that a worse candidate serves",
        unit: Unit::Requests,
        end: 200.0,
        step: 20.0,
    },
    Panel {
        title: "Hours until a worse candidate is found",
        unit: Unit::Hours,
        end: 168.0,
        step: 24.0,
    },
];

/// An SVG image.
pub fn svg(report: &Certificate) -> String {
    let panels: Vec<(&Panel, Vec<&MeasuredGoal>)> = PANELS
        .iter()
        .map(|panel| {
            let of_panel = |cell: &&MeasuredGoal| cell.unit == panel.unit && !cell.is_told;
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
            let colour = if cell.is_missed() {
                "#c0262d"
            } else {
                "#1f6f54"
            };
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
    fn every_cell_that_can_miss_is_drawn_with_its_goal_and_its_limits() {
        let cell = |goal, unit, measured| MeasuredGoal {
            goal,
            name: "10 %".to_owned(),
            runs: 100,
            measured,
            limits: (measured * 0.5, measured * 1.5),
            goal_at_most: 0.012,
            alarms: None,
            is_held_out: false,
            is_told: false,
            unit,
            note: String::new(),
        };
        let told = MeasuredGoal {
            is_told: true,
            ..cell("G12", Unit::Hours, 0.01)
        };
        let report = Certificate {
            seed: 1,
            cells: vec![
                cell("G1", Unit::Part, 0.01),
                cell("G22h", Unit::Part, 0.03),
                cell("G4", Unit::Requests, 4.0),
                told,
            ],
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
        assert!(svg.contains(">G22h 10 %<"), "{svg}");
    }
}
