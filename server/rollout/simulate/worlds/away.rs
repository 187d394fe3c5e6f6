//! When the providers of a world are away, and answer nobody.

use super::{
    super::random::Random,
    DAY, HOUR, MINUTE,
    case::{Case, Oddity},
};

/// The rollout begins at this hour of a day.
const BEGINS_AT: f64 = 10.0;
/// The days of the past.
const BEFORE: i32 = 8;

/// From when until when, in milliseconds since the rollout began.
pub(super) type AwayTimes = Vec<(f64, f64)>;

/// Of both: control's provider first.
pub(super) fn draw(case: &Case, random: &mut Random) -> [AwayTimes; 2] {
    let common = 22.0 + 6.0 * random.unit();
    [0, 1].map(|arm| match case.oddity {
        Oddity::Storms(control, candidate) => {
            storms([control, candidate][arm], (1.0, 3.0), case, random)
        }
        Oddity::LongStorms(control, candidate) => {
            storms([control, candidate][arm], (4.0, 8.0), case, random)
        }
        Oddity::Night { is_common: true } => nights(common, case),
        Oddity::Night { is_common: false } => nights(22.0 + 6.0 * random.unit(), case),
        Oddity::Thrice { every_minutes } if arm == 1 => {
            let first = 72.0 * HOUR + DAY * random.unit();
            let begins = [0.0, 1.0, 2.0].map(|it| first + it * every_minutes * MINUTE);
            begins.map(|from| (from, from + 3.0 * MINUTE)).into()
        }
        Oddity::NightStorms => night_storms(case, random),
        Oddity::Turns(control, candidate) => turns([control, candidate][arm], case, random),
        Oddity::TurnsForGood if arm == 1 => {
            let minutes = (case.from_hour * 60.0) as u32..(case.days * 1_440.0) as u32;
            let begins = minutes.step_by(2).map(|it| f64::from(it) * MINUTE);
            begins.map(|from| (from, from + MINUTE)).collect()
        }
        Oddity::Minutes(control, candidate, minutes) => {
            storms([control, candidate][arm], (minutes, minutes), case, random)
        }
        Oddity::BrownOut => storms(1.0, (20.0, 20.0), case, random),
        Oddity::Slowly => storms(3.0, (5.0, 5.0), case, random),
        Oddity::Mondays => {
            let mondays = midnights(case).filter(|it| is_monday(*it));
            let begins = mondays.map(|it| it + 9.0 * HOUR + 5.0 * MINUTE * arm as f64);
            begins.map(|from| (from, from + HOUR)).collect()
        }
        Oddity::HourOnce => {
            let from = 10.0 * DAY * random.unit();
            vec![(from, from + HOUR)]
        }
        _ => Vec::new(),
    })
}

/// Of a length between these minutes each, so many times a day.
fn storms(a_day: f64, minutes: (f64, f64), case: &Case, random: &mut Random) -> AwayTimes {
    let mut storms = Vec::new();
    let mut at_ms = -7.0 * DAY;
    while at_ms < case.days * DAY {
        at_ms += random.exponential() * DAY / a_day;
        storms.push((at_ms, at_ms + between(minutes, random) * MINUTE));
    }
    storms
}

fn between((low, high): (f64, f64), random: &mut Random) -> f64 {
    low + (high - low) * random.unit()
}

/// When each day began, those of the past as well.
fn midnights(case: &Case) -> impl Iterator<Item = f64> {
    let days = -BEFORE..case.days.ceil() as i32;
    days.map(|day| f64::from(day) * DAY - BEGINS_AT * HOUR)
}

/// Whether a day that begins then is one; the rollout begins on one.
fn is_monday(midnight: f64) -> bool {
    (midnight + BEGINS_AT * HOUR).rem_euclid(7.0 * DAY) < MINUTE
}

/// 12 minutes a night, at this hour.
fn nights(hour: f64, case: &Case) -> AwayTimes {
    let begins = midnights(case).map(|midnight| midnight + hour * HOUR);
    begins.map(|from| (from, from + 12.0 * MINUTE)).collect()
}

/// 1 to 3 minutes each, five times between 0 and 6 h.
fn night_storms(case: &Case, random: &mut Random) -> AwayTimes {
    let each = midnights(case).flat_map(|midnight| [midnight; 5]);
    let each = each.map(|midnight| {
        let from = midnight + 6.0 * HOUR * random.unit();
        (from, from + between((1.0, 3.0), random) * MINUTE)
    });
    each.collect()
}

/// Every other minute of an hour, so many times a day.
fn turns(a_day: u32, case: &Case, random: &mut Random) -> AwayTimes {
    let mut turns = Vec::new();
    for midnight in midnights(case) {
        for part in 0..a_day {
            let from = midnight + (f64::from(part) + random.unit()) * DAY / f64::from(a_day);
            let minutes = (0..60).step_by(2).map(f64::from);
            turns.extend(minutes.map(|it| (from + it * MINUTE, from + (it + 1.0) * MINUTE)));
        }
    }
    turns
}
