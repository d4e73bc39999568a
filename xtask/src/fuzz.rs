//! `cargo xtask fuzz`: bodies that nobody thought of, for the parser of webhooks.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus, Stdio},
};

use anyhow::Context;

use crate::workspace::{Workspace, exit_code, run};

const PACKAGE: &str = "staffetta-providers-fuzz";
const PROGRAM: &str = "fuzz-webhook";
/// Makes rustc tell libFuzzer which way a run took.
const WRAPPER: &str = "crates/providers/fuzz/rustc-with-coverage";
/// Where every body that was trouble is kept: `cargo test` replays them all.
const FINDINGS: &str = "crates/providers/tests/regressions";
const FIXTURES: &str = "crates/providers/tests/fixtures";
/// Long enough for several leaves beside each other, short enough for thousands of runs a second.
const LONGEST_BODY: u32 = 8192;
/// A finding up to this size is shown, so that it is not lost with the machine that found it.
const SHOWN: usize = 4096;

/// Looks for so many seconds; the first finding ends it, is written to [`FINDINGS`], and is the exit code's reason.
pub(crate) fn look_for(workspace: &Workspace, seconds: u32) -> anyhow::Result<ExitCode> {
    let mut build =
        workspace.cargo(["build", "--package", PACKAGE, "--features", "libfuzzer", "--bin", PROGRAM]);
    let built = run(build.env("RUSTC_WORKSPACE_WRAPPER", workspace.root().join(WRAPPER)))?;
    if !built.success() {
        return Ok(exit_code(built));
    }
    // What reached something new in an earlier run is where this one goes on from.
    let corpus = workspace.target().join(PROGRAM);
    fs::create_dir_all(&corpus).context("the fuzzer's corpus cannot be made")?;
    let findings = workspace.root().join(FINDINGS);
    let before = files(&findings)?;

    let mut fuzz = workspace.command(workspace.dev_binary(PROGRAM));
    fuzz.arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST_BODY}"))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        // A body that hangs, or fills the memory, is a finding too.
        .args(["-timeout=30", "-rss_limit_mb=1024", "-malloc_limit_mb=512"])
        .args(["-verbosity=0", "-print_final_stats=1"])
        .args([&corpus, &findings, &workspace.root().join(FIXTURES)]);
    let status = run_without_dictionary(&mut fuzz)?;
    for finding in files(&findings)?.difference(&before) {
        let body = fs::read(finding)?;
        eprintln!("\nfound: {} ({} bytes)", finding.display(), body.len());
        if body.len() <= SHOWN {
            eprintln!("{}", body.escape_ascii());
        }
        eprintln!("again: cargo test --package staffetta-providers --test regressions");
    }
    Ok(exit_code(status))
}

/// libFuzzer ends with the words that it found useful, which nobody asked for.
fn run_without_dictionary(fuzz: &mut Command) -> anyhow::Result<ExitStatus> {
    let mut fuzz = fuzz.stderr(Stdio::piped()).spawn().context("the fuzzer did not start")?;
    let mut is_dictionary = false;
    for line in fuzz.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).split(b'\n')) {
        let line = line?;
        let text = String::from_utf8_lossy(&line);
        is_dictionary |= text.starts_with("###### Recommended dictionary");
        if !is_dictionary {
            eprintln!("{text}");
        }
        is_dictionary &= !text.starts_with("###### End of");
    }
    Ok(fuzz.wait()?)
}

fn files(folder: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}
