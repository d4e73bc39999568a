//! What the files of `deploy/` and the page of metrics say, for whoever holds them against each other.
//!
//! The tests of this package read files alone. Its program runs the product beside a real Prometheus, and asks that for
//! everything that dashboards and alerts ask for.

mod dashboards;
mod page;
mod promql;
mod rules;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

pub use dashboards::{Dashboard, Panel, Variable, VariableKind};
pub use page::{Kind, Metric, Page};
pub use promql::{metric_names, operands, with_variables};
pub use rules::{Rule, Rules, tested};

/// The files of a folder with this ending, sorted.
///
/// # Errors
/// When the folder can't be read.
pub fn files_with(folder: &Path, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == ending) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
