//! When the next stage may open: days and hours of a place.
//!
//! A window is in the time of its zone, as people's working hours are, so that it moves with daylight saving
//! time. It begins at its first minute and ends before its last; one whose end is not after its beginning goes over
//! midnight, and belongs to the day on which it begins. Where a clock that is set forward skips the beginning, it
//! begins at the first minute that there is.

use std::{fmt, str::FromStr};

use chrono::{
    DateTime, Datelike as _, Days, FixedOffset, MappedLocalTime, NaiveDate, NaiveDateTime,
    NaiveTime, TimeDelta, TimeZone as _, Timelike as _, Utc,
};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A window of a week comes within so many days: one more, for its day, and one for any zone.
const AHEAD: u64 = 9;
/// Steps by which a beginning is looked for that a clock skips, in minutes, and how many: three hours.
const STEP: i64 = 15;
const STEPS: i32 = 12;

/// Hours of some days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// The days on which it begins; at least one.
    pub days: Vec<Day>,
    /// When it begins.
    #[schemars(with = "String")]
    pub from: Minute,
    /// When it ends.
    #[schemars(with = "String")]
    pub to: Minute,
    /// Whose days and hours these are.
    #[schemars(with = "String")]
    pub zone: Zone,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Day {
    /// From Monday, with the words of plans.
    pub const ALL: [(&str, Self); 7] = [
        ("mon", Self::Mon),
        ("tue", Self::Tue),
        ("wed", Self::Wed),
        ("thu", Self::Thu),
        ("fri", Self::Fri),
        ("sat", Self::Sat),
        ("sun", Self::Sun),
    ];

    fn is(self, date: NaiveDate) -> bool {
        // Both count from Monday.
        self as u32 == date.weekday().num_days_from_monday()
    }
}

/// A minute of the day, from `00:00` to `24:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Minute(u32);

/// The minutes of a day.
const DAY: u32 = 24 * 60;

impl Minute {
    /// The beginning of a day.
    pub const FIRST: Self = Self(0);
    /// Its end.
    pub const LAST: Self = Self(DAY);
}

impl FromStr for Minute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (hours, minutes) = text.split_once(':')?;
            let is_two = |it: &str| it.len() == 2 && it.bytes().all(|byte| byte.is_ascii_digit());
            if !is_two(hours) || !is_two(minutes) {
                return None;
            }
            let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
            let minute = hours * 60 + minutes;
            (minutes < 60 && minute <= DAY).then_some(Self(minute))
        };
        read().ok_or_else(|| format!("`{text}` is no time of day such as `09:00`"))
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl TryFrom<String> for Minute {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Minute> for String {
    fn from(minute: Minute) -> Self {
        minute.to_string()
    }
}

/// A zone of the IANA database, such as `Europe/Copenhagen`, or what is added to UTC, such as `+01:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Zone {
    /// By its name.
    Named(Tz),
    /// The same all year.
    Offset(FixedOffset),
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self::Named(Tz::UTC);

    fn local(self, at: DateTime<Utc>) -> NaiveDateTime {
        match self {
            Self::Named(zone) => at.with_timezone(&zone).naive_local(),
            Self::Offset(offset) => at.with_timezone(&offset).naive_local(),
        }
    }

    /// The first time at which clocks show this; none where they skip it.
    fn at(self, local: NaiveDateTime) -> Option<DateTime<Utc>> {
        let first = |found: MappedLocalTime<DateTime<Utc>>| found.earliest();
        match self {
            Self::Named(zone) => first(
                zone.from_local_datetime(&local)
                    .map(|it| it.with_timezone(&Utc)),
            ),
            Self::Offset(offset) => first(
                offset
                    .from_local_datetime(&local)
                    .map(|it| it.with_timezone(&Utc)),
            ),
        }
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let offset = || {
            text.starts_with(['+', '-'])
                .then(|| text.parse().ok())
                .flatten()
        };
        let named = || text.parse().ok().map(Self::Named);
        let zone = offset().map(Self::Offset).or_else(named);
        zone.ok_or_else(|| {
            format!("`{text}` is no zone such as `Europe/Copenhagen`, `UTC` or `+01:00`")
        })
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(zone) => f.write_str(zone.name()),
            Self::Offset(offset) => offset.fmt(f),
        }
    }
}

impl TryFrom<String> for Zone {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.to_string()
    }
}

impl Window {
    fn begins_on(&self, date: NaiveDate) -> bool {
        self.days.iter().any(|day| day.is(date))
    }

    /// Whether it is open.
    pub fn holds(&self, at: DateTime<Utc>) -> bool {
        let local = self.zone.local(at);
        let minute = Minute(local.time().num_seconds_from_midnight() / 60);
        let today = self.begins_on(local.date());
        if self.from < self.to {
            return today && (self.from..self.to).contains(&minute);
        }
        let yesterday = (local.date().pred_opt()).is_some_and(|date| self.begins_on(date));
        today && minute >= self.from || yesterday && minute < self.to
    }

    /// When it opens next; none beyond the calendar.
    fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let today = self.zone.local(after).date();
        let dates = (0..AHEAD).filter_map(|days| today.checked_add_days(Days::new(days)));
        let openings = dates.filter(|date| self.begins_on(*date));
        openings
            .filter_map(|date| self.opening(date))
            .find(|opening| *opening >= after)
    }

    /// When it opens on a day; none where clocks skip all of it.
    fn opening(&self, date: NaiveDate) -> Option<DateTime<Utc>> {
        let midnight = date.and_time(NaiveTime::MIN);
        let from = midnight.checked_add_signed(TimeDelta::minutes(self.from.0.into()))?;
        let mut tries = (0..=STEPS).filter_map(|step| {
            let later = TimeDelta::minutes(STEP * i64::from(step));
            self.zone.at(from.checked_add_signed(later)?)
        });
        tries.next().filter(|opening| self.holds(*opening))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Day::ALL.iter().filter(|(_, day)| self.days.contains(day));
        let names: Vec<_> = names.map(|(name, _)| *name).collect();
        let (days, from, to, zone) = (names.join(", "), self.from, self.to, self.zone);
        write!(f, "{days} {from} to {to} ({zone})")
    }
}

/// The first moment from `at` on that is not before `not_before`, and in one of the windows where there are some.
pub(super) fn opens_at(
    windows: &[Window],
    not_before: Option<DateTime<Utc>>,
    at: DateTime<Utc>,
) -> DateTime<Utc> {
    let earliest = not_before.map_or(at, |it| it.max(at));
    if windows.is_empty() || windows.iter().any(|window| window.holds(earliest)) {
        return earliest;
    }
    let next = windows
        .iter()
        .filter_map(|window| window.next(earliest))
        .min();
    // A window that a clock skips this week comes in the next one; it is looked for again by then.
    next.unwrap_or(earliest + TimeDelta::days(7))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn window(days: &[Day], from: &str, to: &str, zone: &str) -> Window {
        Window {
            days: days.to_vec(),
            from: from.parse().expect("a minute"),
            to: to.parse().expect("a minute"),
            zone: zone.parse().expect("a zone"),
        }
    }

    #[test]
    fn a_window_moves_with_the_clocks_of_its_zone() {
        let office = [window(
            &[Day::Mon, Day::Fri],
            "09:00",
            "15:00",
            "Europe/Copenhagen",
        )];
        for (now, opens) in [
            // Monday in winter and in summer.
            ("2026-11-30T07:59:59Z", "2026-11-30T08:00:00Z"),
            ("2026-11-30T08:00:00Z", "2026-11-30T08:00:00Z"),
            ("2026-11-30T13:59:59Z", "2026-11-30T13:59:59Z"),
            ("2026-11-30T14:00:00Z", "2026-12-04T08:00:00Z"),
            ("2026-07-06T06:00:00Z", "2026-07-06T07:00:00Z"),
            // Clocks are set back on Sunday the 25th.
            ("2026-10-24T12:00:00Z", "2026-10-26T08:00:00Z"),
        ] {
            assert_eq!(opens_at(&office, None, at(now)), at(opens), "{now}");
        }
        let offset = [window(&[Day::Mon], "09:00", "15:00", "-05:30")];
        assert_eq!(
            opens_at(&offset, None, at("2026-11-30T00:00:00Z")),
            at("2026-11-30T14:30:00Z")
        );
    }

    #[test]
    fn a_window_goes_over_midnight_and_over_the_end_of_the_week() {
        let night = [window(&[Day::Sun], "22:00", "02:00", "UTC")];
        for (now, opens) in [
            ("2026-11-29T21:00:00Z", "2026-11-29T22:00:00Z"),
            ("2026-11-30T01:59:00Z", "2026-11-30T01:59:00Z"),
            ("2026-11-30T02:00:00Z", "2026-12-06T22:00:00Z"),
            // The early hours of Sunday are Saturday's.
            ("2026-11-29T01:00:00Z", "2026-11-29T22:00:00Z"),
        ] {
            assert_eq!(opens_at(&night, None, at(now)), at(opens), "{now}");
        }
        let days = Day::ALL.map(|(_, day)| day);
        let always = [window(&days, "00:00", "24:00", "Asia/Kathmandu")];
        let now = at("2026-11-30T18:14:59Z");
        assert_eq!(opens_at(&always, None, now), now);
    }

    #[test]
    fn a_beginning_that_clocks_skip_is_the_first_minute_that_there_is() {
        // On 29 March 2026 clocks go from 02:00 to 03:00.
        let sunday = [Day::Sun];
        let skipped = [window(&sunday, "02:30", "04:00", "Europe/Copenhagen")];
        assert_eq!(
            opens_at(&skipped, None, at("2026-03-28T12:00:00Z")),
            at("2026-03-29T01:00:00Z")
        );
        let gone = [window(&sunday, "02:00", "03:00", "Europe/Copenhagen")];
        assert_eq!(
            opens_at(&gone, None, at("2026-03-28T12:00:00Z")),
            at("2026-04-05T00:00:00Z")
        );
    }

    #[test]
    fn nothing_opens_before_its_time() {
        let from = Some(at("2026-12-01T12:00:00Z"));
        let now = at("2026-11-30T12:00:00Z");
        assert_eq!(opens_at(&[], from, now), at("2026-12-01T12:00:00Z"));
        let later = at("2026-12-02T00:00:00Z");
        assert_eq!(opens_at(&[], from, later), later);
        let mondays = [window(&[Day::Mon], "00:00", "24:00", "UTC")];
        assert_eq!(opens_at(&mondays, from, now), at("2026-12-07T00:00:00Z"));
    }

    #[test]
    fn what_opens_is_open_and_nothing_opened_before_it() {
        let all = [
            window(&[Day::Tue, Day::Sat], "23:15", "01:45", "America/St_Johns"),
            window(&[Day::Sun], "01:30", "02:15", "Europe/Copenhagen"),
        ];
        let mut now = at("2026-01-01T00:07:00Z");
        while now < at("2027-01-01T00:00:00Z") {
            let opens = opens_at(&all, None, now);
            let holds = |at: DateTime<Utc>| all.iter().any(|it| it.holds(at));
            assert!(holds(opens), "{now} {opens}");
            let mut before = now;
            while before < opens {
                assert!(!holds(before) || is_repeated(before), "{now} {before}");
                before += TimeDelta::minutes(15);
            }
            now += TimeDelta::minutes(11 * 60 + 15);
        }
    }

    /// Whether clocks show this time for the second time: a window that opened the first time is over.
    fn is_repeated(at: DateTime<Utc>) -> bool {
        [Tz::America__St_Johns, Tz::Europe__Copenhagen]
            .iter()
            .any(|zone| {
                let local = at.with_timezone(zone).naive_local();
                let found = zone.from_local_datetime(&local);
                matches!(found, MappedLocalTime::Ambiguous(_, second) if second == at)
            })
    }

    #[test]
    fn zones_and_times_are_read_as_they_are_written() {
        for text in ["Europe/Copenhagen", "UTC", "+01:00", "-09:30"] {
            assert_eq!(text.parse::<Zone>().expect("a zone").to_string(), text);
        }
        for text in ["", "Copenhagen", "01:00", "+25:00", "Europe/Kopenhagen"] {
            assert!(text.parse::<Zone>().is_err(), "{text}");
        }
        for text in ["00:00", "09:05", "24:00"] {
            assert_eq!(text.parse::<Minute>().expect("a minute").to_string(), text);
        }
        for text in ["", "9:00", "24:01", "12:60", "12", "+1:00", "12:00:00"] {
            assert!(text.parse::<Minute>().is_err(), "{text}");
        }
    }
}
