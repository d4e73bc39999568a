//! `cargo xtask test`: every test of the workspace, against real servers.

use std::process::ExitCode;

use staffetta_locate::STAFFETTA_VARIABLE;

use crate::{
    tools::Tools,
    workspace::{Workspace, exit_code, run},
};

/// Answers with `cargo test`'s own exit code.
pub(crate) fn run_all(workspace: &Workspace, args: &[String]) -> anyhow::Result<ExitCode> {
    let tools = Tools::get(workspace)?;
    // All at once, so that the programs and the tests share one build of every dependency.
    let built = run(&mut workspace.cargo(["build", "--workspace", "--bins", "--tests"]))?;
    if !built.success() {
        return Ok(exit_code(built));
    }
    let mut test = workspace.cargo(["test", "--workspace", "--no-fail-fast"]);
    test.args(args).envs(tools.variables()).env(STAFFETTA_VARIABLE, workspace.dev_binary("staffetta"));
    Ok(exit_code(run(&mut test)?))
}
