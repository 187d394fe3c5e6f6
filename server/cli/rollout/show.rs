//! What the server answers, as a person reads it.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::cli::table::{Table, clean};

/// The text of a field, `–` where there is none.
pub(in crate::cli) fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

pub(in crate::cli) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let list = value.get(key).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

/// A time to the second, as an operator compares it with a log.
pub(in crate::cli) fn moment(value: &Value, key: &str) -> String {
    let text = text(value, key);
    match text.parse::<DateTime<Utc>>() {
        Ok(at) => at.format("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => text,
    }
}

/// `3 h 20 min`; the two greatest units of a duration.
fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

fn soaked(rollout: &Value) -> String {
    let ms = |key: &str| rollout.get(key).and_then(Value::as_i64);
    let soaked = span(ms("soakedMs").unwrap_or(0));
    match ms("leftMs") {
        Some(left) => format!("{soaked}, {} left", span(left)),
        None => soaked,
    }
}

/// `holding (watch)`.
fn state(rollout: &Value) -> String {
    let state = rollout.get("state").unwrap_or(&Value::Null);
    let because = state.get("because").and_then(Value::as_str);
    let recommended = state.get("recommended").and_then(Value::as_bool);
    let detail = because.or(recommended.map(|yes| {
        if yes {
            "recommended"
        } else {
            "not recommended"
        }
    }));
    let released = rollout.get("releasedAt").is_some_and(Value::is_string);
    match (state, detail.or(released.then_some("let go"))) {
        (Value::String(name), _) => name.clone(),
        (state, Some(detail)) => format!("{} ({detail})", text(state, "name")),
        (state, None) => text(state, "name"),
    }
}

/// Evidence below the lowest level is called so: it may be none at all, or some.
fn level(rollout: &Value) -> String {
    match text(rollout, "level") {
        level if level == "clear" => "below watch".to_owned(),
        level => level,
    }
}

fn stage(rollout: &Value) -> String {
    format!("{}/{}", text(rollout, "stage"), text(rollout, "stages"))
}

pub(super) fn rollouts(answer: &Value) -> String {
    let rollouts = answer.as_array().map_or(&[][..], Vec::as_slice);
    if rollouts.is_empty() {
        return "No rollout is under way.\n".to_owned();
    }
    let heading = [
        "ID", "PLAN", "STATE", "STAGE", "SHARE", "SOAKED", "EVIDENCE", "STARTED",
    ];
    let mut table = Table::new(&heading);
    for rollout in rollouts {
        table.row([
            text(rollout, "id"),
            text(rollout, "plan"),
            state(rollout),
            stage(rollout),
            format!("{} %", text(rollout, "share")),
            soaked(rollout),
            level(rollout),
            moment(rollout, "startedAt"),
        ]);
    }
    table.to_string()
}

pub(super) fn rollout(rollout: &Value) -> String {
    let mut lines = vec![
        ("rollout", text(rollout, "id")),
        ("plan", text(rollout, "plan")),
        ("state", state(rollout)),
        ("stage", stage(rollout)),
        ("share", format!("{} %", text(rollout, "share"))),
        ("soaked", soaked(rollout)),
        ("evidence", level(rollout)),
        ("version", text(rollout, "version")),
        ("started", moment(rollout, "startedAt")),
    ];
    for models in list(rollout, "models") {
        let joined = |key: &str| {
            let names = list(models, key).iter().filter_map(Value::as_str);
            names.collect::<Vec<_>>().join(", then ")
        };
        if list(rollout, "models").len() > 1 {
            lines.push(("tasks", joined("tasks").replace(", then ", ", ")));
        }
        lines.push(("control", joined("control")));
        lines.push(("candidate", joined("candidate")));
    }
    if rollout.get("next").is_some_and(Value::is_string) {
        lines.push(("next", text(rollout, "next")));
    }
    let mut shown = String::new();
    for (name, value) in lines {
        shown.push_str(&format!("{name:<9} {}\n", clean(&value)));
    }
    for line in list(rollout, "moves").iter().filter_map(Value::as_str) {
        shown.push_str(&format!("  {}\n", clean(line)));
    }
    for line in list(rollout, "words").iter().filter_map(Value::as_str) {
        shown.push_str(&format!("  {}\n", clean(line)));
    }
    shown
}

pub(super) fn faults(answer: &Value) -> String {
    let line = |fault: &Value| {
        let text = clean(&text(fault, "message"));
        match fault.get("line").and_then(Value::as_u64) {
            Some(line) => format!("  line {line}: {text}"),
            None => format!("  {text}"),
        }
    };
    let lines: Vec<_> = list(answer, "faults").iter().map(line).collect();
    lines.join("\n")
}

pub(super) fn valid(answer: &Value) -> String {
    let mut shown = "The plan can be used.\n".to_owned();
    for warning in list(answer, "warnings").iter().filter_map(Value::as_str) {
        shown.push_str(&format!("warning: {}\n", clean(warning)));
    }
    for note in list(answer, "notes").iter().filter_map(Value::as_str) {
        shown.push_str(&format!("  {}\n", clean(note)));
    }
    shown
}

/// `soaking 10 %`.
fn place(entry: &Value, key: &str) -> String {
    match entry.get(key) {
        Some(place @ Value::Object(_)) => {
            format!("{} {} %", state(place), text(place, "share"))
        }
        _ => "–".to_owned(),
    }
}

pub(super) fn history(answer: &Value) -> String {
    let heading = ["AT (UTC)", "VERSION", "WHO", "WHAT", "FROM", "TO", "WHY"];
    let mut table = Table::new(&heading);
    for entry in answer.as_array().map_or(&[][..], Vec::as_slice) {
        table.row([
            moment(entry, "at"),
            text(entry, "version"),
            text(entry, "actor"),
            text(entry, "action"),
            place(entry, "before"),
            place(entry, "after"),
            text(entry, "reason"),
        ]);
    }
    table.to_string()
}

pub(super) fn why(answer: &Value) -> String {
    let mut shown = String::new();
    for entry in answer.as_array().map_or(&[][..], Vec::as_slice) {
        let line = format!(
            "{}  {} by {} (version {})",
            moment(entry, "at"),
            text(entry, "action"),
            text(entry, "actor"),
            text(entry, "version"),
        );
        shown.push_str(&format!("{}\n", clean(&line)));
        for key in ["reason", "text"] {
            for line in text(entry, key).lines() {
                shown.push_str(&format!("  {}\n", clean(line)));
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_their_two_greatest_units() {
        for (ms, text) in [
            (-1, "0 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (12_000_000, "3 h 20 min"),
            (172_800_000, "2 d"),
            (187_200_000, "2 d 4 h"),
        ] {
            assert_eq!(span(ms), text);
        }
    }
}
