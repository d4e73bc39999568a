//! `cargo xtask upgrade-check`: this tree beside the version before it, and a rolling upgrade from the one to the other
//! and back.

mod compatible;
mod previous;

use std::{fs, process::ExitCode};

use anyhow::Context;
use staffetta_locate::{PREVIOUS_VARIABLE, STAFFETTA_VARIABLE};

use self::previous::Previous;
use crate::{
    tools::Tools,
    workspace::{Workspace, exit_code, run},
};

/// Compares what the two versions say of their messages and tables, builds both, and answers with the upgrade's exit
/// code. The version before is `from`, or else the last commit that this tree is not.
pub(crate) fn check(workspace: &Workspace, from: Option<&str>) -> anyhow::Result<ExitCode> {
    let previous = Previous::find(workspace, from)?;
    eprintln!("from {previous}");
    compatible::check(workspace, &previous)?;

    let tools = Tools::get(workspace)?;
    let old = previous.binary(workspace)?;
    let packages = ["build", "--package", "staffetta", "--package", "staffetta-upgrade"];
    let built = run(&mut workspace.cargo(packages))?;
    if !built.success() {
        return Ok(exit_code(built));
    }
    // A copy: whoever builds while the check runs would put a third version in its place.
    let new = previous::folder(workspace).join("this").join("staffetta");
    fs::create_dir_all(new.with_file_name("")).context("the folder of this version's copy can't be made")?;
    fs::copy(workspace.dev_binary("staffetta"), &new).context("this version can't be copied")?;
    let mut upgrade = workspace.command(workspace.dev_binary("staffetta-upgrade"));
    upgrade.envs(tools.variables()).env(PREVIOUS_VARIABLE, old).env(STAFFETTA_VARIABLE, new);
    Ok(exit_code(run(&mut upgrade)?))
}
