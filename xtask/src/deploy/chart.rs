//! The Helm chart: rendered as its users would, and every object held against the schemas of its kind.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use super::{Site, answer_of, fault_of, files_below};

const CHART: &str = "deploy/helm/staffetta";

/// Values that the chart must refuse, below `ci`. The first line of each says with which words.
const REFUSED: &str = "refused";
/// What they are added to: the least that renders.
const MINIMAL: &str = "minimal-values.yaml";

/// The oldest version that the chart takes, one that is widely run, and the newest.
const KUBERNETES: [&str; 3] = ["1.30.0", "1.34.0", "1.37.0"];
/// The version before the oldest, and what the chart says of it.
const TOO_OLD: (&str, &str) = ("1.29.0", "incompatible with Kubernetes v1.29.0");

/// What a cluster has beside Kubernetes itself where all of the chart can be used.
const KINDS: [&str; 3] = ["monitoring.coreos.com/v1", "keda.sh/v1alpha1", "gateway.networking.k8s.io/v1"];

pub(super) fn check(site: &Site) -> anyhow::Result<Vec<String>> {
    let chart = without_dependencies(site)?;
    let mut values = files_below(&site.path(CHART).join("ci"), &["yaml"])?;
    let refused: Vec<PathBuf> = values.extract_if(.., |file| is_below(file, REFUSED)).collect();
    ensure!(!values.is_empty(), "{CHART}/ci has no values to render the chart with");
    let mut faults = Vec::new();
    let mut rendered = Vec::new();
    for file in &values {
        let lint = fault_of(helm(site, "lint").arg("--strict").arg(&chart).arg("--values").arg(file))?;
        faults.extend(lint);
        for version in KUBERNETES {
            match render(site, &chart, file, version) {
                Ok(yaml) => rendered.push((version, yaml)),
                Err(error) => faults.push(format!("{error:#}")),
            }
        }
    }
    faults.extend(objects(site, &rendered)?);
    faults.extend(refusals(site, &chart, &refused)?);
    Ok(faults)
}

fn is_below(file: &Path, folder: &str) -> bool {
    file.parent().is_some_and(|parent| parent.ends_with(folder))
}

/// A copy of the chart that wants no other chart: those are fetched from their repository by `helm dependency build`,
/// and are not ours to check.
fn without_dependencies(site: &Site) -> anyhow::Result<PathBuf> {
    let chart = site.scratch.join("chart").join("staffetta");
    copy_folder(&site.path(CHART), &chart)?;
    let file = chart.join("Chart.yaml");
    let text = fs::read_to_string(&file).with_context(|| format!("can't read {CHART}/Chart.yaml"))?;
    let mut inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        let is_key = line.starts_with(|first: char| first.is_ascii_alphabetic());
        inside = if is_key { line.starts_with("dependencies:") } else { inside };
        if !inside {
            kept += line;
            kept.push('\n');
        }
    }
    ensure!(
        ["name: nats", "condition: nats.enabled"]
            .iter()
            .all(|line| text.contains(line) && !kept.contains(line)),
        "{CHART}/Chart.yaml does not name the chart of NATS as one that may be left out"
    );
    fs::write(file, kept)?;
    Ok(chart)
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("can't read {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        // What `helm dependency build` left here.
        if name == "charts" || name == "Chart.lock" {
            continue;
        }
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to.join(name))?;
        } else {
            fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}

/// A Helm that neither reads nor writes what its user has set up.
fn helm(site: &Site, command: &str) -> Command {
    let mut helm = site.workspace.command(&site.tools.helm);
    let home = site.scratch.join("helm");
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        helm.env(name, &home);
    }
    helm.arg(command);
    helm
}

fn template(site: &Site, chart: &Path, values: &Path, version: &str) -> Command {
    let mut helm = helm(site, "template");
    helm.arg("staffetta").arg(chart).args(["--namespace", "messaging", "--kube-version", version]);
    helm.args(KINDS.map(|kind| format!("--api-versions={kind}"))).arg("--values").arg(values);
    helm
}

fn render(site: &Site, chart: &Path, values: &Path, version: &str) -> anyhow::Result<PathBuf> {
    let name = values.file_stem().unwrap_or_default().display().to_string();
    let yaml = answer_of(&mut template(site, chart, values, version))
        .with_context(|| format!("{name} on Kubernetes {version}"))?;
    let file = site.scratch.join(format!("{name}-{version}.yaml"));
    fs::write(&file, yaml)?;
    Ok(file)
}

/// Every object is one of its kind, with no field that its kind does not know.
fn objects(site: &Site, rendered: &[(&str, PathBuf)]) -> anyhow::Result<Vec<String>> {
    let custom = site.scratch.join("custom.json");
    let mut check = site.python("tests/deploy/tools/objects.py");
    check.arg(&custom);
    for (version, file) in rendered {
        let mut argument = OsString::from(format!("{version}="));
        argument.push(file);
        check.arg(argument);
    }
    let mut faults: Vec<String> = fault_of(&mut check)?.into_iter().collect();
    let mut check = site.workspace.command("node");
    check.arg(site.path("tests/deploy/tools/custom.mjs")).arg(&site.tools.node_modules).arg(&custom);
    faults.extend(fault_of(&mut check)?);
    Ok(faults)
}

/// Wrong values are refused, and the words name what is wrong.
fn refusals(site: &Site, chart: &Path, files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let minimal = site.path(CHART).join("ci").join(MINIMAL);
    let [oldest, ..] = KUBERNETES;
    let mut faults = Vec::new();
    for file in files {
        let text = fs::read_to_string(file)?;
        let words = text.lines().next().and_then(|line| line.strip_prefix("# refused: "));
        let words = words.with_context(|| format!("{} does not say `# refused: …` first", file.display()))?;
        let mut template = template(site, chart, &minimal, oldest);
        faults.extend(not_refused(template.arg("--values").arg(file), &file.display().to_string(), words)?);
    }
    let (version, words) = TOO_OLD;
    faults.extend(not_refused(&mut template(site, chart, &minimal, version), version, words)?);
    Ok(faults)
}

fn not_refused(command: &mut Command, what: &str, words: &str) -> anyhow::Result<Option<String>> {
    Ok(match fault_of(command)? {
        Some(said) if said.contains(words) => None,
        Some(said) => Some(format!("{what} is refused, but not with {words:?}: {said}")),
        None => Some(format!("{what} is taken")),
    })
}
