//! Keeps what is recorded by the `metrics` facade, and writes it in Prometheus's text format.
//!
//! Nothing grows with the number of samples: durations are counted in buckets as they come.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use metrics::{
    Counter, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Label, Metadata, Recorder,
    SharedString, Unit,
};
use metrics_util::registry::{Registry, Storage};
use parking_lot::Mutex;

/// Upper bounds of the buckets of all durations, in seconds: from a query to a model's long answer.
const BOUNDS: [f64; 16] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0,
];

/// The same of everything else: sizes, from 1 to millions.
const SIZES: [f64; 16] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    8_192.0,
    16_384.0,
    32_768.0,
    65_536.0,
    131_072.0,
    262_144.0,
    1_048_576.0,
    16_777_216.0,
    67_108_864.0,
];

/// All series of the process.
pub(super) struct Exposition {
    registry: Registry<Key, Atomics>,
    /// By name: the kind, and what it is.
    help: Mutex<BTreeMap<String, (&'static str, SharedString)>>,
}

impl Exposition {
    pub(super) fn new() -> Self {
        Self {
            registry: Registry::new(Atomics),
            help: Mutex::default(),
        }
    }

    fn describe(&self, kind: &'static str, name: &KeyName, help: SharedString) {
        let name = name.as_str().to_owned();
        self.help.lock().insert(name, (kind, help));
    }

    /// Each metric that is described: its name and its kind.
    #[cfg(test)]
    pub(super) fn described(&self) -> Vec<(String, &'static str)> {
        let help = self.help.lock();
        help.iter()
            .map(|(name, (kind, _))| (name.clone(), *kind))
            .collect()
    }

    /// All series, by name and labels.
    pub(super) fn render(&self) -> String {
        let mut families = BTreeMap::<String, Family>::new();
        let mut add = |kind, key: &Key, write: &dyn Fn(&mut String, &str, &str)| {
            let family = families.entry(key.name().to_owned());
            let family = family.or_insert_with(|| Family {
                kind,
                series: BTreeMap::new(),
            });
            let labels = labels(key.labels());
            let mut text = String::new();
            write(&mut text, key.name(), &labels);
            family.series.insert(labels, text);
        };
        self.registry.visit_counters(|key, value| {
            add("counter", key, &|text, name, labels| {
                line(text, name, &braced(labels), value.load(Relaxed));
            });
        });
        self.registry.visit_gauges(|key, value| {
            add("gauge", key, &|text, name, labels| {
                line(
                    text,
                    name,
                    &braced(labels),
                    f64::from_bits(value.load(Relaxed)),
                );
            });
        });
        self.registry.visit_histograms(|key, values| {
            add("histogram", key, &|text, name, labels| {
                values.write(text, name, labels);
            });
        });
        let help = self.help.lock();
        let mut text = String::new();
        for (name, family) in families {
            if let Some((_, help)) = help.get(&name) {
                let help = help.replace('\\', r"\\").replace('\n', r"\n");
                line(&mut text, "# HELP ", &name, help);
            }
            line(&mut text, "# TYPE ", &name, family.kind);
            text.extend(family.series.into_values());
        }
        text
    }
}

/// Series of one name.
struct Family {
    kind: &'static str,
    /// By labels: their lines.
    series: BTreeMap<String, String>,
}

fn line(text: &mut String, name: &str, rest: &str, value: impl std::fmt::Display) {
    writeln!(text, "{name}{rest} {value}").expect("a string takes all");
}

fn labels<'l>(labels: impl Iterator<Item = &'l Label>) -> String {
    let labels = labels.map(|label| {
        let value = label.value();
        let value = value.replace('\\', r"\\").replace('"', r#"\""#);
        format!("{}=\"{}\"", label.key(), value.replace('\n', r"\n"))
    });
    labels.collect::<Vec<_>>().join(",")
}

fn braced(labels: &str) -> String {
    match labels {
        "" => String::new(),
        _ => format!("{{{labels}}}"),
    }
}

impl Recorder for Exposition {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe("counter", &name, help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe("gauge", &name, help);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe("histogram", &name, help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let of = |counter: &Arc<AtomicU64>| counter.clone().into();
        self.registry.get_or_create_counter(key, of)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let of = |gauge: &Arc<AtomicU64>| gauge.clone().into();
        self.registry.get_or_create_gauge(key, of)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let of = |values: &Arc<Values>| values.clone().into();
        self.registry.get_or_create_histogram(key, of)
    }
}

struct Atomics;

impl Storage<Key> for Atomics {
    type Counter = Arc<AtomicU64>;
    type Gauge = Arc<AtomicU64>;
    type Histogram = Arc<Values>;

    fn counter(&self, _: &Key) -> Self::Counter {
        Arc::default()
    }

    fn gauge(&self, _: &Key) -> Self::Gauge {
        Arc::default()
    }

    fn histogram(&self, key: &Key) -> Self::Histogram {
        let bounds = match key.name().ends_with("_seconds") {
            true => &BOUNDS,
            false => &SIZES,
        };
        Arc::new(Values {
            bounds,
            counts: Default::default(),
            sum: AtomicU64::default(),
        })
    }
}

/// How often each value occurred, by bucket; the last is for those beyond all bounds.
struct Values {
    bounds: &'static [f64; BOUNDS.len()],
    counts: [AtomicU64; BOUNDS.len() + 1],
    /// The sum of all: the bits of an `f64`.
    sum: AtomicU64,
}

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Relaxed);
        GaugeFn::increment(&self.sum, value);
    }
}

impl Values {
    fn write(&self, text: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let bounds = self.bounds.map(|bound| bound.to_string());
        let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
        let mut count = 0;
        for (bound, bucket) in bounds.zip(&self.counts) {
            count += bucket.load(Relaxed);
            let labels = format!("_bucket{{{labels}{comma}le=\"{bound}\"}}");
            line(text, name, &labels, count);
        }
        let sum = f64::from_bits(self.sum.load(Relaxed));
        line(text, name, &format!("_sum{}", braced(labels)), sum);
        line(text, name, &format!("_count{}", braced(labels)), count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_written_by_name_and_labels() {
        let exposition = Exposition::new();
        metrics::with_local_recorder(&exposition, || {
            metrics::describe_counter!("calls_total", "Calls, \\ and\nmore");
            metrics::counter!("calls_total", "path" => "b").increment(2);
            metrics::counter!("calls_total", "path" => "a\"\\\n").increment(1);
            metrics::gauge!("open").set(0.5);
            for seconds in [0.001, 0.0011, 500.0] {
                metrics::histogram!("took_seconds", "path" => "a").record(seconds);
            }
        });
        let text = exposition.render();
        let head = "# HELP calls_total Calls, \\\\ and\\nmore\n# TYPE calls_total counter\n\
                    calls_total{path=\"a\\\"\\\\\\n\"} 1\ncalls_total{path=\"b\"} 2\n\
                    # TYPE open gauge\nopen 0.5\n# TYPE took_seconds histogram\n\
                    took_seconds_bucket{path=\"a\",le=\"0.001\"} 1\n\
                    took_seconds_bucket{path=\"a\",le=\"0.005\"} 2\n";
        assert!(text.starts_with(head), "{text}");
        let tail = "took_seconds_bucket{path=\"a\",le=\"120\"} 2\n\
                    took_seconds_bucket{path=\"a\",le=\"+Inf\"} 3\n\
                    took_seconds_sum{path=\"a\"} 500.0021\ntook_seconds_count{path=\"a\"} 3\n";
        assert!(text.ends_with(tail), "{text}");
    }
}
