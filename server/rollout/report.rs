//! The deployment log of a rollout, as Markdown.
