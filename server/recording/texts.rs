//! Prompts and answers, of the tasks that an admin names, for those who look into one request.
//!
//! No task is named by default, and then no text is copied anywhere. What is kept is what left this server and
//! what came back: where a task masks values, their placeholders. Keeping never delays a call: what finds no
//! room on its way to the database is dropped and counted.

use std::{collections::HashSet, future::Future, pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::timeout,
};

use crate::_core::errors::in_full;

/// Bytes of a prompt, and of an answer, that are kept at most.
const MOST: usize = 16 * 1024;
/// Messages of a prompt that are kept, at most: one without a text takes room as well.
const MOST_MESSAGES: usize = 256;
/// Requests whose texts may be on their way to the database; 8 MB at most.
const LIMIT: usize = 256;
/// Requests whose texts are stored at once.
const AT_ONCE: usize = 32;
/// How long they may take to be stored.
const PATIENCE: Duration = Duration::from_secs(12);
const DROPPED: &str = "ai_texts_dropped_total";

/// One message of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptMessage {
    /// Who said it: `system`, `user`, `assistant`, `tool`.
    pub role: String,
    /// What.
    pub text: String,
}

/// The texts of one call of models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallTexts {
    /// The request.
    pub request_id: String,
    /// When it began, in milliseconds since 1970.
    pub at_ms: i64,
    /// Whose it was, where that is known.
    pub user_id: Option<i64>,
    /// For which task.
    pub task: String,
    /// What was asked, the oldest message first.
    pub prompt: Vec<PromptMessage>,
    /// What came back; none where nothing did.
    pub answer: Option<String>,
    /// Whether something did not fit.
    pub is_cut: bool,
    /// Values that placeholders stand for.
    pub masked: u32,
}

/// Where texts are kept.
#[async_trait]
pub trait TextSink: Send + Sync {
    /// Stores them all.
    async fn keep_texts(&self, texts: &[CallTexts]) -> anyhow::Result<()>;
}

/// Takes texts of some tasks.
#[derive(Clone, Default)]
pub struct Keep(Option<Arc<KeptTexts>>);

struct KeptTexts {
    tasks: HashSet<String>,
    sender: Sender<CallTexts>,
    receiver: Mutex<Option<Receiver<CallTexts>>>,
}

impl Keep {
    /// Texts of these tasks; of none, nothing is ever taken.
    pub fn of(tasks: impl IntoIterator<Item = String>) -> Self {
        let tasks: HashSet<String> = tasks.into_iter().collect();
        if tasks.is_empty() {
            return Self(None);
        }
        let (sender, receiver) = channel(LIMIT);
        Self(Some(Arc::new(KeptTexts {
            tasks,
            sender,
            receiver: Mutex::new(Some(receiver)),
        })))
    }

    /// Whether texts of any task are kept.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether those of this task are.
    pub fn has(&self, task: &str) -> bool {
        let kept = self.0.as_ref();
        kept.is_some_and(|kept| kept.tasks.contains(task))
    }

    /// Notes what a call asks, where texts of its task are kept. `texts` is only called then.
    pub fn begin(&self, task: &str, texts: impl FnOnce() -> CallTexts) -> Option<Note> {
        let kept = self.0.as_ref().filter(|kept| kept.tasks.contains(task))?;
        let mut texts = texts();
        texts.is_cut |= fit(&mut texts.prompt);
        Some(Note {
            texts: Some(texts),
            sender: kept.sender.clone(),
        })
    }

    /// Stores what was taken, until `stop` resolves and nothing waits any more. To be run once.
    pub async fn run(self, sink: Arc<dyn TextSink>, stop: impl Future<Output = ()> + Send) {
        let receiver = self.0.and_then(|kept| kept.receiver.lock().take());
        let Some(mut receiver) = receiver else {
            return;
        };
        let mut stop = pin!(stop);
        let (mut is_stopping, mut has_failed) = (false, false);
        loop {
            let mut texts = Vec::new();
            tokio::select! {
                biased;
                _ = receiver.recv_many(&mut texts, AT_ONCE) => {}
                () = &mut stop, if !is_stopping => {
                    is_stopping = true;
                    receiver.close();
                    continue;
                }
            }
            if texts.is_empty() {
                return;
            }
            // A connection that died in silence would keep all that follow waiting.
            let result = timeout(PATIENCE, sink.keep_texts(&texts)).await;
            let result =
                result.unwrap_or_else(|_| Err(anyhow::anyhow!("the database does not answer")));
            if let Err(error) = &result {
                metrics::counter!(DROPPED).increment(texts.len() as u64);
                // A database that is away for long says so once.
                if !has_failed {
                    let error = in_full(error.as_ref());
                    tracing::error!(error, "texts of requests cannot be stored, and are dropped");
                }
            }
            has_failed = result.is_err();
        }
    }
}

/// The texts of a call that is under way; stored when it is dropped.
pub struct Note {
    texts: Option<CallTexts>,
    sender: Sender<CallTexts>,
}

impl Note {
    /// Adds to the answer.
    pub fn add(&mut self, text: &str) {
        let Some(texts) = &mut self.texts else {
            return;
        };
        let answer = texts.answer.get_or_insert_default();
        let room = MOST.saturating_sub(answer.len());
        let end = text.floor_char_boundary(room);
        answer.push_str(text.get(..end).unwrap_or_default());
        texts.is_cut |= end < text.len();
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if let Some(texts) = self.texts.take()
            && self.sender.try_send(texts).is_err()
        {
            metrics::counter!(DROPPED).increment(1);
        }
    }
}

/// Leaves the newest messages, as far as they fit; whether something is gone.
fn fit(prompt: &mut Vec<PromptMessage>) -> bool {
    let (mut room, mut is_cut) = (MOST, false);
    let mut first = prompt.len();
    for (at, said) in prompt.iter_mut().enumerate().rev().take(MOST_MESSAGES) {
        if room == 0 {
            break;
        }
        said.role.truncate(said.role.floor_char_boundary(32));
        // The end of a text is what the next one answers.
        let from = said
            .text
            .ceil_char_boundary(said.text.len().saturating_sub(room));
        is_cut |= from > 0;
        said.text.drain(..from);
        room -= said.text.len().min(room);
        first = at;
    }
    is_cut |= first > 0;
    prompt.drain(..first);
    is_cut
}

/// Describes the metrics to the installed recorder.
pub(super) fn describe() {
    metrics::describe_counter!(
        DROPPED,
        "Requests whose texts were to be kept, and found no room on their way to the database, or could not be stored"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(prompt: &[&str]) -> CallTexts {
        let said = |text: &&str| PromptMessage {
            role: "user".into(),
            text: (*text).into(),
        };
        CallTexts {
            request_id: "r".into(),
            at_ms: 0,
            user_id: None,
            task: "chat".into(),
            prompt: prompt.iter().map(said).collect(),
            answer: None,
            is_cut: false,
            masked: 0,
        }
    }

    #[derive(Default)]
    struct Memory(Mutex<Vec<CallTexts>>);

    #[async_trait]
    impl TextSink for Memory {
        async fn keep_texts(&self, texts: &[CallTexts]) -> anyhow::Result<()> {
            self.0.lock().extend_from_slice(texts);
            Ok(())
        }
    }

    async fn stored(keep: Keep) -> Vec<CallTexts> {
        let memory = Arc::new(Memory::default());
        keep.run(memory.clone(), std::future::ready(())).await;
        let texts = memory.0.lock();
        texts.clone()
    }

    #[tokio::test]
    async fn texts_of_a_task_that_is_not_named_are_not_even_read() {
        assert!(Keep::of([]).begin("chat", || unreachable!()).is_none());
        let keep = Keep::of(["chat".to_owned()]);
        assert!(keep.begin("email", || unreachable!()).is_none());
        assert!(stored(keep).await.is_empty());
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_and_says_what_is_cut() {
        let keep = Keep::of(["chat".to_owned()]);
        let mut short = keep.begin("chat", || texts(&["hello"])).unwrap();
        short.add("good ");
        short.add("day");
        drop(short);
        let long = "æ".repeat(MOST);
        let mut note = keep
            .begin("chat", || texts(&["gone", &long, "the newest"]))
            .unwrap();
        note.add(&long);
        drop(note);
        drop(keep.begin("chat", || texts(&["unanswered"])));
        let all = stored(keep).await;
        assert_eq!(all[0].answer.as_deref(), Some("good day"));
        assert!(!all[0].is_cut);
        let CallTexts {
            prompt,
            answer,
            is_cut,
            ..
        } = &all[1];
        assert!(*is_cut && prompt.len() == 2 && prompt[1].text == "the newest");
        assert!((MOST - 12..=MOST).contains(&(prompt[0].text.len() + 10)));
        assert_eq!(answer.as_ref().map(String::len), Some(MOST));
        assert_eq!(all[2].answer, None);
    }

    #[tokio::test]
    async fn messages_without_a_text_take_room_as_well() {
        let keep = Keep::of(["chat".to_owned()]);
        drop(keep.begin("chat", || texts(&[""; 40_000])));
        let all = stored(keep).await;
        assert_eq!(all[0].prompt.len(), MOST_MESSAGES);
        assert!(all[0].is_cut);
    }

    #[tokio::test]
    async fn what_finds_no_room_is_dropped_and_no_call_waits() {
        let keep = Keep::of(["chat".to_owned()]);
        for _ in 0..LIMIT + 5 {
            drop(keep.begin("chat", || texts(&["hello"])));
        }
        assert_eq!(stored(keep).await.len(), LIMIT);
    }
}
