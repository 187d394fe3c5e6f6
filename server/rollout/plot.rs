//! Draws how a rollout went: E between its levels, each ratio between its limits, share and stages, and what the
//! arms served, one below the other over the same time.

use chrono::DateTime;

use super::{
    arms::PerArm,
    course::{ArmTraffic, Course, CourseChange},
    evidence::{Effect, Metric},
    record::Action,
};
use crate::_core::{
    assignment::Variant,
    svg::{Anchor, Stroke, Svg},
};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 790.0;
const TOP: f64 = 74.0;
const HEIGHT: f64 = 96.0;
const GAP: f64 = 46.0;
const GREY: &str = "#555";
const FAINT: &str = "#e4e4e4";
const CONTROL: &str = "#4a6fa5";
const CANDIDATE: &str = "#c77700";
const BAND: &str = "#f6e3c8";
const BAD: &str = "#c0262d";
/// Times that the axis names.
const TIMES: u32 = 4;
/// Requests that a point of rate or latency is made of, at least.
const ENOUGH: u32 = 20;

/// An SVG picture.
pub fn svg(course: &Course) -> String {
    let metrics = metrics(course);
    let panels = 4 + metrics.len();
    let height = TOP + panels as f64 * (HEIGHT + GAP) + 20.0;
    let status = &course.status;
    let title = format!(
        "Rollout {} of plan `{}`: {}",
        status.id,
        status.plan,
        status.state.name()
    );
    let mut picture = Picture {
        course,
        svg: Svg::new(WIDTH, height, &title),
        top: TOP,
    };
    picture.svg.heading(10.0, 20.0, &title);
    let models = status.models_in_words();
    picture.svg.text(10.0, 38.0, Anchor::Start, GREY, &models);
    if course.gone > 0 {
        let text = format!(
            "{} events are rolled up: of them only what was found at decisions is drawn, and no errors and latency",
            course.gone
        );
        picture.svg.text(10.0, 54.0, Anchor::Start, BAD, &text);
    }
    picture.evidence();
    for metric in metrics {
        picture.ratio(metric);
    }
    picture.share();
    picture.errors();
    picture.latency();
    picture.svg.finish()
}

/// The metrics whose ratio is known at some look.
fn metrics(course: &Course) -> Vec<Metric> {
    let mut metrics = Vec::new();
    let effects = course.looks.iter().flat_map(|look| &look.effects);
    for effect in effects.filter(|it| it.ratio.is_some()) {
        if !metrics.contains(&effect.metric) {
            metrics.push(effect.metric);
        }
    }
    metrics
}

/// From a value to a place between the bottom and the top of a panel.
#[derive(Clone, Copy)]
struct Scale {
    least: f64,
    most: f64,
    is_log: bool,
    top: f64,
}

impl Scale {
    fn y(self, value: f64) -> f64 {
        let place = |value: f64| {
            if self.is_log {
                value.max(f64::MIN_POSITIVE).ln()
            } else {
                value
            }
        };
        let (least, most) = (place(self.least), place(self.most));
        let part = (place(value) - least) / (most - least);
        self.top + HEIGHT * (1.0 - part.clamp(0.0, 1.0))
    }
}

struct Picture<'a> {
    course: &'a Course,
    svg: Svg,
    /// Of the panel that is drawn.
    top: f64,
}

impl Picture<'_> {
    fn x(&self, at_ms: i64) -> f64 {
        let (began, ended) = self.course.span;
        let part = (at_ms - began) as f64 / (ended - began) as f64;
        LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    /// The middle of a stretch of traffic.
    fn x_of(&self, stretch: usize) -> f64 {
        let part = (stretch as f64 + 0.5) / self.course.traffic.len() as f64;
        LEFT + part * (RIGHT - LEFT)
    }

    /// Begins a panel with its lines, and what was decided.
    fn panel(&mut self, title: &str, scale: Scale, lines: &[(f64, String)]) {
        let (top, bottom) = (self.top, self.top + HEIGHT);
        self.svg.text(LEFT, top - 8.0, Anchor::Start, "#000", title);
        for (value, label) in lines {
            let y = scale.y(*value);
            self.svg.line([(LEFT, y), (RIGHT, y)], Stroke::thin(FAINT));
            self.svg.text(LEFT - 6.0, y + 4.0, Anchor::End, GREY, label);
        }
        for change in &self.course.changes {
            let x = self.x(change.at_ms);
            self.svg.line(
                [(x, top), (x, bottom)],
                Stroke::dashed(colour(change.action)),
            );
        }
        let (began, ended) = self.course.span;
        for time in 0..=TIMES {
            let at = began + (ended - began) * i64::from(time) / i64::from(TIMES);
            let at = DateTime::from_timestamp_millis(at).unwrap_or_default();
            let text = match (ended - began) / i64::from(TIMES) {
                ..600_000 => at.format("%H:%M:%S").to_string(),
                600_000..86_400_000 => at.format("%d %b %H:%M").to_string(),
                _ => at.format("%d %b").to_string(),
            };
            let x = self.x(at.timestamp_millis());
            self.svg.text(x, bottom + 14.0, Anchor::Middle, GREY, &text);
        }
    }

    fn end_panel(&mut self) {
        self.top += HEIGHT + GAP;
    }

    fn scale(&self, least: f64, most: f64, is_log: bool) -> Scale {
        Scale {
            least,
            most,
            is_log,
            top: self.top,
        }
    }

    /// A word at the right end of a panel.
    fn beside(&mut self, y: f64, colour: &'static str, text: &str) {
        self.svg
            .text(RIGHT + 8.0, y + 4.0, Anchor::Start, colour, text);
    }

    /// Says that a panel has nothing to show.
    fn nothing(&mut self, text: &str) {
        let (x, y) = (f64::midpoint(LEFT, RIGHT), self.top + HEIGHT / 2.0);
        self.svg.text(x, y, Anchor::Middle, GREY, text);
    }

    fn evidence(&mut self) {
        let course = self.course;
        let levels = course.plan.as_ref().map(|plan| &plan.evidence);
        let rollback = levels.map_or(100.0, |it| it.rollback);
        let scale = self.scale(0.1, rollback * 10.0, true);
        let lines = [0.1, 1.0, 10.0, 100.0, 1_000.0];
        let lines = lines.into_iter().filter(|it| *it <= rollback * 10.0);
        let lines: Vec<_> = lines.map(|it| (it, it.to_string())).collect();
        self.panel(
            "E: evidence that the candidate is worse (log scale)",
            scale,
            &lines,
        );
        if let Some(levels) = levels {
            for (level, name, colour) in [
                (levels.watch, "watch", GREY),
                (levels.hold, "hold", CANDIDATE),
                (levels.rollback, "rollback", BAD),
            ] {
                let y = scale.y(level);
                self.svg
                    .line([(LEFT, y), (RIGHT, y)], Stroke::dashed(colour));
                self.beside(y, colour, &format!("{name} {level}"));
            }
        }
        let looks = course.looks.iter();
        let points: Vec<_> = looks
            .map(|look| (self.x(look.at_ms), scale.y(look.e)))
            .collect();
        match course.looks.last() {
            Some(last) => {
                self.svg.line(points, Stroke::bold("#000"));
                let text = format!("E = {} at the end", figure(last.e));
                let place = self.top - 8.0;
                self.svg.text(RIGHT, place, Anchor::End, "#000", &text);
            }
            None => self.nothing("no request that counts came, so there was nothing to look at"),
        }
        self.end_panel();
    }

    fn ratio(&mut self, metric: Metric) {
        let course = self.course;
        let of = |effects: &[Effect]| effects.iter().find(|it| it.metric == metric).copied();
        let looks = course.looks.iter();
        let effects: Vec<_> = looks
            .filter_map(|it| Some((it.at_ms, of(&it.effects)?)))
            .collect();
        let (least, most) = (1.0 / 16.0, 16.0);
        let scale = self.scale(least, most, true);
        let lines = [
            (least, "1/16×"),
            (0.25, "1/4×"),
            (1.0, "1×"),
            (4.0, "4×"),
            (most, "16×"),
        ];
        let lines = lines.map(|(value, label)| (value, label.to_owned()));
        let title =
            format!("{metric}: candidate by control, with limits that hold at every moment");
        self.panel(&title, scale, &lines);
        let upper = effects
            .iter()
            .map(|(at, it)| (self.x(*at), scale.y(it.high.unwrap_or(most))));
        let lower = effects
            .iter()
            .rev()
            .map(|(at, it)| (self.x(*at), scale.y(it.low)));
        let band: Vec<_> = upper.chain(lower).collect();
        self.svg.area(band, BAND);
        let known = |it: &Effect| it.ratio.map_or(f64::NAN, |ratio| scale.y(ratio));
        let line: Vec<_> = effects
            .iter()
            .map(|(at, it)| (self.x(*at), known(it)))
            .collect();
        self.svg.line(line, Stroke::bold(CANDIDATE));
        if let Some((_, last)) = effects.last() {
            let y = scale.y(last.margin);
            self.svg.line([(LEFT, y), (RIGHT, y)], Stroke::dashed(BAD));
            self.beside(y, BAD, &format!("tolerated {}", last.margin));
            let text = last.to_string();
            let place = self.top - 8.0;
            self.svg.text(RIGHT, place, Anchor::End, "#000", &text);
        }
        self.end_panel();
    }

    fn share(&mut self) {
        let course = self.course;
        let scale = self.scale(0.0, 100.0, false);
        let lines = [0.0, 50.0, 100.0].map(|it| (it, format!("{it} %")));
        self.panel("Share of the candidate, and stages", scale, &lines);
        let mut points = Vec::new();
        let mut before: Option<CourseChange> = None;
        for change in &course.changes {
            let x = self.x(change.at_ms);
            if let Some(before) = before {
                points.push((x, scale.y(before.share.get())));
            }
            points.push((x, scale.y(change.share.get())));
            if before.is_none_or(|it| it.stage != change.stage) {
                let label = format!("stage {}", change.stage + 1);
                self.svg
                    .text(x + 3.0, self.top + 10.0, Anchor::Start, GREY, &label);
            }
            before = Some(*change);
        }
        if let Some(last) = before {
            let y = scale.y(last.share.get());
            points.push((self.x(course.span.1), y));
            self.beside(
                y,
                CANDIDATE,
                &format!("{} %, {}", last.share, last.action.name()),
            );
        }
        self.svg.line(points, Stroke::bold(CANDIDATE));
        self.end_panel();
    }

    fn errors(&mut self) {
        let rate = |it: &ArmTraffic| f64::from(it.errors) / f64::from(it.requests) * 100.0;
        let total = |arm: ArmTraffic| format!("{} of {} failed", arm.errors, arm.requests);
        self.arms("Errors, in percent of requests", " %", &rate, &total);
    }

    fn latency(&mut self) {
        let mean = |it: &ArmTraffic| it.latency_ms / f64::from(it.requests);
        let total = |arm: ArmTraffic| match arm.requests {
            0 => "nothing".to_owned(),
            requests => format!("{:.0} ms on average", arm.latency_ms / f64::from(requests)),
        };
        self.arms("Latency, mean in milliseconds", " ms", &mean, &total);
    }

    /// A figure of both arms, of stretches that are put together until they have enough requests.
    fn arms(
        &mut self,
        title: &str,
        unit: &str,
        figure_of: &dyn Fn(&ArmTraffic) -> f64,
        total: &dyn Fn(ArmTraffic) -> String,
    ) {
        let traffic = &self.course.traffic;
        let points = PerArm::of(|arm| points(traffic, arm, figure_of));
        let all = points.control.iter().chain(&points.candidate);
        let most = all.map(|(_, value)| *value).fold(0.0, f64::max);
        let most = if most > 0.0 { most * 1.1 } else { 1.0 };
        let scale = self.scale(0.0, most, false);
        let lines = [0.0, most / 2.0, most].map(|it| (it, format!("{}{unit}", figure(it))));
        self.panel(title, scale, &lines);
        if self.course.counted == 0 {
            self.nothing("no request that counts came");
        }
        let ends = [
            (Variant::Control, CONTROL, HEIGHT * 0.35),
            (Variant::Candidate, CANDIDATE, HEIGHT * 0.6),
        ];
        for (arm, colour, place) in ends {
            let line = points[arm]
                .iter()
                .map(|(at, value)| (self.x_of(*at), scale.y(*value)));
            let line: Vec<_> = line.collect();
            if let [(x, y)] = *line {
                self.svg.dot(x, y, colour);
            }
            self.svg.line(line, Stroke::bold(colour));
            let sum = traffic
                .iter()
                .fold(ArmTraffic::default(), |sum, it| ArmTraffic {
                    requests: sum.requests + it[arm].requests,
                    errors: sum.errors + it[arm].errors,
                    latency_ms: sum.latency_ms + it[arm].latency_ms,
                });
            let y = self.top + place;
            self.beside(y, colour, arm.name());
            self.beside(y + 12.0, GREY, &total(sum));
        }
        self.end_panel();
    }
}

/// A figure of an arm at the stretches where enough came since the last one; what is left at the end counts too.
fn points(
    traffic: &[PerArm<ArmTraffic>],
    arm: Variant,
    figure_of: &dyn Fn(&ArmTraffic) -> f64,
) -> Vec<(usize, f64)> {
    let mut points = Vec::new();
    let mut sum = ArmTraffic::default();
    let mut last = 0;
    for (stretch, it) in traffic.iter().enumerate() {
        let it = &it[arm];
        if it.requests > 0 {
            last = stretch;
        }
        sum.requests += it.requests;
        sum.errors += it.errors;
        sum.latency_ms += it.latency_ms;
        if sum.requests >= ENOUGH {
            points.push((stretch, figure_of(&sum)));
            sum = ArmTraffic::default();
        }
    }
    if sum.requests > 0 {
        points.push((last, figure_of(&sum)));
    }
    points
}

/// What takes back stands out.
const fn colour(action: Action) -> &'static str {
    match action {
        Action::RolledBack | Action::Held => BAD,
        _ => "#bbb",
    }
}

/// With as many digits as say something.
fn figure(number: f64) -> String {
    match number {
        1e6.. => format!("{number:.0e}"),
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{number:.2}"),
    }
}
