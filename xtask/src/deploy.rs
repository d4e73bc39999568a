//! `cargo xtask check-deploy`: what is in `deploy/` holds, as far as it can be shown without a cluster.

mod chart;
mod compose;
mod files;
mod nats;
mod prometheus;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use staffetta_locate::STAFFETTA_VARIABLE;

use crate::{
    tools::{DeployTools, Prometheus, Tools},
    workspace::{Workspace, exit_code, run},
};

/// The package that runs the product beside a real Prometheus.
const PACKAGE: &str = "staffetta-deploy-check";

/// Finds what is wrong with some files; an error is a check that could not be made.
type Check = fn(&Site) -> anyhow::Result<Vec<String>>;

const CHECKS: [(&str, Check); 8] = [
    ("files", files::parse),
    ("dashboards", files::dashboards_are_generated),
    ("copies", files::copies_are_equal),
    ("chart", chart::check),
    ("compose", compose::check),
    ("image", compose::check_image),
    ("NATS", nats::check),
    ("Prometheus", prometheus::check),
];

/// Where the checks look, with what, and where they may write.
#[derive(Debug)]
struct Site<'a> {
    workspace: &'a Workspace,
    tools: DeployTools,
    scratch: PathBuf,
}

impl Site<'_> {
    /// A file or folder of the workspace.
    fn path(&self, relative: &str) -> PathBuf {
        self.workspace.root().join(relative)
    }

    /// A command in the workspace's root that sees Python's packages.
    fn python(&self, script: &str) -> Command {
        let mut command = self.workspace.command("python3");
        command.arg(self.path(script)).env("PYTHONPATH", &self.tools.python_packages);
        // A script that is only read leaves nothing beside itself.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// Makes what is generated anew: the dashboards, and the chart's copies of them and of the alerts.
pub(crate) fn renew(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    let generated = run(workspace.command("python3").arg(files::GENERATOR))?;
    if !generated.success() {
        return Ok(exit_code(generated));
    }
    files::copy(workspace)?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that reads files alone: seconds. Each check is made, whatever the others find.
pub(crate) fn check_files(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    let tools = DeployTools::get(workspace)?;
    let scratch = workspace.target().join("deploy-check");
    let _ = fs::remove_dir_all(&scratch); // of the run before, if there was one
    fs::create_dir_all(&scratch).with_context(|| format!("can't make the folder {}", scratch.display()))?;
    let site = Site { workspace, tools, scratch };
    // Beside each other: the tests of the alerts alone take as long as all the rest.
    let verdicts: Vec<_> = thread::scope(|scope| {
        let site = &site;
        let running = CHECKS.map(|(name, check)| (name, scope.spawn(move || timed(check, site))));
        running.into_iter().map(|(name, check)| (name, check.join())).collect()
    });
    let mut all_well = true;
    for (name, verdict) in verdicts {
        let (faults, took) = verdict.map_err(|_| anyhow::anyhow!("the check of {name} panicked"))?;
        let word = if faults.is_empty() { "ok" } else { "failed" };
        eprintln!("deploy, {name}: {word}, {:.1} s", took.as_secs_f32());
        for fault in &faults {
            eprintln!("  {}", fault.replace('\n', "\n  "));
        }
        all_well &= faults.is_empty();
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is wrong, and how long it took to see.
fn timed(check: Check, site: &Site) -> (Vec<String>, Duration) {
    let start = Instant::now();
    let faults = check(site).unwrap_or_else(|error| vec![format!("{error:#}")]);
    (faults, start.elapsed())
}

/// The files, what the pages say of each other, then the run.
pub(crate) fn check_all(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    let files = check_files(workspace)?;
    if files != ExitCode::SUCCESS {
        return Ok(files);
    }
    let pages = run(&mut workspace.cargo(["test", "--package", PACKAGE]))?;
    if !pages.success() {
        return Ok(exit_code(pages));
    }
    let built =
        run(&mut workspace.cargo(["build", "--package", "staffetta", "--package", PACKAGE, "--bins"]))?;
    if !built.success() {
        return Ok(exit_code(built));
    }
    check_run(workspace)
}

/// A run of the product that a real Prometheus watches: each query of a dashboard and each alert finds something, each
/// metric is as its page says, and each service is missed when it is gone. What it runs must have been built.
pub(crate) fn check_run(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    let (tools, prometheus) = (Tools::get(workspace)?, Prometheus::get(workspace)?);
    let mut watch = workspace.command(workspace.dev_binary(PACKAGE));
    watch.arg("--workspace").arg(workspace.root());
    watch.arg("--prometheus").arg(prometheus.prometheus).arg("--promtool").arg(prometheus.promtool);
    watch.envs(tools.variables()).env(STAFFETTA_VARIABLE, workspace.dev_binary("staffetta"));
    Ok(exit_code(run(&mut watch)?))
}

/// Runs a command to its end; its own words if it fails.
fn fault_of(command: &mut Command) -> anyhow::Result<Option<String>> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{} did not start", command.get_program().display()))?;
    if output.status.success() {
        return Ok(None);
    }
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().display().to_string();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Ok(Some(format!("{program} {} ({}):\n{said}", arguments.join(" "), output.status)))
}

/// What a command prints.
fn answer_of(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{} did not start", command.get_program().display()))?;
    anyhow::ensure!(
        output.status.success(),
        "{} failed ({}): {}",
        command.get_program().display(),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    String::from_utf8(output.stdout).context("a program's answer is not text")
}

/// The files below a folder with one of these endings, sorted.
fn files_below(folder: &Path, endings: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files_below(&path, endings)?);
        } else if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
