//! The version before this tree: which it is, its files, its program.

use std::{
    fmt, fs,
    fs::File,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    time::Instant,
};

use anyhow::{Context, bail, ensure};

use crate::workspace::{Workspace, run};

/// A commit.
#[derive(Debug)]
pub(super) struct Previous {
    commit: String,
    subject: String,
}

/// Where versions before this one are built, and kept.
pub(super) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target().join("previous")
}

impl Previous {
    /// The commit that `from` names; else HEAD where the tree has changes of its own, and the one before HEAD where it
    /// has none.
    ///
    /// # Errors
    /// Where there is no such commit: in a clone without its history, and in no clone at all.
    pub(super) fn find(workspace: &Workspace, from: Option<&str>) -> anyhow::Result<Self> {
        let changes = git(workspace, &["status", "--porcelain"]);
        let changes =
            changes.context("the version before this one is a commit, so this needs git and a clone")?;
        let revision = match from {
            Some(from) => from,
            None if changes.is_empty() => "HEAD~1",
            None => "HEAD",
        };
        let commit = git(workspace, &["rev-parse", "--quiet", "--verify", &format!("{revision}^{{commit}}")]);
        let Ok(commit) = commit else {
            let shallow = git(workspace, &["rev-parse", "--is-shallow-repository"]);
            if shallow.is_ok_and(|answer| answer == "true") {
                bail!(
                    "{revision} is not in this clone, which lacks its history: \
                     run `git fetch --deepen=1`, or clone with a depth of 2 or more"
                );
            }
            bail!("{revision} is no commit: name one with --from");
        };
        let subject = git(workspace, &["log", "-1", "--format=%s", &commit])?;
        Ok(Self { commit, subject })
    }

    /// Afterwards `into`, which is made anew, holds the commit's files: all of them, or those of the named folders.
    pub(super) fn unpack(&self, workspace: &Workspace, folders: &[&str], into: &Path) -> anyhow::Result<()> {
        if into.exists() {
            fs::remove_dir_all(into).with_context(|| format!("can't remove {}", into.display()))?;
        }
        fs::create_dir_all(into).with_context(|| format!("can't make {}", into.display()))?;
        let mut archive = workspace
            .command("git")
            .args(["archive", "--format=tar", &self.commit, "--"])
            .args(folders)
            .stdout(Stdio::piped())
            .spawn()
            .context("git did not start")?;
        let files = archive.stdout.take().context("git has no output")?;
        // Their time is now, not the commit's: cargo takes files older than what it built for built.
        let unpacked = run(Command::new("tar").args(["-x", "-m", "-C"]).arg(into).stdin(files))?;
        ensure!(archive.wait()?.success(), "git archive failed, its own words are above");
        ensure!(unpacked.success(), "tar failed, its own words are above");
        Ok(())
    }

    /// The commit's `staffetta` in the dev profile; built where it was not yet.
    ///
    /// It shares every dependency with this tree's build, and none of our own crates: a wrapper that does nothing makes
    /// those other crates to cargo. Else it would take one version's for the other's, as they have the same names.
    pub(super) fn binary(&self, workspace: &Workspace) -> anyhow::Result<PathBuf> {
        let folder = folder(workspace);
        let binary = folder.join(&self.commit).join("staffetta");
        if binary.is_file() {
            return Ok(binary);
        }
        fs::create_dir_all(binary.with_file_name("")).context("the version's folder can't be made")?;
        // One at a time: they are all built in the same place.
        let lock = File::create(folder.join("lock")).context("the lock can't be made")?;
        lock.lock().context("the lock can't be had")?;
        if binary.is_file() {
            return Ok(binary);
        }
        eprintln!("building {self}");
        let start = Instant::now();
        let source = folder.join("source");
        self.unpack(workspace, &[], &source)?;
        let wrapper = folder.join("rustc");
        fs::write(&wrapper, "#!/bin/sh\nexec \"$@\"\n").context("the wrapper can't be written")?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
        let results = folder.join("results");
        let mut build =
            workspace.cargo(["build", "--locked", "--package", "staffetta", "--bin", "staffetta"]);
        build
            .current_dir(&source)
            .env("CARGO_TARGET_DIR", &results)
            .env("CARGO_BUILD_BUILD_DIR", workspace.target())
            .env("RUSTC_WORKSPACE_WRAPPER", &wrapper)
            .env("CARGO_INCREMENTAL", "0");
        let built = run(&mut build)?;
        ensure!(built.success(), "{self} does not build");
        let aside = binary.with_extension(format!("new-{}", process::id()));
        fs::copy(results.join("debug").join("staffetta"), &aside).context("the program can't be copied")?;
        fs::rename(&aside, &binary).context("the program can't be put in its place")?;
        for done in [source, results] {
            fs::remove_dir_all(&done).with_context(|| format!("can't remove {}", done.display()))?;
        }
        eprintln!("built in {:.0} s", start.elapsed().as_secs_f32());
        Ok(binary)
    }
}

impl fmt::Display for Previous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", &self.commit[..12.min(self.commit.len())], self.subject)
    }
}

/// What git prints, without the end of its last line.
fn git(workspace: &Workspace, args: &[&str]) -> anyhow::Result<String> {
    let output = workspace.command("git").args(args).stderr(Stdio::null()).output();
    let output = output.context("git did not start")?;
    ensure!(output.status.success(), "git {} failed", args.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
