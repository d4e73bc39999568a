//! What can be seen without running anything: that no message and no table lost what the version before needs of it.
//! `docs/decisions/0021-expand-and-contract.md` has the rules.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, bail, ensure};

use super::previous::{self, Previous};
use crate::{
    tools,
    workspace::{Workspace, run},
};

const PROTO: &str = "proto";
const MIGRATIONS: &str = "crates/store/migrations";

/// The same bytes and the same JSON mean the same to both versions.
const RULES: &str = r#"{"version":"v2","breaking":{"use":["WIRE_JSON"]}}"#;

/// What takes something away that the version before may still read or write.
const TAKES_AWAY: [&str; 10] = [
    "DROP TABLE",
    "DROP COLUMN",
    "DROP INDEX",
    "ADD CONSTRAINT",
    "RENAME TO",
    "RENAME COLUMN",
    "SET NOT NULL",
    "ALTER COLUMN",
    "DELETE FROM",
    "TRUNCATE",
];

/// What follows may be missing in a row that the version before writes.
const ADDS: &str = "ADD COLUMN";

/// How a step begins that takes away what no supported version uses any more; the reason follows.
const CONTRACTS: &str = "-- contracts: ";

pub(super) fn check(workspace: &Workspace, previous: &Previous) -> anyhow::Result<()> {
    let before = previous::folder(workspace).join("before");
    previous.unpack(workspace, &[PROTO, MIGRATIONS], &before)?;
    messages(workspace, &before)?;
    for database in ["postgres", "sqlite"] {
        let folder = Path::new(MIGRATIONS).join(database);
        migrations(&before.join(&folder), &workspace.root().join(&folder))?;
    }
    eprintln!("messages and tables: nothing was taken away");
    fs::remove_dir_all(&before).with_context(|| format!("can't remove {}", before.display()))
}

fn messages(workspace: &Workspace, before: &Path) -> anyhow::Result<()> {
    let mut breaking = workspace.command(tools::buf(workspace)?);
    // A configuration is about the folder that buf runs in.
    breaking.current_dir(workspace.root().join(PROTO));
    breaking.args(["breaking", ".", "--config", RULES, "--against-config", RULES]);
    breaking.arg("--against").arg(before.join(PROTO));
    ensure!(run(&mut breaking)?.success(), "buf finds that the version before can't read these messages");
    Ok(())
}

/// Steps that were taken stay as they are: every database remembers their bytes, and both versions compare.
fn migrations(before: &Path, now: &Path) -> anyhow::Result<()> {
    let before = steps(before)?;
    let now = steps(now)?;
    for (name, step) in &before {
        match now.get(name) {
            Some(same) if same == step => {}
            Some(_) => bail!("{name} was changed: databases hold it as it was"),
            None => bail!("{name} is gone: databases hold it"),
        }
    }
    for (name, step) in now.iter().filter(|(name, _)| !before.contains_key(*name)) {
        if let Some(words) = taken_away(step) {
            bail!("{name} has {words}, which the version before may still need: see docs/decisions/0021");
        }
    }
    Ok(())
}

/// The words by which a step takes something away, unless it says that it does and why.
fn taken_away(step: &str) -> Option<&'static str> {
    if step.lines().any(|line| line.strip_prefix(CONTRACTS).is_some_and(|reason| !reason.trim().is_empty())) {
        return None;
    }
    let statements = step.lines().map(|line| line.split("--").next().unwrap_or_default());
    let text: Vec<String> = statements.flat_map(str::split_whitespace).map(str::to_ascii_uppercase).collect();
    let text = text.join(" ");
    let demands = |column: &str| column.contains("NOT NULL") && !column.contains("DEFAULT");
    TAKES_AWAY.into_iter().find(|words| text.contains(words)).or_else(|| {
        let columns = text.split(';').flat_map(|statement| statement.split(ADDS).skip(1));
        columns.into_iter().any(demands).then_some("ADD COLUMN … NOT NULL without a default")
    })
}

fn steps(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    entries
        .map(|entry| {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let step = fs::read_to_string(entry.path()).with_context(|| format!("can't read {name}"))?;
            Ok((name, step))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_takes_away_must_say_so() {
        assert_eq!(taken_away("ALTER TABLE events ADD COLUMN traceparent TEXT;"), None);
        assert_eq!(taken_away("ALTER TABLE a ADD COLUMN b INT NOT NULL DEFAULT 0, ADD COLUMN c INT;"), None);
        assert!(taken_away("ALTER TABLE a ADD COLUMN b INT DEFAULT 0, ADD COLUMN c INT NOT NULL;").is_some());
        assert_eq!(taken_away("-- we never DROP TABLE events\nCREATE TABLE a (b TEXT);"), None);
        assert_eq!(taken_away("alter table events\n  drop column told;"), Some("DROP COLUMN"));
        assert_eq!(taken_away("-- contracts: \nDROP TABLE a;"), Some("DROP TABLE"));
        assert_eq!(taken_away("-- contracts: nobody reads a since 0.3\nDROP TABLE a;"), None);
    }
}
