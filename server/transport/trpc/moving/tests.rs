//! Answers as two servers would write them: the same in other words, and with a seeded difference.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use tokio::time::Instant;

use super::{GIVEN_UP, MovingCall, outcome, superjson};
use crate::{
    _core::{
        actor::Actor,
        assignment::Algorithm,
        context::Context,
        errors::RpcError,
        registry::{Registry, Target},
        tasks::Tasks,
        units::Percent,
    },
    config::Transformer,
    migration::{
        ComparisonRules, Mode, MoveWay, Moves, Settings,
        compare::{ComparedPart, differences},
        mode::Move,
        report::MoveTally,
        store::{Alert, BetsHeld, MoveStore},
    },
    procedures,
};

/// Compared calls.
const CALLS: u32 = 100_000;

/// A value, before somebody writes it.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Null,
    Undefined,
    Whole(i32),
    Text(String),
    /// Seconds since 1970, as a superjson date.
    Date(u32),
    /// The same, as a text.
    Instant(u32),
    Set(Vec<i32>),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

fn node(random: &mut StdRng, depth: u32) -> Node {
    match random.random_range(0..if depth == 0 { 7 } else { 9 }) {
        0 => Node::Null,
        1 => Node::Undefined,
        2 => Node::Whole(random.random_range(-1000..1000)),
        3 => Node::Text(format!("text {}", random.random_range(0..1000))),
        4 => Node::Date(random.random()),
        5 => Node::Instant(random.random()),
        6 => Node::Set((0..random.random_range(0..4)).map(|n| 10 * n).collect()),
        7 => {
            let count = random.random_range(0..4);
            let items = (0..count).map(|_| match node(random, depth - 1) {
                // A list has no place that is not there.
                Node::Undefined => Node::Null,
                item => item,
            });
            Node::List(items.collect())
        }
        _ => object(random, depth - 1),
    }
}

fn object(random: &mut StdRng, depth: u32) -> Node {
    let count = random.random_range(0..5);
    let members = (0..count).map(|n| (format!("m{n}"), node(random, depth)));
    Node::Object(members.collect())
}

/// Writes values as some server would: what means nothing is left to chance.
struct Writer<'r> {
    random: &'r mut StdRng,
    path: Vec<String>,
    notes: Vec<String>,
}

impl Writer<'_> {
    fn note(&mut self, kind: &str) {
        self.notes
            .push(format!("\"{}\":[\"{kind}\"]", self.path.join(".")));
    }

    fn instant(&mut self, seconds: u32) -> String {
        let at = chrono::DateTime::from_timestamp(seconds.into(), 0).unwrap();
        match self.random.random() {
            true => at.format("\"%Y-%m-%dT%H:%M:%SZ\"").to_string(),
            false => at.format("\"%Y-%m-%dT%H:%M:%S.000+00:00\"").to_string(),
        }
    }

    fn write(&mut self, node: &Node) -> String {
        match node {
            Node::Null => "null".to_owned(),
            Node::Undefined => {
                self.note("undefined");
                "null".to_owned()
            }
            Node::Whole(number) => match self.random.random() {
                true => format!("{number}"),
                false => format!("{number}.0"),
            },
            Node::Text(text) => format!("\"{text}\""),
            Node::Date(seconds) => {
                self.note("Date");
                self.instant(*seconds)
            }
            Node::Instant(seconds) => self.instant(*seconds),
            Node::Set(items) => {
                self.note("set");
                let mut items = items.clone();
                items.shuffle(self.random);
                format!("{items:?}")
            }
            Node::List(items) => {
                let items = items.iter().enumerate();
                let items = items.map(|(n, item)| self.below(&n.to_string(), item));
                format!("[{}]", items.collect::<Vec<_>>().join(","))
            }
            Node::Object(members) => {
                let mut members = members.clone();
                members.shuffle(self.random);
                members.retain(|(_, it)| *it != Node::Undefined || self.random.random());
                let members = members
                    .iter()
                    .map(|(name, it)| format!("\"{name}\":{}", self.below(name, it)));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
        }
    }

    fn below(&mut self, step: &str, node: &Node) -> String {
        self.path.push(step.to_owned());
        let written = self.write(node);
        self.path.pop();
        written
    }
}

fn envelope(node: &Node, random: &mut StdRng) -> String {
    let mut writer = Writer {
        random,
        path: Vec::new(),
        notes: Vec::new(),
    };
    let json = writer.write(node);
    let notes = writer.notes.join(",");
    format!(
        "{{\"result\":{{\"data\":{{\"json\":{json},\"meta\":{{\"values\":{{{notes}}},\"v\":1}}}}}}}}"
    )
}

/// An answer with a list whose order means nothing, and a member that may be anything.
fn answer(random: &mut StdRng, body: Node, bag: &[i32]) -> Node {
    let mut bag: Vec<Node> = bag.iter().copied().map(Node::Whole).collect();
    bag.shuffle(random);
    Node::Object(vec![
        ("body".to_owned(), body),
        ("bag".to_owned(), Node::List(bag)),
        ("skip".to_owned(), node(random, 1)),
    ])
}

/// Changes one value below, and says where; `None` where there is none.
fn seed(node: &mut Node, random: &mut StdRng, path: &mut String) -> Option<()> {
    let into = |path: &mut String, step: &str| {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(step);
    };
    match node {
        Node::List(items) if !items.is_empty() && random.random() => {
            let place = random.random_range(0..items.len());
            into(path, &place.to_string());
            seed(&mut items[place], random, path)
        }
        Node::Object(members) if !members.is_empty() => {
            let place = random.random_range(0..members.len());
            let (name, member) = &mut members[place];
            into(path, name);
            seed(member, random, path)
        }
        other => {
            *other = match other {
                Node::Whole(number) => Node::Whole(*number + 1),
                Node::Text(text) => Node::Text(format!("{text}!")),
                Node::Date(seconds) if random.random() => Node::Instant(*seconds),
                Node::Date(seconds) => Node::Date(seconds.wrapping_add(1)),
                Node::Instant(seconds) => Node::Instant(seconds.wrapping_add(1)),
                Node::Set(items) => Node::Set([&items[..], &[7]].concat()),
                Node::List(items) => Node::List([&items[..], &[Node::Null]].concat()),
                Node::Object(_) => Node::Null,
                Node::Null => Node::Whole(0),
                Node::Undefined => Node::Null,
            };
            Some(())
        }
    }
}

#[test]
fn seeded_differences_are_found_and_no_others() {
    let mut random = StdRng::seed_from_u64(12);
    let part = |text| vec![ComparedPart::parse(text).unwrap()];
    let rules = ComparisonRules::of("a.b", &part("a.*:skip"), &part("a.b:bag"));
    let mut seeded = 0;
    for call in 0..CALLS {
        let mut body = object(&mut random, 3);
        let bag: Vec<i32> = (0..random.random_range(0..5)).collect();
        let theirs = answer(&mut random, body.clone(), &bag);
        let theirs = envelope(&theirs, &mut random);
        let mut place = String::from("body");
        let is_seeded = call % 10 == 0 && seed(&mut body, &mut random, &mut place).is_some();
        seeded += u32::from(is_seeded);
        let ours = answer(&mut random, body, &bag);
        let ours = envelope(&ours, &mut random);
        let read = |text: &str| superjson::said(text.as_bytes(), Transformer::Superjson);
        let (Some(said), Some(other)) = (read(&theirs), read(&ours)) else {
            panic!("{theirs}\n{ours}")
        };
        let found = differences(&said, &other, &rules);
        let paths: Vec<&str> = found.iter().map(|it| &*it.path).collect();
        match is_seeded {
            // Of a set, the item that is only here is named.
            true => assert!(
                paths.len() == 1 && (paths[0] == place || paths[0] == format!("{place}.*")),
                "{place}: {paths:?}\n{theirs}\n{ours}"
            ),
            false => assert!(paths.is_empty(), "{paths:?}\n{theirs}\n{ours}"),
        }
    }
    assert_eq!(seeded, CALLS / 10);
}

/// Keeps one move, and nothing else.
struct Kept(Move);

#[async_trait]
impl MoveStore for Kept {
    async fn moves(&self) -> anyhow::Result<Vec<Move>> {
        Ok(vec![self.0.clone()])
    }

    async fn set_move(&self, _: &Move) -> anyhow::Result<()> {
        Ok(())
    }

    async fn take_back(&self, _: &Move, _: &str, _: &Alert) -> anyhow::Result<bool> {
        Ok(true)
    }

    async fn add_reports(&self, _: &BTreeMap<String, MoveTally>) -> anyhow::Result<()> {
        Ok(())
    }

    async fn hold_bets(
        &self,
        _: &str,
        _: &str,
        _: Option<(i64, &str)>,
        _: DateTime<Utc>,
        _: DateTime<Utc>,
    ) -> anyhow::Result<BetsHeld> {
        Ok(BetsHeld::default())
    }

    async fn reports(&self) -> anyhow::Result<BTreeMap<String, MoveTally>> {
        Ok(BTreeMap::new())
    }
}

async fn answer_one((): (), _: Context) -> Result<u32, RpcError> {
    Ok(1)
}

#[test]
fn a_refusal_is_no_failure_and_is_noted() {
    for (status, failed, refused) in [
        (200, false, false),
        (400, false, true),
        (404, false, true),
        (429, false, true),
        (502, true, true),
    ] {
        let outcome = outcome(status, Instant::now());
        assert_eq!((outcome.failed, outcome.refused), (failed, refused));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_late_has_failed_whichever_server_hangs() {
    let of = Move {
        id: "1".into(),
        name: "a.b".into(),
        mode: Mode::Share,
        share: Percent::new(50.0).unwrap(),
        at: DateTime::UNIX_EPOCH,
        actor: Actor::User(1),
        reason: "a test".into(),
    };
    let settings = Settings {
        kept: Vec::new(),
        algorithm: Algorithm::Murmur3,
        salt: "x".into(),
        may_differ: Vec::new(),
        unordered: Vec::new(),
        tolerated: Percent::ZERO,
        shadows: 1,
    };
    let moves = Moves::open(Arc::new(Kept(of)), settings).await.unwrap();
    let mut registry = Registry::new(Tasks::default());
    procedures!(registry.router("a", ());
        /// One.
        query Public b = answer_one;
    );
    moves.know(registry.iter());
    let Target::Here(procedure) = registry.resolve("a.b") else {
        panic!("it is registered")
    };
    let seen = || moves.all().remove(0).tally;
    for (is_ours, after, failed) in [
        (true, Duration::from_secs(1), 0),
        (true, GIVEN_UP, 1),
        (false, Duration::from_secs(1), 0),
        (false, GIVEN_UP, 1),
    ] {
        let way = moves.way(moves.of("a.b"), &procedure, Some(7));
        let (MoveWay::Ours(Some(watch)) | MoveWay::Theirs(Some(watch))) = way else {
            panic!("it is watched")
        };
        let watched = MovingCall {
            moves: moves.clone(),
            procedure: procedure.clone(),
            watch,
        };
        let before = seen();
        let running = watched.begin(is_ours);
        tokio::time::advance(after).await;
        drop(running);
        let now = seen();
        let (calls, earlier) = match is_ours {
            true => (now.ours, before.ours),
            false => (now.theirs, before.theirs),
        };
        assert_eq!(calls.failed - earlier.failed, failed, "{is_ours} {after:?}");
    }
}
