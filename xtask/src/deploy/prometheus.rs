//! What Prometheus and Alertmanager are given: their own tools read it.

use std::path::Path;

use super::{Site, fault_of, files_below};

const CONFIGURATION: &str = "deploy/prometheus";
const RULES: &str = "deploy/alerts";

pub(super) fn check(site: &Site) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    for folder in [CONFIGURATION, RULES] {
        for file in files_below(&site.path(folder), &["yaml", "yml"])? {
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            let fault = if name.starts_with("alertmanager") {
                let mut amtool = site.workspace.command(&site.tools.amtool);
                fault_of(amtool.arg("check-config").arg(&file))?
            } else if folder == CONFIGURATION {
                promtool(site, &["check", "config", "--syntax-only"], &file)?
            } else if name.ends_with("_test") {
                promtool(site, &["test", "rules"], &file)?
            } else {
                promtool(site, &["check", "rules"], &file)?
            };
            faults.extend(fault);
        }
    }
    Ok(faults)
}

fn promtool(site: &Site, arguments: &[&str], file: &Path) -> anyhow::Result<Option<String>> {
    fault_of(site.workspace.command(&site.tools.promtool).args(arguments).arg(file))
}
