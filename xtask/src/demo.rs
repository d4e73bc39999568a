//! `cargo xtask demo`: builds Staffetta and shows it working.

use std::{os::unix::process::CommandExt, process::ExitCode};

use anyhow::anyhow;
use staffetta_locate::NATS_SERVER_VARIABLE;

use crate::{
    tools,
    workspace::{Workspace, exit_code, run},
};

/// Builds, then becomes `staffetta demo`, so that signals and the exit code are its own.
pub(crate) fn build_and_run(workspace: &Workspace, arguments: &[&str]) -> anyhow::Result<ExitCode> {
    let nats_server = tools::nats_server(workspace)?;
    let binary = workspace.dev_binary("staffetta");
    if binary.is_file() {
        eprintln!("building staffetta");
    } else {
        eprintln!("building staffetta; the first time takes some minutes, later ones seconds");
    }
    let built = run(&mut workspace.cargo(["build", "--package", "staffetta", "--bin", "staffetta"]))?;
    if !built.success() {
        return Ok(exit_code(built));
    }
    let mut demo = workspace.command(&binary);
    demo.arg("demo").args(arguments).env(NATS_SERVER_VARIABLE, nats_server);
    Err(anyhow!(demo.exec()).context(format!("{} did not start", binary.display())))
}
