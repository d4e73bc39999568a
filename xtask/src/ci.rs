//! `cargo xtask ci`: all that must hold before a change is taken in.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use crate::{
    deploy, fuzz, test, tools,
    workspace::{Workspace, exit_code, run},
};

type Step = fn(&Workspace) -> anyhow::Result<ExitCode>;

/// The quick ones first.
const STEPS: [(&str, Step); 8] = [
    ("format", format),
    ("supply chain", supply_chain),
    ("advisories", advisories),
    ("deploy", deploy::check_files),
    ("lints", lints),
    ("tests", |workspace| test::run_all(workspace, &[])),
    // What it runs was built with the tests.
    ("deploy, run", deploy::check_run),
    ("fuzz", |workspace| fuzz::look_for(workspace, FUZZ_SECONDS)),
];

const FUZZ_SECONDS: u32 = 30;

/// A snapshot of the advisories and a script that checks against it, for machines that can't reach the live database.
const ADVISORY_SNAPSHOT: &str = "../shared/advisories/check";

/// Stops at the first step that fails, with its exit code.
pub(crate) fn run_steps(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    let mut done: Vec<(&str, Duration)> = Vec::new();
    for (name, step) in STEPS {
        eprintln!("==> {name}");
        let start = Instant::now();
        let code = step(workspace)?;
        let took = start.elapsed();
        if code != ExitCode::SUCCESS {
            eprintln!("==> {name} failed after {:.1} s", took.as_secs_f32());
            return Ok(code);
        }
        eprintln!("==> {name} ok, {:.1} s", took.as_secs_f32());
        done.push((name, took));
    }
    eprintln!();
    for (name, took) in done {
        eprintln!("{name:<14}{:>7.1} s", took.as_secs_f32());
    }
    Ok(ExitCode::SUCCESS)
}

fn format(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    Ok(exit_code(run(&mut workspace.cargo(["fmt", "--all", "--check"]))?))
}

fn lints(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    let mut clippy = workspace.cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    Ok(exit_code(run(&mut clippy)?))
}

/// Licences, banned crates and sources. Offline: `cargo fetch` has brought all that it reads.
fn supply_chain(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    let deny = tools::cargo_deny(workspace)?;
    let fetched = run(&mut workspace.cargo(["fetch"]))?;
    if !fetched.success() {
        return Ok(exit_code(fetched));
    }
    let mut check = workspace.command(deny);
    check.args(["--offline", "check", "bans", "licenses", "sources"]);
    Ok(exit_code(run(&mut check)?))
}

fn advisories(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    let deny = tools::cargo_deny(workspace)?;
    let snapshot = workspace.root().join(ADVISORY_SNAPSHOT);
    let status = if snapshot.is_file() {
        run(workspace.command(snapshot).env("CARGO_DENY", deny))?
    } else {
        run(workspace.command(deny).args(["check", "advisories"]))?
    };
    Ok(exit_code(status))
}
