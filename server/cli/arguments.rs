//! What several commands read from their arguments: plans, shares, traffic.

use std::{
    io::{IsTerminal, Read},
    path::Path,
};

use anyhow::Context as _;

use crate::{
    _core::{text_file, units::Percent},
    rollout::plan::Plan,
};

/// The longest plan that is read from a file or standard input, in bytes.
const MAX_PLAN_BYTES: u64 = 64 * 1024;

/// A plan's text where a file is meant, else its name as it is.
pub(super) fn plan_text(plan: &str) -> anyhow::Result<String> {
    let path = Path::new(plan);
    let (source, name): (Box<dyn Read>, _) = if plan == "-" {
        if std::io::stdin().is_terminal() {
            anyhow::bail!("`-` reads a plan from standard input, which is a terminal");
        }
        (Box::new(std::io::stdin()), "standard input")
    } else if path.extension().is_some_and(|ending| ending == "toml") || plan.contains('/') {
        let file = std::fs::File::open(path).with_context(|| format!("cannot read `{plan}`"))?;
        (Box::new(file), plan)
    } else {
        return Ok(plan.to_owned());
    };
    let text = text_file::read_at_most(MAX_PLAN_BYTES, source)
        .with_context(|| format!("cannot read `{name}`"))?;
    if plan != "-" && !Plan::is_text(&text) {
        anyhow::bail!(
            "`{name}` holds no plan; expected TOML with a `name` and a `[[stages]]` for each stage"
        );
    }
    Ok(text)
}

/// A share, with or without its sign.
pub(super) fn percent(text: &str) -> Result<Percent, String> {
    let text = text.trim().trim_end_matches('%');
    Percent::parse(text).ok_or_else(|| "expected a number from 0 to 100".to_owned())
}

/// Requests a day.
pub(super) fn traffic(text: &str) -> Result<f64, String> {
    let (number, unit) = text.split_once('/').unwrap_or((text, "day"));
    let per_day = match unit.trim() {
        "day" | "d" => 1.0,
        "hour" | "h" => 24.0,
        "minute" | "min" => 24.0 * 60.0,
        "second" | "s" => 24.0 * 60.0 * 60.0,
        _ => return Err("expected `/day`, `/hour`, `/minute` or `/second`".to_owned()),
    };
    let number = number.trim().replace(['_', ','], "").parse::<f64>();
    let requests = number.ok().map(|number| number * per_day);
    requests
        .filter(|requests| requests.is_finite() && *requests > 0.0)
        .ok_or_else(|| "expected a number above 0 and a unit, such as `10000/day`".to_owned())
}

/// `2%` as 0.02.
pub(super) fn percentage(text: &str) -> Result<f64, String> {
    let number = text
        .trim()
        .strip_suffix('%')
        .map(|text| text.trim().parse());
    match number {
        Some(Ok(percent @ 0.0..=100.0)) if percent > 0.0 => Ok(percent / 100.0),
        _ => Err("expected a percentage above 0, such as `2%`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_a_name_and_a_file_becomes_its_text() {
        assert_eq!(plan_text("standard").expect("a name"), "standard");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("own.toml");
        std::fs::write(&file, "name = \"own\"").expect("a file");
        let path = file.display().to_string();
        assert_eq!(plan_text(&path).expect("a text"), "name = \"own\"");
        std::fs::write(&file, vec![b'#'; 70_000]).expect("a file");
        let error = plan_text(&path).expect_err("too long");
        let error = format!("{error:#}");
        assert!(error.contains("longer than 65536 bytes"), "{error}");
        let error = plan_text("nowhere.toml").expect_err("no file");
        assert!(error.to_string().contains("nowhere.toml"), "{error}");
    }

    #[test]
    fn percents_may_carry_their_sign() {
        assert_eq!(percent("12.5%").map(Percent::get), Ok(12.5));
        assert!(percent("101").is_err() && percent("-1").is_err());
    }

    #[test]
    fn traffic_is_told_by_any_unit_and_counted_by_the_day() {
        for (text, per_day) in [
            ("10000/day", 10_000.0),
            ("10_000", 10_000.0),
            ("500/hour", 12_000.0),
            ("1 / minute", 1_440.0),
            ("0.5/s", 43_200.0),
        ] {
            assert_eq!(traffic(text), Ok(per_day), "{text}");
        }
        for text in ["", "0/day", "-1/day", "10/week", "NaN/day", "many/day"] {
            assert!(traffic(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_baseline_is_a_percentage() {
        assert_eq!(percentage("2%"), Ok(0.02));
        assert_eq!(percentage("0.5 %"), Ok(0.005));
        for text in ["2", "0%", "101%", "-1%", "x%", "NaN%"] {
            assert!(percentage(text).is_err(), "{text}");
        }
    }
}
