use proptest::prelude::*;

use super::*;

fn known() -> KnownNames {
    let names = |names: &[&str]| Some(names.iter().map(|it| (*it).to_owned()).collect());
    KnownNames {
        tasks: names(&["chat", "email-draft"]),
        models: names(&["glm", "gemma"]),
        ..KnownNames::default()
    }
}

fn faults(text: &str) -> Vec<String> {
    let faults = Plan::parse(text, "p", &known()).expect_err("faults");
    faults.to_string().lines().map(str::to_owned).collect()
}

const SMALL: &str = "name = \"p\"\n[[stages]]\nshare = 10\nsoak = \"1h\"\n";

#[test]
fn shipped_plans_are_good_and_named_as_their_files() {
    let library = Library::load(None, &KnownNames::default()).expect("good plans");
    assert_eq!(library.plans().count(), SHIPPED.len());
    for (name, _) in SHIPPED {
        assert!(library.get(name).is_some(), "{name}");
    }
    let standard = library.get("standard").expect("a plan");
    let shares: Vec<_> = (0..3).map(|stage| standard.share_of(stage).get()).collect();
    assert_eq!(shares, [10.0, 50.0, 95.0], "five percent are held out");
    assert_eq!(standard.evidence.planned_hours, 48 + 48 + 168);
}

#[test]
fn a_plan_may_demand_a_trial() {
    let parsed = |text: &str| Plan::parse(text, "p", &known()).expect("a plan");
    assert_eq!(parsed(SMALL).trial, None);
    let demanding = format!("{SMALL}[trial]\npairs = 120\nmax_age = \"7d\"\n");
    let plan = parsed(&demanding);
    let demand = plan.trial.clone().expect("a demand");
    assert_eq!((demand.pairs, demand.max_age.as_secs()), (120, 7 * 86_400));
    assert_eq!(demand.verdict.to_string(), "no worse");
    assert_eq!((demand.margin, demand.ratio), (0.1, 1.5));
    let json = serde_json::to_string(&plan).expect("JSON");
    assert_eq!(serde_json::from_str::<Plan>(&json).expect("a plan"), plan);
    let told = faults(&format!("{SMALL}[trial]\nverdict = \"worse\"\npairs = 0\n"));
    assert!(
        told.iter()
            .any(|it| it.contains("`no-worse`, `not-proven`")),
        "{told:?}"
    );
    assert!(
        told.iter().any(|it| it.contains("`trial.pairs` is 0")),
        "{told:?}"
    );
}

#[test]
fn a_plan_may_name_windows_and_whom_to_call() {
    let parsed = |text: &str| Plan::parse(text, "p", &known()).expect("a plan");
    let plain = serde_json::to_string(&parsed(SMALL)).expect("JSON");
    for key in ["windows", "notBefore", "onCall"] {
        assert!(
            !plain.contains(key),
            "a plan without it is as it was: {plain}"
        );
    }
    let windowed = format!(
        "on_call = \"Rikke, +45 12 34 56 78\"\nnot_before = 2026-12-01 08:00:00+01:00\n{SMALL}\
         [[windows]]\ndays = [\"mon\", \"tue\"]\nfrom = \"09:00\"\nto = \"15:00\"\nzone = \"Europe/Copenhagen\"\n\
         [[windows]]\nzone = \"+01:00\"\n"
    );
    let plan = parsed(&windowed);
    let texts: Vec<_> = plan.windows.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "mon, tue 09:00 to 15:00 (Europe/Copenhagen)",
            "mon, tue, wed, thu, fri, sat, sun 00:00 to 24:00 (+01:00)"
        ]
    );
    let from = plan.not_before.expect("a time").to_rfc3339();
    assert_eq!(from, "2026-12-01T07:00:00+00:00");
    let as_text = windowed.replace("2026-12-01 08:00:00+01:00", "\"2026-12-01T07:00:00Z\"");
    assert_eq!(parsed(&as_text), plan);
    let json = serde_json::to_string(&plan).expect("JSON");
    assert_eq!(serde_json::from_str::<Plan>(&json).expect("a plan"), plan);

    let faulty = format!(
        "on_call = \"\"\nnot_before = 2026-12-01T08:00:00\nwindows = [{{zone = \"Mars\"}}, {{}}, {{zone = \"UTC\", \
         days = [], from = \"9\"}}, {{zone = \"UTC\", from = \"10:00\", to = \"10:00\"}}]\n{SMALL}"
    );
    let told = faults(&faulty).join("\n");
    for part in [
        "on_call",
        "not_before",
        "with its offset",
        "`zone` is \"Mars\"",
        "`zone` is missing",
        "`days` is empty",
        "time of day",
        "leave both out",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(
        faults(&format!("windows = []\n{SMALL}"))
            .join("")
            .contains("0 `windows`")
    );
}

#[test]
fn a_plan_reads_back_from_its_json() {
    let library = Library::load(None, &KnownNames::default()).expect("good plans");
    for plan in library.plans() {
        let json = serde_json::to_string(plan).expect("JSON");
        assert_eq!(&serde_json::from_str::<Plan>(&json).expect("a plan"), plan);
    }
}

#[test]
fn what_is_left_out_has_a_default() {
    let plan = Plan::parse(SMALL, "p", &known()).expect("a plan");
    let stage = &plan.stages[0];
    assert_eq!(
        (stage.min_requests, stage.min_users, stage.rho_bad),
        (200, 20, 2.0)
    );
    assert_eq!(stage.gate, Gate::Automatic);
    assert_eq!(plan.evidence.weights, [0.4, 0.24, 0.16, 0.0, 0.2]);
    assert_eq!(plan.judge, Judge::Evidence);
}

#[test]
fn weights_are_normalised_over_the_metrics_that_are_named() {
    let text = format!("{SMALL}[evidence]\nweights = {{ errors = 3, feedback = 1 }}\n");
    let plan = Plan::parse(&text, "p", &known()).expect("a plan");
    assert_eq!(plan.evidence.weights, [0.75, 0.0, 0.0, 0.25, 0.0]);
}

#[test]
fn every_fault_names_its_line() {
    let text = r#"name = "P 1"
tasks = ["chat", "chta", "chat"]
candidate = ["gemm"]
forced_on = ["-5"]
holdout = 6
deadline = "soon"
[evidence]
watch = 30
cap_per_user_day = 9
outage_calm = "0s"
[[stages]]
share = 50
soak = "1h"
[[stages]]
share = 10
soak = "1h"
rho_bad = 1
"#;
    assert_eq!(
        faults(text),
        [
            "p:1: `name` is `P 1`; expected up to 64 lower-case letters, digits and hyphens",
            "p:2: unknown task `chta`; did you mean `chat`?",
            "p:2: task `chat` is listed twice",
            "p:3: unknown model `gemm`; did you mean `gemma`?",
            "p:4: `forced_on`: no user can have the id `-5`",
            "p:5: `holdout` is 6; expected 0 to 5",
            "p:6: `deadline`: `soon` is not a span of time such as `48h` or `1h 30m`",
            "p:8: levels must rise: `watch` is 30, `hold` 20, `rollback` 100",
            "p:9: `evidence.cap_per_user_day` is 9; expected 1 to 3",
            "p:10: `evidence.outage_calm` is 0s; expected 1s to 7days",
            "p:15: `share` sinks from 50 to 10; stages only rise",
            "p:17: `rho_bad` is 1; expected 1.01 to 100",
        ]
    );
}

#[test]
fn what_is_no_plan_names_its_line_too() {
    for (text, line) in [
        ("name = \"p\"\nstages = 3\n", 2),
        (
            "name = \"p\"\n[[stages]]\nshare = 10\nsoak = \"1h\"\nsaok = 1\n",
            5,
        ),
        (
            "name = \"p\"\n[[stages]]\nshare = 10\nsoak = \"11years\"\n",
            4,
        ),
        ("name = \"p\"\n\n\"", 3),
        ("name = \"p\"\nstages = []\n", 2),
    ] {
        let faults = Plan::parse(text, "p", &known()).expect_err(text).faults;
        assert_eq!(faults[0].line, line, "{text}: {faults:?}");
    }
}

#[test]
fn a_text_is_told_from_a_name() {
    assert!(Plan::is_text(SMALL) && Plan::is_text("name = \"p\"\n"));
    assert!(!Plan::is_text("standard\n") && !Plan::is_text(""));
}

#[test]
fn a_hundred_faults_are_enough() {
    let many: String = (0..5_000).map(|n| format!("x{n} = 1\n")).collect();
    assert_eq!(faults(&format!("{SMALL}{many}")).len(), 100);
}

#[test]
fn plans_overlap_where_they_share_a_task_or_cover_all() {
    let plan = |tasks: &str| {
        Plan::parse(&format!("tasks = [{tasks}]\n{SMALL}"), "p", &known()).expect("a plan")
    };
    let (all, chat, draft) = (plan(""), plan("\"chat\""), plan("\"email-draft\""));
    assert!(all.overlaps(&chat) && chat.overlaps(&all) && chat.overlaps(&chat));
    assert!(!chat.overlaps(&draft));
}

#[test]
fn a_folder_adds_plans_and_replaces_shipped_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("a file");
    };
    write("mine.toml", SMALL);
    write("demo.toml", &SMALL.replace("\"p\"", "\"demo\""));
    write("notes.txt", "no plan");
    let library = Library::load(Some(folder.path()), &known()).expect("good plans");
    assert_eq!(library.plans().count(), SHIPPED.len() + 1);
    assert_eq!(library.get("demo").expect("a plan").stages.len(), 1);
    write("bad.toml", "name = 1\n");
    let error = Library::load(Some(folder.path()), &known()).expect_err("a fault");
    assert!(error.to_string().contains("bad.toml:1: "), "{error}");
}

#[test]
fn faults_of_every_kind_are_reported_together() {
    let text = r#"tasks = ["chta", 7]
deadline = 30
holdout = 6
judge = "jury"
no_trafic = 1
[evidence]
hold = "20"
cap_per_user_day = 2.5
weights = { errors = true }
[[stages]]
share = "10"
soak = 48
gate = "robot"
min_requests = -1
[[stages]]
share = 500
saok = "1h"
guards = [0.05]
"#;
    assert_eq!(
        faults(text),
        [
            "p:1: `name` is missing; expected up to 64 lower-case letters, digits and hyphens",
            "p:1: unknown task `chta`; did you mean `chat`?",
            "p:1: an item of `tasks` is 7; expected a text",
            "p:2: `deadline` is 30; expected a span of time such as `48h` or `1h 30m`",
            "p:3: `holdout` is 6; expected 0 to 5",
            "p:4: `judge` is \"jury\"; expected one of `evidence`, `thresholds`",
            "p:5: unknown key `no_trafic`; did you mean `no_traffic`?",
            "p:7: `evidence.hold` is \"20\"; expected a number",
            "p:8: `evidence.cap_per_user_day` is 2.5; expected a whole number, 0 or more",
            "p:9: `evidence.weights.errors` is true; expected a number",
            "p:11: `share` is \"10\"; expected a number",
            "p:12: `soak` is 48; expected a span of time such as `48h` or `1h 30m`",
            "p:13: `gate` is \"robot\"; expected one of `automatic`, `manual`",
            "p:14: `min_requests` is -1; expected a whole number, 0 or more",
            "p:15: `soak` is missing; expected a span of time such as `48h` or `1h 30m`",
            "p:16: `share` is 500; expected 0.001 to 100",
            "p:17: unknown key `saok`; did you mean `soak`?",
            "p:18: `guards` is a list; expected a table",
        ]
    );
}

#[test]
fn a_key_that_is_missing_names_the_line_where_its_table_begins() {
    assert_eq!(
        faults("# empty\n"),
        [
            "p:1: `name` is missing; expected up to 64 lower-case letters, digits and hyphens",
            "p:1: `stages` is missing; expected a `[[stages]]` for each stage",
        ]
    );
    assert_eq!(
        faults("name = \"p\"\n[[stages]]\n# nothing\n"),
        [
            "p:2: `share` is missing; expected a number, the percentage of users",
            "p:2: `soak` is missing; expected a span of time such as `48h` or `1h 30m`",
        ]
    );
}

#[test]
fn stages_that_are_no_list_of_tables_are_one_fault() {
    for (stages, expected) in [
        (
            "stages = 3",
            "`stages` is 3; expected a `[[stages]]` for each stage",
        ),
        (
            "[stages]\nshare = 1",
            "`stages` is a table; expected a `[[stages]]` for each stage",
        ),
        ("stages = [3]", "an item of `stages` is 3; expected a table"),
    ] {
        let text = format!("name = \"p\"\n{stages}\n");
        assert_eq!(faults(&text), [format!("p:2: {expected}")], "{stages}");
    }
}

#[test]
fn a_number_may_be_whole_but_not_a_text_and_not_infinite() {
    for share in ["10", "10.0", "1e1", "+1_0", "0xA"] {
        let plan = Plan::parse(&SMALL.replace("10", share), "p", &known()).expect(share);
        assert_eq!(plan.stages[0].share.get(), 10.0);
    }
    for share in [
        "\"10\"",
        "inf",
        "-inf",
        "nan",
        "1e999",
        "2020-01-01",
        "true",
    ] {
        let expected = format!("p:3: `share` is {share}; expected a number");
        assert_eq!(faults(&SMALL.replace("10", share)), [expected]);
    }
    // Beyond what any integer holds.
    let digits = "9".repeat(70);
    let expected = format!("p:3: `share` is {}…; expected a number", &digits[..60]);
    assert_eq!(faults(&SMALL.replace("10", &digits)), [expected]);
}

#[test]
fn an_unknown_key_has_a_hint_at_every_level() {
    for (line, expected) in [
        (
            "control_ = []\n",
            "p:1: unknown key `control_`; did you mean `control`?",
        ),
        (
            "no_traffic.holds = true\n",
            "p:1: unknown key `holds`; did you mean `hold`?",
        ),
        (
            "evidence.maxErrorRate = 1\n",
            "p:1: unknown key `maxErrorRate`; did you mean `max_error_rate`?",
        ),
        (
            "evidence.weights = { errors = 1, slwo = 1 }\n",
            "p:1: unknown key `slwo`; did you mean `slow`?",
        ),
        (
            "guards.average = \"5s\"\n",
            "p:5: unknown key `average`; did you mean `max_average`?",
        ),
        (
            "\"so\\nak\" = 1\n",
            "p:5: unknown key `\"so\\nak\"`; did you mean `soak`?",
        ),
        (
            "evidence.xyz = 1\n",
            "p:1: unknown key `xyz`; expected one of `watch`, `hold`, `rollback`, `margin`, `max_error_rate`, `good_error_rate`, `weights`, `cap_per_user_day`, `slow_floor`, `outage_calm`, `outage_period`, `planned_hours`",
        ),
    ] {
        let text = if expected.starts_with("p:1") {
            format!("{line}{SMALL}")
        } else {
            format!("{SMALL}{line}")
        };
        assert_eq!(faults(&text), [expected]);
    }
}

#[test]
fn a_value_that_cannot_be_read_brings_no_second_fault() {
    for text in [
        "[[stages]]\nshare = 50\nsoak = 1\n",
        "[[stages]]\nshare = \"50\"\nsoak = \"1h\"\n",
        "[evidence]\nwatch = \"200\"\n",
        "[evidence]\nweights = { errors = \"0\" }\n",
    ] {
        let text = format!("{SMALL}{text}");
        assert_eq!(faults(&text).len(), 1, "{text}");
    }
}

#[test]
fn every_line_that_is_no_toml_is_reported_once() {
    let text = "name = p\ntasks = [\"a\" \"b\"]\n\nholdout = 1.\ndeadline = 1h\n";
    let lines = Plan::parse(text, "p", &known()).expect_err("faults").faults;
    let lines: Vec<_> = lines.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [1, 2, 4, 5]);
}

/// Values of every type, some of them right somewhere.
const VALUE: &str = r#"-?[1-9][0-9]{0,19}(\.5|e999)?|nan|-inf|true|2020-01-01|"(|p|1h|manual)"|\[(1, "chat"|\{\})?\]|\{( errors = -1, hold = true )?\}"#;

fn shipped() -> impl Strategy<Value = String> {
    (0..SHIPPED.len()).prop_map(|plan| SHIPPED[plan].1.to_owned())
}

/// Whatever the text, there is a plan, or there are faults in the order of its lines.
fn check(text: &str) -> Result<(), TestCaseError> {
    if let Err(TomlFaults { faults, .. }) = Plan::parse(text, "p", &known()) {
        prop_assert!(!faults.is_empty());
        prop_assert!(faults.is_sorted_by_key(|fault| fault.line));
        let last = text.matches('\n').count() + 1;
        prop_assert!(faults.iter().all(|fault| (1..=last).contains(&fault.line)));
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,200}|[a-z_ \"'\\[\\]{}=#.,0-9\n-]{0,200}") {
        check(&text)?;
    }

    #[test]
    fn no_damage_makes_it_panic(
        mut text in shipped(),
        damage in proptest::collection::vec(
            (any::<proptest::sample::Index>(), 0usize..20, "[a-zæ\\[\\]{}=\".,0-9\n-]{0,10}"),
            1..4,
        ),
    ) {
        for (at, length, with) in damage {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.floor_char_boundary(start + length);
            text.replace_range(start..end, &with);
        }
        check(&text)?;
    }

    #[test]
    fn no_value_makes_it_panic(
        text in shipped(),
        values in proptest::collection::vec(proptest::option::weighted(0.2, VALUE), 60),
    ) {
        let mut values = values.into_iter();
        let mut line = |line: &str| match (line.split_once(" = "), values.next().flatten()) {
            (Some((key, _)), Some(value)) => format!("{key} = {value}\n"),
            _ => format!("{line}\n"),
        };
        let text: String = text.lines().map(&mut line).collect();
        check(&text)?;
    }
}
