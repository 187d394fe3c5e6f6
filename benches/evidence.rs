//! How many observations a second evidence takes on one core, and what saving it costs, against the
//! limits of the project: `cargo bench --bench evidence`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{hint::black_box, time::Instant};

use modelramp::{
    _core::{assignment::Variant, units::Percent},
    providers::quality::Quality,
    rollout::evidence::{
        Evidence, EvidencePlan, LogLatencies, Observation, RequestEnd, Strata, UserHistory,
    },
};

const BEGIN: i64 = 1_762_637_425_678;
const COUNT: u64 = 5_000_000;
const USERS: u64 = 10_000;

fn subject(user: u64) -> u64 {
    user.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Users who differ in latency and failures.
fn strata() -> Strata {
    Strata::new((0..USERS).map(|user| {
        let mut latencies = LogLatencies::default();
        (0..20).for_each(|n| latencies.add(300.0 + (user * 31 + n * 7_919) as f64 % 3_000.0));
        UserHistory {
            subject: subject(user),
            requests: 20,
            errors: (user % 3) as u32,
            latencies,
            first_words: LogLatencies::default(),
            answers: 20,
            flawed: (user % 5 == 0).into(),
        }
    }))
}

fn main() {
    let share = Percent::new(10.0).unwrap_or_default();
    let mut evidence = Evidence::new(&EvidencePlan::default(), strata(), BEGIN);
    let begin = Instant::now();
    for i in 0..COUNT {
        let subject = subject(i % 20_011 % USERS);
        evidence.fold(
            &Observation {
                at_ms: BEGIN + i as i64 * 100,
                subject,
                variant: if subject.is_multiple_of(10) {
                    Variant::Candidate
                } else {
                    Variant::Control
                },
                end: if i % 51 == 0 {
                    RequestEnd::Failed
                } else {
                    RequestEnd::Answered
                },
                latency_ms: 300.0 + (i * 7_919 % 3_000) as f64,
                first_words_ms: None,
                was_open: false,
                quality: Some(if i % 97 == 0 {
                    Quality::Truncated
                } else {
                    Quality::Good
                }),
            },
            share,
        );
    }
    let rate = COUNT as f64 / begin.elapsed().as_secs_f64();
    println!("fold       {rate:>12.0} observations/s, limit 1000000");

    let begin = Instant::now();
    for _ in 0..1_000 {
        black_box(evidence.verdict(black_box(BEGIN)));
    }
    println!(
        "verdict    {:>12.2} µs",
        begin.elapsed().as_secs_f64() * 1e3
    );

    let begin = Instant::now();
    let bytes = (0..100)
        .filter_map(|_| serde_json::to_string(&evidence).ok())
        .map(|text| text.len())
        .sum::<usize>();
    println!(
        "as JSON    {:>12.2} µs, {} bytes",
        begin.elapsed().as_secs_f64() * 1e4,
        bytes / 100
    );
}
