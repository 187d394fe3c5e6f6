//! Conversations and their messages: where they are kept, and how much of one is sent to a model.
