//! How alike the requests of one user are, as the whole fold learns it.

use super::*;

const MINUTE: i64 = 60_000;

/// Makes a request bad.
type Spoil = fn(&mut Observation);

/// What the second request of a user weighs, by harm.
fn weights(evidence: &Evidence) -> Vec<f64> {
    let streams = Harm::ALL.map(|harm| evidence.streams.get(harm));
    streams
        .into_iter()
        .flatten()
        .map(|it| it.weight(1))
        .collect()
}

/// Fifty users whose requests fail, are slow or have a flaw now and then.
fn usual(count: u64, every: i64) -> Vec<Observation> {
    let mut all = traffic(count, every, |i, _| i % 37 == 0);
    for (i, one) in (0_u64..).zip(&mut all) {
        one.subject = (i % 50).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        one.variant = match i % 50 % 10 {
            0 => Variant::Candidate,
            _ => Variant::Control,
        };
        // Mixed twice, or those of one user would go up and down together.
        let mixed = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        one.latency_ms = 500.0 + (mixed >> 40) as f64 % 2_000.0;
        one.quality = Some(match i % 41 {
            0 => Quality::Truncated,
            _ => Quality::Good,
        });
    }
    all
}

#[test]
fn a_user_who_left_the_comparison_says_nothing_of_how_alike_users_are() {
    let after = |edition, spoil: Spoil, bad: i64| {
        let plan = EvidencePlan::default();
        let mut evidence = Evidence::of_edition(edition, &plan, ALL.clone(), BEGIN);
        for one in usual(1_000, 3_000) {
            evidence.fold(&one, share(10.0));
        }
        for n in 0..bad {
            let mut one = request(51 * MINUTE + n, 77, false, false);
            one.quality = Some(Quality::Good);
            spoil(&mut one);
            evidence.fold(&one, share(10.0));
        }
        evidence.reach(BEGIN + HOUR_MS);
        weights(&evidence)
    };
    let spoils: [(Harm, Spoil); 3] = [
        (Harm::Error, |one| one.end = RequestEnd::Failed),
        (Harm::AboveP50, |one| one.latency_ms = 50_000.0),
        (Harm::Flawed, |one| one.quality = Some(Quality::Truncated)),
    ];
    for (harm, spoil) in spoils {
        let of = |edition, bad| after(edition, spoil, bad)[harm as usize];
        let cap = i64::from(EvidencePlan::default().cap_per_user_day);
        assert_eq!(of(Edition::Tenth, cap), of(Edition::Tenth, 300), "{harm:?}");
        let [few, many] = [cap, 300].map(|bad| of(Edition::Ninth, bad));
        assert!(many < few * 0.9, "before: {harm:?}, {few} {many}");
    }
}

#[test]
fn what_requests_weigh_changes_at_full_hours_alone() {
    let changes = |edition| {
        let plan = EvidencePlan::default();
        let mut evidence = Evidence::of_edition(edition, &plan, ALL.clone(), BEGIN);
        let (mut within, mut at_hours) = (0, 0);
        for one in usual(4_000, 4_000) {
            let (before, hour) = (weights(&evidence), evidence.hour);
            evidence.fold(&one, share(10.0));
            let has_changed = weights(&evidence) != before;
            let is_new_hour = evidence.hour > hour;
            within += u32::from(has_changed && !is_new_hour);
            at_hours += u32::from(has_changed && is_new_hour);
        }
        (within, at_hours)
    };
    assert_eq!(changes(Edition::Tenth), (0, 4));
    let (within, _) = changes(Edition::Ninth);
    assert!(within > 100, "before: {within}");
}
