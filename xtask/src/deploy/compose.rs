//! The compose file in each combination of its profiles, and the Dockerfile.

use std::{path::Path, process::Command};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{Site, answer_of, fault_of};

const FILE: &str = "docker-compose.yml";
const IMAGE: &str = "deploy/Dockerfile";

pub(super) fn check(site: &Site) -> anyhow::Result<Vec<String>> {
    let listed = answer_of(compose(site).args(["config", "--profiles"]))?;
    let profiles: Vec<&str> = listed.split_whitespace().collect();
    ensure!(profiles.len() < 8, "{FILE} has more profiles than can be combined: {profiles:?}");
    let mut faults = Vec::new();
    for chosen in combinations(&profiles) {
        let mut config = compose(site);
        config.args(chosen.iter().flat_map(|profile| ["--profile", profile])).arg("config");
        if let Some(fault) = fault_of(config.arg("--quiet"))? {
            faults.push(fault);
            continue;
        }
        let mut config = compose(site);
        config.args(chosen.iter().flat_map(|profile| ["--profile", profile]));
        let text = answer_of(config.args(["config", "--format", "json"]))?;
        let model: Value = serde_json::from_str(&text).context("compose's own JSON can't be read")?;
        faults.extend(missing_files(&model));
    }
    faults.sort();
    faults.dedup();
    Ok(faults)
}

/// The linter's every rule holds.
pub(super) fn check_image(site: &Site) -> anyhow::Result<Vec<String>> {
    let mut lint = site.workspace.command(&site.tools.hadolint);
    Ok(fault_of(lint.args(["--no-color", "--failure-threshold", "style", IMAGE]))?.into_iter().collect())
}

/// Compose as a stranger calls it, who has set nothing.
fn compose(site: &Site) -> Command {
    let mut compose = site.workspace.command(&site.tools.compose);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["COMPOSE_", "DOCKER_", "STAFFETTA_"].iter().any(|prefix| text.starts_with(prefix)) {
            compose.env_remove(&name);
        }
    }
    compose.args(["--file", FILE]);
    compose
}

fn combinations<'a>(profiles: &[&'a str]) -> Vec<Vec<&'a str>> {
    (0..1_u32 << profiles.len())
        .map(|set| (0..profiles.len()).filter(|n| set >> n & 1 == 1).map(|n| profiles[n]).collect())
        .collect()
}

/// Docker makes an empty folder of a file that is not there, and the container fails in its own way later.
fn missing_files(model: &Value) -> Vec<String> {
    let services = model["services"].as_object().into_iter().flatten();
    let mounted = services.flat_map(|(name, service)| {
        let volumes = service["volumes"].as_array().into_iter().flatten();
        let binds =
            volumes.filter(|volume| volume["type"] == "bind").filter_map(|volume| volume["source"].as_str());
        binds.map(move |source| (name.as_str(), source))
    });
    let read = ["configs", "secrets"].into_iter().flat_map(|kind| {
        let entries = model[kind].as_object().into_iter().flatten();
        entries.filter_map(|(name, entry)| Some((name.as_str(), entry["file"].as_str()?)))
    });
    let all = mounted.chain(read).filter(|(_, source)| !Path::new(source).exists());
    all.map(|(name, source)| format!("{FILE}: {name} wants {source}, which is not there")).collect()
}
