//! The picture of a rollout is made of its log.

use super::*;

/// How often a text stands in a picture.
fn count(picture: &str, text: &str) -> usize {
    picture.matches(text).count()
}

/// Whether every element that begins ends: what an XML reader asks for first.
fn is_well_formed(picture: &str) -> bool {
    let mut open = Vec::new();
    let mut rest = picture;
    while let Some(at) = rest.find('<') {
        let Some(end) = rest[at..].find('>') else {
            return false;
        };
        let tag = &rest[at + 1..at + end];
        let name = tag.trim_start_matches('/').split([' ', '/']).next();
        if tag.starts_with('/') {
            if open.pop() != name {
                return false;
            }
        } else if !tag.ends_with('/') {
            open.push(name.unwrap_or_default());
        }
        rest = &rest[at + end + 1..];
    }
    open.is_empty() && picture.starts_with("<svg") && !picture.contains("NaN")
}

#[tokio::test]
async fn one_that_was_taken_back_is_drawn_with_its_figures() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    rig.second(200, |_| false).await;
    for _ in 0..20 {
        rig.second(200, candidate_fails).await;
    }
    let status = rig.status(&id).await;
    assert_eq!(status.state, RunState::RolledBack);
    let now = rig.controller.world.now().wall;
    let picture = rig.controller.archive().plot(&id, now).await;
    let picture = picture.expect("a picture");
    assert!(is_well_formed(&picture), "{picture}");

    let rows = rig.controller.archive().history(&id).await;
    let rows = rows.expect("a history");
    let last = rows.last().expect("a rollback");
    let verdict = last.record.as_ref().ok().and_then(|it| it.verdict.clone());
    let verdict = verdict.expect("a verdict");
    for level in ["watch 5", "hold 20", "rollback 100"] {
        assert_eq!(count(&picture, &format!(">{level}<")), 1, "{picture}");
    }
    let candidate = verdict.candidate;
    let failed = format!(">{} of {} failed<", candidate.errors, candidate.requests);
    assert_eq!(count(&picture, &failed), 1, "{failed} {picture}");
    assert!(picture.contains(">0 %, rolled-back<"), "{picture}");
    let effect = verdict.effects.iter().find(|it| it.ratio.is_some());
    if let Some(effect) = effect {
        assert!(picture.contains(&effect.to_string()), "{effect} {picture}");
    }
    assert!(picture.contains("E = ") && !picture.contains("nothing to look at"));
    // The same log, the same picture.
    let again = rig.controller.archive().plot(&id, now).await;
    assert_eq!(again.expect("a picture"), picture);
}

#[tokio::test]
async fn one_without_a_look_says_so() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    let now = rig.controller.world.now().wall;
    let picture = rig.controller.archive().plot(&id, now).await;
    let picture = picture.expect("a picture");
    assert!(is_well_formed(&picture), "{picture}");
    assert_eq!(count(&picture, "nothing to look at"), 1);
    assert!(picture.contains(">10 %, started<"), "{picture}");
    let unknown = rig.controller.archive().plot("zzz", now).await;
    assert!(matches!(unknown, Err(ControlError::UnknownRollout { .. })));
}
