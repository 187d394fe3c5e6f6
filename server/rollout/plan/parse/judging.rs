//! The model that judges answers, as a plan names it.

use super::{count, may_get, names, number};
use crate::{
    _core::{
        toml_reader::TomlTable,
        units::{Microdollars, Percent},
    },
    rollout::plan::{Judging, KnownNames},
};

const RUBRIC: &str = "a text of up to 4,000 bytes";
const MAX_RUBRIC: usize = 4_000;
/// Where a plan does not say: one request of fifty, a hundred pairs a day, one dollar a day.
const SHARE: f64 = 2.0;
const PAIRS_PER_DAY: u32 = 100;
const COST_PER_DAY: f64 = 1.0;
const MAX_PAIRS_PER_DAY: u32 = 100_000;

/// `arms` are the models that the plan names itself.
pub(super) fn read(
    table: &mut TomlTable<'_>,
    known: &KnownNames,
    covered: &[String],
    arms: &[String],
) -> Judging {
    let model = table.required("model", "a model of the catalog", |it| {
        let name = it.text("a model of the catalog")?;
        if arms.iter().any(|arm| arm == name) {
            it.fault(format!(
                "`model` is `{name}`, whose own answers it would judge; expected a model of neither side"
            ));
        }
        let models = names(std::slice::from_ref(it), "model", known.models.as_deref());
        may_get(it, name, known, covered);
        models.into_iter().next()
    });
    let rubric = table.required("rubric", RUBRIC, |it| {
        it.read(RUBRIC, |value| {
            let text = value.as_str()?.trim();
            let is_one = !text.is_empty() && text.len() <= MAX_RUBRIC;
            is_one.then(|| text.to_owned())
        })
    });
    let share = table
        .optional("share", |it| number(it, 0.001, 100.0))
        .unwrap_or(SHARE);
    let per_day = table.optional("per_day", |it| count(it, MAX_PAIRS_PER_DAY));
    let max_cost = table.optional("max_cost", |it| number(it, 0.0, 1e6));
    Judging {
        model: model.unwrap_or_default(),
        rubric: rubric.unwrap_or_default(),
        share: Percent::new(share).unwrap_or_default(),
        per_day: per_day.unwrap_or(PAIRS_PER_DAY).into(),
        max_cost: Microdollars::from_dollars(max_cost.unwrap_or(COST_PER_DAY)),
        prompt: Judging::NEWEST_PROMPT,
    }
}
