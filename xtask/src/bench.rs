//! `cargo xtask bench`: measures the release build.

use std::process::ExitCode;

use clap::ValueEnum;
use staffetta_locate::STAFFETTA_VARIABLE;

use crate::{
    tools::Tools,
    workspace::{Workspace, exit_code, run},
};

/// What can be measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Bench {
    /// Webhooks through ingress, beside raw publishing of the same payloads
    Ingress,
    /// Commands through the dispatcher to the simulator
    Dispatch,
    /// A backlog of webhooks through the recorder, beside raw inserts of the same rows
    Record,
    /// `POST /v1/messages`, beside publishing to SEND alone
    Api,
    /// Events to endpoints, with some of them dead and slow
    Delivery,
    /// A great registry against a small one
    Tenants,
    /// Memory at rest
    Idle,
}

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Dispatch => "dispatch",
            Self::Record => "record",
            Self::Api => "api",
            Self::Delivery => "delivery",
            Self::Tenants => "tenants",
            Self::Idle => "idle",
        }
    }
}

/// Builds what is measured and what measures, and answers with the latter's exit code. A figure that falls short of
/// its aim is shown, and is no failure.
pub(crate) fn run_one(workspace: &Workspace, bench: Bench, args: &[String]) -> anyhow::Result<ExitCode> {
    let tools = Tools::get(workspace)?;
    let packages = ["build", "--release", "--package", "staffetta", "--package", "staffetta-bench"];
    let built = run(&mut workspace.cargo(packages))?;
    if !built.success() {
        return Ok(exit_code(built));
    }
    let binaries = workspace.target().join("release");
    let mut measure = workspace.command(binaries.join("staffetta-bench"));
    measure.arg(bench.name()).args(args);
    measure.envs(tools.variables()).env(STAFFETTA_VARIABLE, binaries.join("staffetta"));
    Ok(exit_code(run(&mut measure)?))
}
