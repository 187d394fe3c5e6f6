//! The file in which a trial keeps what it has seen, a JSON object a line, so that it can go on after it was killed.
//!
//! It is only ever added to. A line counts once its end is written; the beginning of one that was cut off is taken
//! away when the file is opened again. Everything else that cannot be read is reported and never passed over.

use std::{
    collections::HashMap,
    fs::{File, TryLockError},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use super::{answer::TrialAnswer, prompts::Prompt};
use crate::_core::assignment::Variant;

/// The largest file, in bytes: many times what the most prompts make.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// What is compared; the first line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialSubject {
    /// The task whose models these are.
    pub task: String,
    /// Control's primary model.
    pub control: String,
    /// The candidate's.
    pub candidate: String,
    /// A digest of what the task asks of answers, which is asked of those whose prompt does not say; empty in a file that an
    /// earlier release began.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub checks: String,
}

impl TrialSubject {
    /// The model of an arm.
    pub fn model(&self, arm: Variant) -> &str {
        match arm {
            Variant::Control => &self.control,
            Variant::Candidate => &self.candidate,
        }
    }
}

/// The form of the first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    trial: TrialSubject,
}

/// Whether a file whose last line is cut begins as ours do; `whole` bytes of it are whole lines.
fn is_ours(text: &[u8], whole: usize, subject: &TrialSubject) -> anyhow::Result<bool> {
    let mut lines = text[..whole].split(|byte| *byte == b'\n');
    if let Some(first) = lines.next().filter(|_| whole > 0) {
        return Ok(serde_json::from_slice::<Head>(first).is_ok());
    }
    let trial = subject.clone();
    Ok(serde_json::to_vec(&Head { trial })?.starts_with(text))
}

/// What a model made of a prompt, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnsweredPrompt {
    /// The prompt's id.
    pub prompt: String,
    /// Its digest.
    pub digest: String,
    /// Whose answer it is.
    pub arm: Variant,
    /// When it came, in milliseconds since 1970.
    pub at_ms: i64,
    /// What it was.
    pub answer: TrialAnswer,
}

/// The file, open and locked, with what it holds.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    file: File,
    seen: HashMap<(String, Variant), AnsweredPrompt>,
}

/// Closing would do, but for a program that is started at this moment and has the file open until it runs.
impl Drop for Results {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Results {
    /// Opens the file, or makes it. What it holds has to be of the same models and prompts.
    pub fn open(path: &Path, subject: &TrialSubject, prompts: &[Prompt]) -> anyhow::Result<Self> {
        let shown = path.display();
        let mut options = File::options();
        let file = options.create(true).read(true).append(true).open(path);
        let mut file = file.with_context(|| format!("cannot open `{shown}`"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another trial is at work on `{shown}`"),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock `{shown}`"));
            }
        }
        let mut text = Vec::new();
        let read = (&mut file).take(MAX_BYTES + 1).read_to_end(&mut text);
        let length = read.with_context(|| format!("cannot read `{shown}`"))?;
        ensure!(
            length as u64 <= MAX_BYTES,
            "`{shown}` is longer than {MAX_BYTES} bytes, which no file of results is"
        );
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        if whole < text.len() {
            ensure!(
                is_ours(&text, whole, subject)?,
                "`{shown}` is no file of a trial's results, and stays as it is; `--results` names another"
            );
            text.truncate(whole);
            let cut = file.set_len(whole as u64);
            cut.with_context(|| format!("cannot take a cut line off `{shown}`"))?;
            file.seek(SeekFrom::End(0))?;
        }
        let text = String::from_utf8(text);
        let text = text.with_context(|| format!("`{shown}` is no text"))?;
        let mut results = Self {
            path: path.to_owned(),
            file,
            seen: HashMap::new(),
        };
        if text.is_empty() {
            let trial = subject.clone();
            results.append(&Head { trial })?;
        } else {
            results.take_up(&text, subject, prompts)?;
        }
        Ok(results)
    }

    fn take_up(
        &mut self,
        text: &str,
        subject: &TrialSubject,
        prompts: &[Prompt],
    ) -> anyhow::Result<()> {
        let shown = self.path.display();
        let known: HashMap<_, _> = prompts.iter().map(|it| (&*it.id, &*it.digest)).collect();
        let mut lines = text.lines().enumerate();
        let head = lines.next().map_or("", |(_, line)| line);
        let head: Head = serde_json::from_str(head).with_context(|| {
            format!("`{shown}`, line 1: no file of a trial's results; expected what is compared")
        })?;
        let TrialSubject {
            task,
            control,
            candidate,
            checks,
        } = &head.trial;
        ensure!(
            (task, control, candidate) == (&subject.task, &subject.control, &subject.candidate),
            "`{shown}` holds another trial, of task `{task}`, `{candidate}` against `{control}`; \
             `--results` names another file"
        );
        ensure!(
            checks.is_empty() || *checks == subject.checks,
            "`{shown}` was begun when the catalog asked something else of the answers to task `{task}`; \
             begin anew with another file (`--results`)"
        );
        for (number, line) in lines {
            let number = number + 1;
            let seen: AnsweredPrompt = serde_json::from_str(line).map_err(|error| {
                anyhow::anyhow!("`{shown}`, line {number}: no result of a trial: {error}")
            })?;
            match known.get(&*seen.prompt) {
                None => bail!(
                    "`{shown}`, line {number}: the prompts have no `{}`; a file of results belongs to its prompts",
                    seen.prompt
                ),
                Some(digest) if **digest != *seen.digest => bail!(
                    "`{shown}`, line {number}: prompt `{}` has changed since it was asked; give it another `id`, \
                     or begin anew with another file (`--results`)",
                    seen.prompt
                ),
                Some(_) => {}
            }
            let latency = seen.answer.latency_ms;
            ensure!(
                latency.is_finite() && latency >= 0.0,
                "`{shown}`, line {number}: `latencyMs` is {latency}; expected 0 or more"
            );
            let place = (seen.prompt.clone(), seen.arm);
            let (prompt, arm) = (&seen.prompt, seen.arm.name());
            ensure!(
                !self.seen.contains_key(&place),
                "`{shown}`, line {number}: {arm}'s answer to `{prompt}` is there twice"
            );
            self.seen.insert(place, seen);
        }
        Ok(())
    }

    /// What a model made of a prompt, where that was seen.
    pub fn get(&self, prompt: &str, arm: Variant) -> Option<&AnsweredPrompt> {
        self.seen.get(&(prompt.to_owned(), arm))
    }

    /// All that was seen, in no order.
    pub fn all(&self) -> impl Iterator<Item = &AnsweredPrompt> {
        self.seen.values()
    }

    /// Keeps what was seen, on the disk when this returns.
    pub fn add(&mut self, seen: AnsweredPrompt) -> anyhow::Result<()> {
        self.append(&seen)?;
        self.seen.insert((seen.prompt.clone(), seen.arm), seen);
        Ok(())
    }

    fn append(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        let line = serde_json::to_string(line)? + "\n";
        let written = self.file.write_all(line.as_bytes());
        let written = written.and_then(|()| self.file.sync_data());
        written.with_context(|| format!("cannot write `{}`", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn prompts() -> Vec<Prompt> {
        let prompt = |id: &str| Prompt {
            id: id.into(),
            kind: String::new(),
            messages: Vec::new(),
            schema: None,
            language: None,
            max_tokens: None,
            expect: Vec::new(),
            digest: format!("digest-{id}"),
        };
        ["a", "b"].map(prompt).into()
    }

    fn subject() -> TrialSubject {
        TrialSubject {
            task: "chat".into(),
            control: "old".into(),
            candidate: "new".into(),
            checks: "of-today".into(),
        }
    }

    fn seen(prompt: &str, arm: Variant) -> AnsweredPrompt {
        AnsweredPrompt {
            prompt: prompt.into(),
            digest: format!("digest-{prompt}"),
            arm,
            at_ms: 5,
            answer: TrialAnswer {
                fault: None,
                quality: None,
                latency_ms: 1.5,
                tokens: None,
                cost: None,
                chars: 3,
                holds: None,
            },
        }
    }

    #[test]
    fn a_cut_last_line_is_taken_off_and_every_other_fault_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let open = || Results::open(&path, &subject(), &prompts());
        let mut results = open().unwrap();
        results.add(seen("a", Variant::Control)).unwrap();
        results.add(seen("a", Variant::Candidate)).unwrap();
        assert!(
            open()
                .unwrap_err()
                .to_string()
                .contains("another trial is at work")
        );
        drop(results);
        let whole = fs::read_to_string(&path).unwrap();

        let third = serde_json::to_string(&seen("b", Variant::Control)).unwrap();
        for cut in [1, third.len() / 2, third.len()] {
            fs::write(&path, format!("{whole}{}", &third[..cut])).unwrap();
            let mut results = open().unwrap();
            assert_eq!(results.all().count(), 2);
            assert!(results.get("b", Variant::Control).is_none());
            results.add(seen("b", Variant::Control)).unwrap();
            drop(results);
            assert_eq!(
                fs::read_to_string(&path).unwrap(),
                format!("{whole}{third}\n")
            );
            assert_eq!(open().unwrap().all().count(), 3);
        }

        let changed = third.replace("digest-b", "digest-c");
        let stranger = third.replace("\"b\"", "\"z\"");
        let first = whole.lines().nth(1).unwrap();
        for (line, word) in [
            ("{}", "line 4: no result"),
            ("nothing", "line 4: no result"),
            (&*changed, "line 4: prompt `b` has changed"),
            (&*stranger, "line 4: the prompts have no `z`"),
            (first, "line 4: control's answer to `a` is there twice"),
        ] {
            fs::write(&path, format!("{whole}{line}\n")).unwrap();
            let told = open().unwrap_err().to_string();
            assert!(told.contains(word), "{told}");
        }
        fs::write(&path, whole.replace("\"old\"", "\"older\"")).unwrap();
        assert!(
            open()
                .unwrap_err()
                .to_string()
                .contains("holds another trial")
        );
        let without = whole.replace(",\"checks\":\"of-today\"", "");
        assert_ne!(without, whole);
        fs::write(&path, without).unwrap();
        assert_eq!(open().unwrap().all().count(), 2, "of an earlier release");
        fs::write(&path, whole.replace("of-today", "of-yesterday")).unwrap();
        assert!(
            open()
                .unwrap_err()
                .to_string()
                .contains("asked something else")
        );
        fs::write(&path, "something else\n").unwrap();
        assert!(open().unwrap_err().to_string().contains("line 1"));

        // A file that is somebody's loses nothing.
        for notes in [
            "a note without an end",
            "a note\nand another",
            "{\"trial\":",
        ] {
            fs::write(&path, notes).unwrap();
            let told = open().map(drop).map_err(|it| it.to_string());
            if notes.starts_with('{') {
                assert_eq!(told, Ok(()), "the beginning of our first line");
            } else {
                assert!(told.unwrap_err().contains("stays as it is"));
                assert_eq!(fs::read_to_string(&path).unwrap(), notes);
            }
        }
    }
}
