//! What can be said of files without knowing what they mean.

use std::{collections::BTreeSet, ffi::OsString, fs, path::PathBuf};

use anyhow::{Context, ensure};

use super::{Site, fault_of, files_below};
use crate::workspace::Workspace;

/// Writes the dashboards from their sources.
pub(super) const GENERATOR: &str = "deploy/dashboards/generate.py";

/// A file that the chart has a copy of, because a chart sees nothing outside itself.
const ALERTS: (&str, &str) = ("deploy/alerts/staffetta.yaml", "deploy/helm/staffetta/files/alerts.yaml");
/// The same of the folder's JSON files.
const DASHBOARDS: (&str, &str) = ("deploy/dashboards", "deploy/helm/staffetta/files/dashboards");

/// The chart's templates are no YAML before they are rendered.
const TEMPLATES: &str = "deploy/helm/staffetta/templates";

/// Each JSON and YAML file can be read, and no key stands twice in one place.
pub(super) fn parse(site: &Site) -> anyhow::Result<Vec<String>> {
    let mut files = files_below(&site.path("deploy"), &["yaml", "yml", "json"])?;
    files.retain(|file| !file.starts_with(site.path(TEMPLATES)));
    files.push(site.path("docker-compose.yml"));
    let mut read = site.python("tests/deploy/tools/parse.py");
    Ok(fault_of(read.args(files))?.into_iter().collect())
}

/// Nobody edited a dashboard by hand, or a source without generating.
pub(super) fn dashboards_are_generated(site: &Site) -> anyhow::Result<Vec<String>> {
    let stale = fault_of(site.python(GENERATOR).arg("--check"))?;
    Ok(stale
        .map(|stale| format!("{stale}\n`cargo xtask check-deploy --renew` generates them"))
        .into_iter()
        .collect())
}

/// The chart's copies are those of its files, byte for byte, and there are no others.
pub(super) fn copies_are_equal(site: &Site) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    let (original, copy) = ALERTS;
    let mut pairs = vec![(site.path(original), site.path(copy))];
    let (originals, copies) = DASHBOARDS;
    let names: BTreeSet<_> =
        json_names(site.path(originals))?.into_iter().chain(json_names(site.path(copies))?).collect();
    pairs.extend(names.iter().map(|name| (site.path(originals).join(name), site.path(copies).join(name))));
    for (original, copy) in pairs {
        if fs::read(&original).ok() != fs::read(&copy).ok() {
            faults.push(format!(
                "{} is not {}: `cargo xtask check-deploy --renew` copies it",
                copy.display(),
                original.display()
            ));
        }
    }
    Ok(faults)
}

/// Afterwards [`copies_are_equal`] finds nothing.
pub(super) fn copy(workspace: &Workspace) -> anyhow::Result<()> {
    let path = |relative: &str| workspace.root().join(relative);
    let (original, copy) = ALERTS;
    fs::copy(path(original), path(copy)).with_context(|| format!("can't copy {original} to {copy}"))?;
    let (originals, copies) = DASHBOARDS;
    fs::create_dir_all(path(copies)).with_context(|| format!("can't make the folder {copies}"))?;
    let kept = json_names(path(originals))?;
    ensure!(!kept.is_empty(), "{originals} has no dashboards");
    for name in json_names(path(copies))?.difference(&kept) {
        fs::remove_file(path(copies).join(name))?;
    }
    for name in &kept {
        fs::copy(path(originals).join(name), path(copies).join(name))?;
    }
    Ok(())
}

fn json_names(folder: PathBuf) -> anyhow::Result<BTreeSet<OsString>> {
    let entries = fs::read_dir(&folder).with_context(|| format!("can't read {}", folder.display()))?;
    let mut names = BTreeSet::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            names.extend(path.file_name().map(OsString::from));
        }
    }
    Ok(names)
}
