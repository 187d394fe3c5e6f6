//! G9 and G10: outcomes that are not counted as errors, on both sides alike or on the candidate.
//!
//! The world: 50 to 100,000 requests a day by 20 to 5,000 users, steady or in sessions of thirty, 1 to
//! 99 % of users on the candidate. Three requests in a hundred cannot be answered, whoever is asked: too
//! long, wrong, forbidden, refused. Users differ in that, and one in a hundred is a script that never
//! sends anything else. A third of these scenarios is called "kept aside": they were named beforehand,
//! and nothing was tuned after they had run.

use super::{
    super::{
        campaign::RunWatch,
        traffic::{Arrivals, NotCounted, Population, Scenario},
    },
    Measure, Planned, WATCH, WEEK_HOURS,
};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Look {
    /// Nothing is wrong: neither a rollback of any cause (G9), nor a hold or a rollback by what is not
    /// counted (G9n).
    Calm,
    /// It does not answer: at most so many requests are served.
    Served(f64),
    /// It refuses some: it is found.
    Found,
}

pub(super) struct NotCountedCell {
    name: String,
    scenario: Scenario,
    runs: u32,
    /// A week where none.
    hours: Option<f64>,
    look: Look,
}

impl NotCountedCell {
    /// A campaign for each of its goals.
    pub(super) fn planned(&self) -> Vec<Planned> {
        let planned = |(goal, measure, at_most)| Planned {
            goal,
            name: self.name.clone(),
            scenario: self.scenario,
            watch: RunWatch {
                hours: self.hours.unwrap_or(WEEK_HOURS),
                ..WATCH
            },
            measure,
            at_most,
            runs: self.runs,
        };
        self.goals().into_iter().map(planned).collect()
    }

    fn goals(&self) -> Vec<(&'static str, Measure, f64)> {
        match self.look {
            Look::Calm => vec![
                ("G9", Measure::FalseRollback, 0.012),
                ("G9n", Measure::FalseNotCounted, 0.01),
            ],
            Look::Served(most) => vec![("G10", Measure::RequestsServed, most)],
            Look::Found => vec![("G10f", Measure::Missed, 0.01)],
        }
    }
}

pub(super) fn cells() -> Vec<NotCountedCell> {
    let mut cells = Vec::new();
    let mut add = |name: String, scenario: Scenario, runs, hours, look| {
        cells.push(NotCountedCell {
            name,
            scenario,
            runs,
            hours,
            look,
        });
    };
    let world = |share, users, arrivals, requests_per_day| Scenario {
        users,
        arrivals,
        requests_per_day,
        not_counted: NotCounted::Alike,
        ..Scenario::new(share, 0.02)
    };
    let (uneven, few) = (Population::Uneven(1_000), Population::Even(60));
    let (steady, bursts) = (Arrivals::Steady, Arrivals::Sessions(30));
    for (share, users, arrivals, per_day, name) in [
        (1.0, uneven, steady, 1e4, "uneven users"),
        (10.0, uneven, steady, 1e4, "uneven users"),
        (50.0, uneven, steady, 1e4, "uneven users"),
        (95.0, uneven, steady, 1e4, "uneven users"),
        (10.0, few, bursts, 1e4, "bursts of 60 users"),
        (50.0, few, bursts, 1e4, "bursts of 60 users"),
        (95.0, few, bursts, 1e4, "bursts of 60 users"),
        (
            10.0,
            Population::Even(20),
            steady,
            50.0,
            "50 a day by 20 users",
        ),
        (
            99.0,
            Population::Even(300),
            bursts,
            1e4,
            "bursts of 300 users, kept aside",
        ),
        (
            10.0,
            Population::Even(30),
            Arrivals::Daily,
            500.0,
            "500 a day by 30 users, kept aside",
        ),
        (
            5.0,
            Population::Even(100),
            bursts,
            1e4,
            "bursts of 100 users, kept aside",
        ),
        (
            10.0,
            Population::Uneven(5_000),
            steady,
            1e5,
            "100,000 a day, kept aside",
        ),
    ] {
        // Ten times the traffic takes ten times as long.
        let runs = if per_day > 5e4 { 60 } else { 250 };
        let scenario = world(share, users, arrivals, per_day);
        let name = format!("A/A {share} %, not counted, {name}");
        add(name, scenario, runs, None, Look::Calm);
    }
    for (share, users, most) in [
        (10.0, Population::Even(40), 30.0),
        (10.0, uneven, 40.0),
        (50.0, uneven, 40.0),
        (95.0, uneven, 80.0),
        (99.0, uneven, 80.0),
    ] {
        let scenario = Scenario {
            not_counted: NotCounted::More(1.0),
            bad_from_hour: 24.0,
            ..world(share, users, steady, 1e4)
        };
        let name = format!("{share} %, refuses all after 24 h, {users:?}, served");
        add(name, scenario, 250, None, Look::Served(most));
    }
    for share in [10.0, 50.0] {
        let scenario = Scenario {
            not_counted: NotCounted::More(1.0 / 3.0),
            ..world(share, uneven, steady, 1e4)
        };
        let name = format!("{share} %, refuses a third, not found within a day");
        add(name, scenario, 250, Some(24.0), Look::Found);
    }
    cells
}
