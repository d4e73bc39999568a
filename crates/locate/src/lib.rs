//! Finds the servers that run beside Staffetta in tests, in the demo and on one machine: nats-server and PostgreSQL.
//!
//! It only looks; `cargo xtask tools` fetches what is missing. No dependencies, because `cargo xtask` builds first.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Names the `nats-server` to run; asked before anything is looked for.
pub const NATS_SERVER_VARIABLE: &str = "STAFFETTA_NATS_SERVER";

/// Names the folder that holds `initdb` and `postgres`; asked before anything is looked for.
pub const POSTGRES_BIN_VARIABLE: &str = "STAFFETTA_POSTGRES_BIN";

/// Names the folder that holds the Python packages of `tests/clients`; asked before anything is looked for.
pub const GRAPH_CLIENT_VARIABLE: &str = "STAFFETTA_GRAPH_CLIENT";

/// Names the built `staffetta`, for tests that run it as a process of its own.
pub const STAFFETTA_VARIABLE: &str = "STAFFETTA_BIN";

/// Names the `staffetta` of the version before, for the upgrade from it.
pub const PREVIOUS_VARIABLE: &str = "STAFFETTA_PREVIOUS";

/// The nats-server that `cargo xtask tools` fetches where none is installed.
pub const NATS_SERVER_PINNED: &str = "2.15.1";

/// A version's first two numbers. Two of them compare as versions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Grows with a change that breaks its users.
    pub major: u32,
    /// Grows with new features.
    pub minor: u32,
}

/// The oldest nats-server that keeps our promises: before 2.15, `sync_interval: always` costs a cluster one fsync a message.
pub const NATS_SERVER_OLDEST: Version = Version { major: 2, minor: 15 };

impl Version {
    /// The first `x.y` in what a program prints for `--version`, such as `nats-server: v2.15.1`.
    #[must_use]
    pub fn in_text(text: &str) -> Option<Self> {
        text.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
            let mut numbers = word.split('.');
            let major = numbers.next()?.parse().ok()?;
            let minor = numbers.next()?.parse().ok()?;
            Some(Self { major, minor })
        })
    }

    /// What `program --version` says of itself; none when it doesn't run or doesn't say.
    #[must_use]
    pub fn of(program: &Path) -> Option<Self> {
        Self::in_text(&answer(Command::new(program).arg("--version"))?)
    }
}

/// The nats-server to run: the one that [`NATS_SERVER_VARIABLE`] names, else the one on `PATH` if it is new enough,
/// else one that `cargo xtask tools` put into `tools/` of a folder above `near` (a binary below the target folder).
#[must_use]
pub fn nats_server(near: &Path) -> Option<PathBuf> {
    if let Some(named) = env::var_os(NATS_SERVER_VARIABLE) {
        return Some(named.into());
    }
    on_path("nats-server")
        .filter(|found| Version::of(found) >= Some(NATS_SERVER_OLDEST))
        .or_else(|| near.ancestors().map(fetched_nats_server).find(|file| file.is_file()))
}

/// Where `cargo xtask tools` puts the nats-server that it fetches into this target folder.
#[must_use]
pub fn fetched_nats_server(target: &Path) -> PathBuf {
    target.join("tools").join(format!("nats-server-{NATS_SERVER_PINNED}"))
}

/// The folder with the Python packages of `tests/clients`: the one that [`GRAPH_CLIENT_VARIABLE`] names, else the one
/// that `cargo xtask tools` filled in a folder above `near`.
#[must_use]
pub fn graph_client(near: &Path) -> Option<PathBuf> {
    if let Some(named) = env::var_os(GRAPH_CLIENT_VARIABLE) {
        return Some(named.into());
    }
    near.ancestors().map(fetched_graph_client).find(|folder| folder.is_dir())
}

/// Where `cargo xtask tools` puts the packages of `tests/clients` in this target folder.
#[must_use]
pub fn fetched_graph_client(target: &Path) -> PathBuf {
    target.join("tools").join("graph-client")
}

/// The folder of PostgreSQL's programs: the one that [`POSTGRES_BIN_VARIABLE`] names, else what `PATH`,
/// `pg_config` and Debian's layout (newest version first) lead to.
#[must_use]
pub fn postgres_bin() -> Option<PathBuf> {
    if let Some(named) = env::var_os(POSTGRES_BIN_VARIABLE) {
        return Some(named.into());
    }
    // A link on PATH leads to the real folder, where the other programs are.
    let on_path = on_path("initdb").and_then(|file| Some(file.canonicalize().ok()?.parent()?.to_owned()));
    let configured = || answer(Command::new("pg_config").arg("--bindir")).map(|line| line.trim().into());
    on_path
        .into_iter()
        .chain(std::iter::once_with(configured).flatten())
        .chain(std::iter::once_with(debian_postgres).flatten())
        .find(|folder| ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file()))
}

/// The built `staffetta`: the one that [`STAFFETTA_VARIABLE`] names, else the dev profile's in a target folder above
/// `near`.
#[must_use]
pub fn staffetta(near: &Path) -> Option<PathBuf> {
    if let Some(named) = env::var_os(STAFFETTA_VARIABLE) {
        return Some(named.into());
    }
    near.ancestors().map(|folder| folder.join("debug").join("staffetta")).find(|file| file.is_file())
}

/// The first file of this name in a folder of `PATH`.
#[must_use]
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn debian_postgres() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, bin)| bin).collect()
}

fn answer(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_what_programs_print() {
        assert_eq!(Version::in_text("nats-server: v2.15.1\n"), Some(NATS_SERVER_OLDEST));
        assert_eq!(Version::in_text("cargo-deny 0.20.2"), Some(Version { major: 0, minor: 20 }));
        assert_eq!(Version::in_text("2 fast 2 furious"), None);
    }

    #[test]
    fn versions_compare_by_number_and_an_unknown_one_is_too_old() {
        assert!(Version::in_text("2.9.10") < Some(NATS_SERVER_OLDEST));
        assert!(Version::in_text("3.0.0") > Some(NATS_SERVER_OLDEST));
        assert!(None < Some(NATS_SERVER_OLDEST));
    }
}
