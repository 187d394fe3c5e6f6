//! What recording an event costs, how long windows take to read, and what they take in memory,
//! against the limits of the project: `cargo bench --bench metrics`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    fs,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::DateTime;
use modelramp::{
    _core::{assignment::Variant, units::Microdollars},
    ai_metrics::{AiMetrics, window::Minutes},
    providers::fault::FaultKind,
    recording::{Event, Log, Outcome},
};

/// A moment that is on no edge of anything.
const NOW: i64 = 1_762_637_425_678;
const HOUR: i64 = 3_600_000;
const WEEK: i64 = 7 * 24 * HOUR;

fn main() {
    println!("{:<58}{:>12}  {:>12}", "", "measured", "limit");
    record();
    window(
        "getSummary, 60 minutes, 1,000,000 events",
        1_000_000,
        HOUR,
        60.0,
        5.0,
    );
    window(
        "getSummary, 7 days, 10,000,000 events",
        10_000_000,
        WEEK,
        10_080.0,
        50.0,
    );
    window(
        "getSummary, 60 minutes, 10,000 events (exact)",
        10_000,
        HOUR,
        60.0,
        5.0,
    );
}

fn line(what: &str, measured: &str, limit: &str) {
    println!("{what:<58}{measured:>12}  {limit:>12}");
}

/// Makes events that look like life: log-normal latencies, four models on two routes, some faults,
/// every other answer streamed.
struct Events {
    models: [Arc<str>; 4],
    tasks: [Arc<str>; 3],
    request_id: Arc<str>,
    state: u64,
}

impl Events {
    fn new() -> Self {
        Self {
            models: ["glm", "gpt-oss", "gemma", "claude"].map(Arc::from),
            tasks: ["chat", "email-draft", "lead-analysis"].map(Arc::from),
            request_id: "0199".into(),
            state: 1,
        }
    }

    /// splitmix64
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn normal(&mut self) -> f64 {
        let sum: f64 = (0..6)
            .map(|_| (self.random() >> 11) as f64 / (1_u64 << 53) as f64)
            .sum();
        (sum - 3.0) * 2_f64.sqrt()
    }

    fn next(&mut self, at_ms: i64) -> Event {
        let latency_ms = 900.0 * (0.8 * self.normal()).exp();
        let random = self.random();
        Event {
            at_ms,
            request_id: self.request_id.clone(),
            user_id: Some(7),
            seq: 0,
            subject: None,
            rollout: None,
            counted: false,
            was_open: false,
            model: self.models[random as usize % 4].clone(),
            task: self.tasks[(random >> 8) as usize % 3].clone(),
            variant: if random & 0x1_0000 == 0 {
                Variant::Control
            } else {
                Variant::Candidate
            },
            position: 0,
            latency_ms,
            first_token_ms: (random & 0x2_0000 == 0).then_some(latency_ms / 5.0),
            words_ms: None,
            prompt_tokens: 300,
            completion_tokens: 120,
            quality: None,
            answer_chars: None,
            status: None,
            cause: None,
            finish: None,
            cost: Microdollars(42),
            outcome: if (random >> 24).is_multiple_of(100) {
                Outcome::Fault(FaultKind::Upstream)
            } else {
                Outcome::Success
            },
        }
    }
}

fn record() {
    const EVENTS: usize = 2_000_000;
    let mut source = Events::new();
    // A thousand events a second.
    let events = |source: &mut Events| -> Vec<Event> {
        (0..EVENTS as i64).map(|i| source.next(NOW + i)).collect()
    };

    let metrics = AiMetrics::new();
    let batch = events(&mut source);
    let started = Instant::now();
    for event in batch {
        metrics.record(event);
    }
    let mean = started.elapsed().as_nanos() / EVENTS as u128;
    line(
        "record, mean, counting included",
        &format!("{mean} ns"),
        "200 ns",
    );

    let metrics = AiMetrics::new();
    let mut each: Vec<Duration> = events(&mut source)
        .into_iter()
        .map(|event| {
            let started = Instant::now();
            metrics.record(event);
            started.elapsed()
        })
        .collect();
    each.sort_unstable();
    for (name, place) in [("p50", 500), ("p99", 990), ("p99.9", 999)] {
        let nanos = each[EVENTS / 1_000 * place].as_nanos();
        line(
            &format!("record, {name}, clock included"),
            &format!("{nanos} ns"),
            "",
        );
    }
    line("record, longest", &format!("{:?}", each[EVENTS - 1]), "");

    // As in the server: what was recorded is taken out and counted every second.
    let log = Arc::new(Log::default());
    let metrics = AiMetrics::over(log.clone());
    let mut busy = Duration::ZERO;
    // 6,300 a second is what the fastest gateway known to us reaches on a core.
    for second in 0..3 {
        let batch: Vec<_> = (0..6_300)
            .map(|i| source.next(NOW + second * 1_000 + i / 7))
            .collect();
        let started = Instant::now();
        for event in batch {
            metrics.record(event);
        }
        busy += started.elapsed();
        metrics.settle();
        while let Some(batch) = log.freeze() {
            log.stored(batch.events.len());
        }
        std::thread::sleep(Duration::from_secs(1).saturating_sub(started.elapsed()));
    }
    let mean = busy.as_nanos() / (3 * 6_300);
    line(
        "record, mean, taken out every second, 6,300 a second",
        &format!("{mean} ns"),
        "200 ns",
    );
}

fn window(what: &str, events: i64, span: i64, minutes: f64, limit_ms: f64) {
    let before = resident_kib();
    let metrics = AiMetrics::new();
    let mut source = Events::new();
    for i in 0..events {
        metrics.record(source.next(NOW - span + i * span / events));
    }
    let now = DateTime::from_timestamp_millis(NOW).unwrap();
    let minutes = Minutes::try_from(minutes).unwrap();
    let mut times: Vec<Duration> = (0..21)
        .map(|_| {
            let started = Instant::now();
            black_box(metrics.summary(minutes, now));
            started.elapsed()
        })
        .collect();
    let first = times[0];
    times.sort_unstable();
    let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1_000.0);
    line(what, &ms(times[10]), &format!("{limit_ms} ms"));
    line("  the first time", &ms(first), "");
    let used = resident_kib().saturating_sub(before) as f64 / 1_024.0;
    line("  memory", &format!("{used:.1} MiB"), "64 MiB");
}

/// Resident memory of this process; 0 where there is no /proc.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}
