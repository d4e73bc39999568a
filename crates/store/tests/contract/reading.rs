//! Conversations and their messages, as they are read back.

mod content;
mod finding;
mod fixtures;
mod marking;
mod paging;
