use super::*;

fn known() -> Known {
    let names = |names: &[&str]| Some(names.iter().map(|it| (*it).to_owned()).collect());
    Known {
        tasks: names(&["chat", "email-draft"]),
        models: names(&["glm", "gemma"]),
    }
}

fn faults(text: &str) -> Vec<String> {
    let faults = Plan::parse(text, "p", &known()).expect_err("faults");
    faults.to_string().lines().map(str::to_owned).collect()
}

const SMALL: &str = "name = \"p\"\n[[stages]]\nshare = 10\nsoak = \"1h\"\n";

#[test]
fn shipped_plans_are_good_and_named_as_their_files() {
    let library = Library::load(None, &Known::default()).expect("good plans");
    assert_eq!(library.plans().count(), SHIPPED.len());
    for (name, _) in SHIPPED {
        assert!(library.get(name).is_some(), "{name}");
    }
    let standard = library.get("standard").expect("a plan");
    let shares: Vec<_> = (0..3).map(|stage| standard.share_of(stage).get()).collect();
    assert_eq!(shares, [10.0, 50.0, 99.0], "one percent is held out");
    assert_eq!(standard.evidence.planned_hours, 48 + 48 + 168);
}

#[test]
fn a_plan_reads_back_from_its_json() {
    let library = Library::load(None, &Known::default()).expect("good plans");
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
    assert_eq!(plan.evidence.weights, [0.5, 0.3, 0.2, 0.0]);
    assert_eq!(plan.judge, Judge::Evidence);
}

#[test]
fn weights_are_normalised_over_the_metrics_that_are_named() {
    let text = format!("{SMALL}[evidence]\nweights = {{ errors = 3, feedback = 1 }}\n");
    let plan = Plan::parse(&text, "p", &known()).expect("a plan");
    assert_eq!(plan.evidence.weights, [0.75, 0.0, 0.0, 0.25]);
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
            "p:9: `cap_per_user_day` is 9; expected 1 to 3",
            "p:14: `share` sinks from 50 to 10; stages only rise",
            "p:16: `rho_bad` is 1; expected 1.01 to 100",
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
        ("name = \"p\"\n\n\"", 3),
        ("name = \"p\"\nstages = []\n", 2),
    ] {
        let faults = Plan::parse(text, "p", &known()).expect_err(text).faults;
        assert_eq!(faults[0].line, line, "{text}: {faults:?}");
    }
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
