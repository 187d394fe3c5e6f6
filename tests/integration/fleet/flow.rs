//! What a database does for the log and the windows of many servers: the log's writers, which read and judge each
//! other's events, without a server's requests. `scripts/long flow` has ten of them and 2,000 events a second.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use modelramp::{
    _core::{
        actor::Actor,
        assignment::{Subject, Variant},
        clock,
        feature_flags::FeatureFlags,
        tasks::Tasks,
        units::Microdollars,
    },
    ai_metrics::{AiMetrics, window::Minutes},
    recording::{Attempted, Event, Log, Outcome},
    rollout::controller::{Controller, ControllerParts, Wishes, World},
    storage::Storage,
};

use super::*;

/// Writers, events a second of all together, and seconds; only `scripts/long flow` sets it.
const FLOW: &str = "MODELRAMP_FLEET_FLOW";
const USERS: usize = 5_000;
/// Between two events of a writer's, at most: its events come in handfuls.
const STEP: Duration = Duration::from_millis(10);

/// The log of one server, and its windows.
struct Writer {
    flags: Arc<FeatureFlags>,
    metrics: Arc<AiMetrics>,
    controller: Arc<Controller>,
}

impl Writer {
    async fn new(url: &str, setup: &TestAppBuilder, tasks: &Tasks) -> Self {
        let storage = Storage::open(url).await.unwrap();
        let flags = Arc::new(FeatureFlags::new(setup.config().flags));
        let log = Arc::new(Log::default());
        let metrics = Arc::new(AiMetrics::over(log.clone()));
        let opened = Controller::open(ControllerParts {
            store: Arc::new(storage),
            flags: flags.clone(),
            metrics: metrics.clone(),
            log,
            library: Default::default(),
            known: Default::default(),
            world: World::real(),
            holder: uuid::Uuid::new_v4().to_string(),
            seen: HashMap::new(),
        });
        let controller = opened.await.unwrap();
        tasks.spawn(controller.clone().run(tasks.stopping()));
        Self {
            flags,
            metrics,
            controller,
        }
    }

    fn record(&self, number: usize) {
        let user = number.wrapping_mul(2_654_435_761) % USERS;
        let subject = Subject::User(user as i64);
        let assigned = self.flags.assign("chat", Some(&subject));
        let attempt = Event::of_attempt(Attempted {
            request_id: format!("0193f0c2-0000-7000-8000-{number:012x}").into(),
            subject: Some(&subject),
            rollout: assigned.rollout.and_then(|rollout| rollout.judged_as()),
            counted: true,
            model: "gemma-3-27b".into(),
            task: "chat".into(),
            variant: assigned.decision.variant,
            position: 0,
        });
        self.metrics.record(Event {
            at_ms: clock::now().timestamp_millis(),
            latency_ms: 300.0 + (user % 3_000) as f64,
            first_token_ms: Some(100.0),
            prompt_tokens: 300,
            completion_tokens: 120,
            cost: Microdollars(42),
            outcome: Outcome::Success,
            ..attempt
        });
    }

    fn seen(&self) -> u64 {
        let now = clock::now();
        let window = self.metrics.window(Minutes::HOUR, now);
        let arms = [Variant::Control, Variant::Candidate];
        arms.iter().map(|it| window.totals(*it).requests).sum()
    }
}

/// What PostgreSQL has done so far.
struct Done {
    transactions: i64,
    rows: i64,
    wal: i64,
    size: i64,
    cpu: f64,
}

impl Done {
    async fn read(database: &PgPool) -> Self {
        let of_all = "SELECT SUM(xact_commit + xact_rollback)::BIGINT, SUM(tup_inserted + tup_updated)::BIGINT, \
                      (pg_current_wal_lsn() - '0/0'::PG_LSN)::BIGINT, pg_database_size(current_database()), \
                      (SELECT STRING_AGG(pid::TEXT, ',') FROM pg_stat_activity) \
                      FROM pg_stat_database WHERE datname = current_database()";
        let (transactions, rows, wal, size, pids): (i64, i64, i64, i64, String) =
            sqlx::query_as(of_all).fetch_one(database).await.unwrap();
        // As Linux has it, in hundredths of a second.
        let of = |pid: &str| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit(')').next().unwrap_or_default();
            let fields: Vec<_> = fields.split_whitespace().collect();
            let ticks = |place: usize| -> u64 {
                fields
                    .get(place)
                    .and_then(|it| it.parse().ok())
                    .unwrap_or(0)
            };
            (ticks(11) + ticks(12)) as f64 / 100.0
        };
        Self {
            transactions,
            rows,
            wal,
            size,
            cpu: pids.split(',').map(of).sum(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_many_writers_is_stored_judged_and_in_the_windows_of_all() {
    let Some(url) = postgres::database().await else {
        return;
    };
    let wanted = std::env::var(FLOW).unwrap_or_else(|_| "3 150 2".into());
    let wanted: Vec<usize> = wanted.split(' ').map(|it| it.parse().unwrap()).collect();
    let [count, rate, seconds] = wanted[..] else {
        panic!("{FLOW} is `WRITERS EVENTS SECONDS`");
    };
    let setup = Fleet::setup(&url);
    let tasks = Tasks::default();
    let mut writers = Vec::new();
    for _ in 0..count {
        writers.push(Arc::new(Writer::new(&url, &setup, &tasks).await));
    }
    until("somebody leads", async || {
        writers.iter().any(|it| it.controller.leads())
    })
    .await;
    let leader = writers.iter().find(|it| it.controller.leads()).unwrap();
    let plan = "name = \"flow\"\ntasks = [\"chat\"]\ndeadline = \"30days\"\n[no_traffic]\nalert_after = \"7days\"\n\
                hold = false\n[[stages]]\nshare = 50\nsoak = \"29days\"\n";
    let started = leader
        .controller
        .start(plan, "a test", &Actor::User(1), Wishes::default());
    started.await.unwrap();
    let pool = PgPoolOptions::new().max_connections(2);
    let database = pool.connect(&url).await.unwrap();
    let before = Done::read(&database).await;
    let (began, own) = (Instant::now(), cpu_of_this_process());
    let recorded = Arc::new(AtomicUsize::new(0));
    let mut sources = tokio::task::JoinSet::new();
    for (place, writer) in writers.iter().cloned().enumerate() {
        let recorded = recorded.clone();
        sources.spawn(async move {
            let mut own = 0;
            while began.elapsed() < Duration::from_secs(seconds as u64) {
                let due = began.elapsed().as_secs_f64() * rate as f64 / count as f64;
                while (own as f64) < due {
                    writer.record(own * count + place);
                    own += 1;
                }
                tokio::time::sleep(STEP).await;
            }
            recorded.fetch_add(own, Ordering::Relaxed);
        });
    }
    sources.join_all().await;
    let recorded = recorded.load(Ordering::Relaxed);
    let took = began.elapsed().as_secs_f64();
    let (after, own) = (Done::read(&database).await, cpu_of_this_process() - own);
    let behind = Instant::now();
    until("all that is recorded has its place", async || {
        let ordered = "SELECT COALESCE(SUM(events), 0)::BIGINT FROM event_order";
        let ordered: i64 = sqlx::query_scalar(ordered)
            .fetch_one(&database)
            .await
            .unwrap();
        ordered == recorded as i64
    })
    .await;
    let behind = behind.elapsed().as_secs_f64();
    for writer in &writers {
        until("windows have all", async || {
            writer.seen() == recorded as u64
        })
        .await;
    }
    let each = |of: i64| of as f64 / took;
    writeln!(
        std::io::stdout(),
        "flow: {count} writers, {recorded} events in {took:.1} s ({:.0} a second); the last had its place {behind:.1} s \
         later. PostgreSQL: {:.0} transactions and {:.0} rows written a second, {:.2} MB of WAL a second ({:.0} bytes an \
         event), {:.2} of a processor, {:.0} bytes an event stored. The writers: {:.2} of a processor",
        recorded as f64 / took,
        each(after.transactions - before.transactions),
        each(after.rows - before.rows),
        each(after.wal - before.wal) / 1e6,
        (after.wal - before.wal) as f64 / recorded as f64,
        (after.cpu - before.cpu) / took,
        (after.size - before.size) as f64 / recorded as f64,
        own / took,
    )
    .unwrap();
    Fleet::at(setup, database).check_order().await;
    assert!(tasks.shutdown(PATIENCE).await);
}

/// In seconds.
fn cpu_of_this_process() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || {
        fields
            .next()
            .and_then(|it| it.parse().ok())
            .unwrap_or(0_u64)
    };
    (ticks() + ticks()) as f64 / 100.0
}
