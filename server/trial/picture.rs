//! Draws what a trial found: each metric's effect between its limits, beside what is tolerated.

use super::report::{figure, words};
use crate::{
    _core::svg::{Anchor, Stroke, Svg},
    rollout::trials::{Trial, TrialFigures, TrialVerdict},
};

const WIDTH: f64 = 930.0;
const LABELS: f64 = 285.0;
const AXIS: f64 = 330.0;
/// Where the words of verdicts begin.
const WORDS: f64 = LABELS + AXIS + 20.0;
const HEAD: f64 = 64.0;
const ROW: f64 = 26.0;
const GREY: &str = "#555";
const FAINT: &str = "#ddd";
const MARGIN: &str = "#c77700";

/// Metrics that share an axis.
struct Panel {
    title: &'static str,
    is_ratio: bool,
    /// Where lines of the axis are, as effects.
    lines: &'static [f64],
}

const PANELS: [Panel; 2] = [
    Panel {
        title: "Candidate minus control, in percentage points",
        is_ratio: false,
        lines: &[-0.4, -0.2, 0.0, 0.2, 0.4],
    },
    Panel {
        title: "Candidate by control",
        is_ratio: true,
        lines: &[0.25, 0.5, 1.0, 2.0, 4.0],
    },
];

/// An SVG picture.
pub fn svg(trial: &Trial) -> String {
    let of = |panel: &Panel| -> Vec<&TrialFigures> {
        let metrics = trial.result.metrics.iter();
        metrics
            .filter(|it| it.metric.is_ratio() == panel.is_ratio)
            .collect()
    };
    let height = |panel: &Panel| HEAD + of(panel).len() as f64 * ROW;
    let all: f64 = PANELS.iter().map(height).sum();
    let title = format!(
        "Trial of `{}` against `{}` for `{}`: {}",
        trial.candidate, trial.control, trial.task, trial.result.verdict
    );
    let mut svg = Svg::new(WIDTH, all + 30.0, &title);
    svg.heading(10.0, 20.0, &title);
    let mut top = 20.0;
    for panel in &PANELS {
        panel.draw(&of(panel), top, &mut svg);
        top += height(panel);
    }
    svg.finish()
}

impl Panel {
    /// The place of an effect on the axis; what lies beyond is cut.
    fn x(&self, effect: f64) -> f64 {
        let (Some(first), Some(last)) = (self.lines.first(), self.lines.last()) else {
            return LABELS;
        };
        let scale = |value: f64| {
            if self.is_ratio {
                value.max(f64::MIN_POSITIVE).ln()
            } else {
                value
            }
        };
        let part = (scale(effect) - scale(*first)) / (scale(*last) - scale(*first));
        LABELS + part.clamp(0.0, 1.0) * AXIS
    }

    fn draw(&self, metrics: &[&TrialFigures], top: f64, svg: &mut Svg) {
        let first = top + HEAD;
        let bottom = first + metrics.len() as f64 * ROW;
        svg.text(10.0, top + 32.0, Anchor::Start, GREY, self.title);
        for line in self.lines {
            let x = self.x(*line);
            svg.line([(x, first), (x, bottom)], Stroke::thin(FAINT));
            let label = if self.is_ratio {
                format!("{line}×")
            } else {
                format!("{:+.0}", line * 100.0)
            };
            svg.text(x, first - 6.0, Anchor::Middle, GREY, &label);
        }
        for (row, it) in metrics.iter().enumerate() {
            let y = first + (row as f64 + 0.5) * ROW;
            let colour = match it.verdict {
                TrialVerdict::Worse => "#c0262d",
                TrialVerdict::NoWorse => "#1f6f54",
                TrialVerdict::NotProven => GREY,
            };
            svg.text(10.0, y + 4.0, Anchor::Start, "#000", it.metric.name());
            let x = self.x(it.margin);
            svg.line([(x, y - 8.0), (x, y + 8.0)], Stroke::bold(MARGIN));
            if let Some(effect) = it.effect {
                svg.line(
                    [(self.x(it.low), y), (self.x(it.high), y)],
                    Stroke::bold(colour),
                );
                svg.dot(self.x(effect), y, colour);
                svg.text(LABELS - 12.0, y + 4.0, Anchor::End, GREY, &figure(it));
            }
            svg.text(WORDS, y + 4.0, Anchor::Start, colour, &words(it));
        }
    }
}
