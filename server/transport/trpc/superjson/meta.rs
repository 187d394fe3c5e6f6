//! superjson's `meta.values`: a tree of notes whose edges are whole paths.

use super::path;

/// superjson's `meta.values`: which paths hold which types.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    /// What the value itself is.
    kind: Option<&'static str>,
    /// What lies below it, by escaped path; below a set or a map the paths start there.
    below: Vec<(String, Meta)>,
}

impl Meta {
    /// The note of a root that is `undefined`.
    pub fn undefined() -> Self {
        Self::of("undefined")
    }

    fn of(kind: &'static str) -> Self {
        Self {
            kind: Some(kind),
            below: Vec::new(),
        }
    }

    /// Whether there is nothing to note.
    pub fn is_empty(&self) -> bool {
        self.kind.is_none() && self.below.is_empty()
    }

    /// The same notes for a value that lies at `path` (already escaped, as `2.0.0.result.data`).
    pub fn below(self, path: &str) -> Self {
        let below = match self {
            Self { kind: None, below } => below
                .into_iter()
                .map(|(inner, meta)| (format!("{path}.{inner}"), meta))
                .collect(),
            marked => vec![(path.to_owned(), marked)],
        };
        Self { kind: None, below }
    }

    /// The notes of two values that lie beside each other.
    pub fn and(mut self, other: Self) -> Self {
        self.kind = self.kind.or(other.kind);
        self.below.extend(other.below);
        self
    }

    /// Appends `,"meta":{"values":…,"v":1}`; nothing where there is nothing to note.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        buffer.extend_from_slice(br#","meta":{"values":"#);
        self.write_node(buffer);
        // `v: 1` says that `\` is escaped as well as `.`; without it `gpt.4\o` would lose its date.
        buffer.extend_from_slice(br#","v":1}"#);
    }

    fn write_node(&self, buffer: &mut Vec<u8>) {
        let Some(kind) = self.kind else {
            return self.write_below(buffer);
        };
        buffer.extend_from_slice(b"[\"");
        buffer.extend_from_slice(kind.as_bytes());
        buffer.push(b'"');
        if !self.below.is_empty() {
            buffer.push(b',');
            self.write_below(buffer);
        }
        buffer.push(b']');
    }

    fn write_below(&self, buffer: &mut Vec<u8>) {
        buffer.push(b'{');
        for (index, (path, meta)) in self.below.iter().enumerate() {
            if index > 0 {
                buffer.push(b',');
            }
            // Writing a text into memory cannot fail.
            let _ = serde_json::to_writer(&mut *buffer, path);
            buffer.push(b':');
            meta.write_node(buffer);
        }
        buffer.push(b'}');
    }
}

/// Notes taken on a walk, with the place that the walk is at.
#[derive(Debug, Default)]
pub(super) struct Notes {
    path: String,
    depth: usize,
    meta: Meta,
}

impl Notes {
    pub(super) fn into_meta(self) -> Meta {
        self.meta
    }

    /// Notes what the value here is.
    pub(super) fn mark(&mut self, kind: &'static str) {
        self.put(Meta::of(kind));
    }

    /// Notes a set or a map, with paths of their own inside.
    pub(super) fn container(&mut self, kind: &'static str, inside: impl FnOnce(&mut Self)) {
        let mut notes = Self::default();
        inside(&mut notes);
        self.put(Meta {
            kind: Some(kind),
            below: notes.meta.below,
        });
    }

    pub(super) fn at_index(&mut self, index: usize, inside: impl FnOnce(&mut Self)) {
        self.step(
            |path| path.push_str(itoa::Buffer::new().format(index)),
            inside,
        );
    }

    /// The reader refuses a whole value for a note at one of these names, so that one note is left out.
    pub(super) fn at_key(&mut self, key: &str, inside: impl FnOnce(&mut Self)) {
        if !path::is_forbidden(key) {
            self.step(|whole| path::escape_into(key, whole), inside);
        }
    }

    fn step(&mut self, write: impl FnOnce(&mut String), inside: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        // Not `is_empty`: the key itself may be.
        if self.depth > 0 {
            self.path.push('.');
        }
        write(&mut self.path);
        self.depth += 1;
        inside(self);
        self.depth -= 1;
        self.path.truncate(length);
    }

    fn put(&mut self, meta: Meta) {
        if self.depth == 0 {
            self.meta = meta;
        } else {
            self.meta.below.push((self.path.clone(), meta));
        }
    }
}
