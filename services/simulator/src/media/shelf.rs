//! Where files are kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::types::{MB, essence, kinds};
use crate::graph_error::GraphError;
use crate::validate::MediaUse;

/// Beyond these the oldest files are forgotten.
const FILES: usize = 10_000;
const BYTES: usize = 512 * MB;

/// All files, of all numbers.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    files: HashMap<Box<str>, File>,
    order: VecDeque<Box<str>>,
    held: usize,
}

#[derive(Debug)]
pub(super) struct File {
    pub(super) number: Arc<str>,
    pub(super) mime: String,
    pub(super) sha256: Vec<u8>,
    pub(super) bytes: Bytes,
    /// When it is forgotten, in microseconds from the start.
    pub(super) until: u64,
}

impl Shelf {
    pub(super) fn put(&mut self, id: &str, file: File) {
        self.held += file.bytes.len();
        self.order.push_back(id.into());
        if let Some(before) = self.files.insert(id.into(), file) {
            self.held -= before.bytes.len();
        }
        while self.order.len() > FILES || self.held > BYTES {
            let Some(oldest) = self.order.pop_front() else { return };
            self.remove(&oldest);
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        if let Some(file) = self.files.remove(id) {
            self.held -= file.bytes.len();
        }
    }

    pub(super) fn get(&self, id: &str, now: u64) -> Option<&File> {
        self.files.get(id).filter(|file| now < file.until)
    }

    /// Whether a number may send these files, which must be its own; and what comes of it later if one is of
    /// the wrong kind.
    pub(crate) fn check(
        &self,
        number: &str,
        wanted: &[MediaUse],
        now: u64,
    ) -> Result<Option<GraphError>, GraphError> {
        let mut late = None;
        for MediaUse { kind, id } in wanted {
            let Some(file) = self.get(id, now).filter(|file| *file.number == *number) else {
                return Err(GraphError::parameter(format!(
                    "Param {kind}['id'] is not a valid whatsapp business account media attachment ID"
                )));
            };
            let fits = kinds(essence(&file.mime)).is_some_and(|(is, _)| is == *kind)
                // Any file may go as a document.
                || *kind == "document";
            if !fits {
                late = Some(GraphError::of(131_053));
            }
        }
        Ok(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_files_make_room() {
        let mut shelf = Shelf::default();
        for id in 0..=FILES {
            let file = File {
                number: "100".into(),
                mime: "image/png".into(),
                sha256: Vec::new(),
                bytes: Bytes::from_static(b"x"),
                until: 10,
            };
            shelf.put(&id.to_string(), file);
        }
        assert!(shelf.get("0", 0).is_none() && shelf.get("1", 0).is_some());
        assert_eq!((shelf.held, shelf.files.len()), (FILES, FILES));
        assert!(shelf.get("1", 10).is_none(), "its time is over");
    }
}
