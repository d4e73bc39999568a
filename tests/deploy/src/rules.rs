//! `deploy/alerts`: what Prometheus records and warns of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

/// A file of rules.
#[derive(Clone, Debug)]
pub struct Rules {
    /// As it stands.
    pub text: String,
    rules: Vec<Rule>,
}

/// One rule: an alert, or a recording.
#[derive(Clone, Debug, Deserialize)]
pub struct Rule {
    /// The alert's name.
    pub alert: Option<String>,
    /// The name of the series that it records.
    pub record: Option<String>,
    /// The query.
    pub expr: String,
    /// Labels to add.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What people are told.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

/// `deploy/alerts/staffetta_test.yaml`, as far as it says which alerts are seen to fire.
#[derive(Deserialize)]
struct Tests {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    #[serde(default)]
    alert_rule_test: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    alertname: String,
    #[serde(default)]
    exp_alerts: Vec<Fired>,
}

#[derive(Deserialize)]
struct Fired {}

/// The alerts that a test sees fire, and those that one sees not fire.
///
/// # Errors
/// When there is no file of tests, or it is not of its form.
pub fn tested(workspace: &Path) -> anyhow::Result<[BTreeSet<String>; 2]> {
    let name = "deploy/alerts/staffetta_test.yaml";
    let text = fs::read_to_string(workspace.join(name)).with_context(|| format!("can't read {name}"))?;
    let file: Tests = serde_saphyr::from_str(&text).with_context(|| format!("{name} is no file of tests"))?;
    let (mut fired, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for Expected { alertname, exp_alerts } in file.tests.into_iter().flat_map(|test| test.alert_rule_test) {
        if exp_alerts.is_empty() {
            quiet.insert(alertname)
        } else {
            fired.insert(alertname)
        };
    }
    Ok([fired, quiet])
}

impl Rules {
    /// The rules of a workspace.
    ///
    /// # Errors
    /// When there are none, or they are not of their form.
    pub fn of(workspace: &Path) -> anyhow::Result<Self> {
        let name = "deploy/alerts/staffetta.yaml";
        let text = fs::read_to_string(workspace.join(name)).with_context(|| format!("can't read {name}"))?;
        let file: File =
            serde_saphyr::from_str(&text).with_context(|| format!("{name} is no file of rules"))?;
        Ok(Self { text, rules: file.groups.into_iter().flat_map(|group| group.rules).collect() })
    }

    /// All rules.
    #[must_use]
    pub fn all(&self) -> &[Rule] {
        &self.rules
    }

    /// The alerts, each with its name.
    pub fn alerts(&self) -> impl Iterator<Item = (&str, &Rule)> {
        self.rules.iter().filter_map(|rule| Some((rule.alert.as_deref()?, rule)))
    }

    /// Whether a series of this name is recorded.
    #[must_use]
    pub fn records(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| rule.record.as_deref() == Some(name))
    }

    /// The same rules for a Prometheus that is in a hurry: nothing is waited for, and each is looked at every second.
    #[must_use]
    pub fn hurried(&self) -> String {
        let mut text = String::new();
        for line in self.text.lines() {
            let indent = &line[..line.len() - line.trim_start().len()];
            match line.trim_start().split(':').next() {
                Some("for") => text += &format!("{indent}for: 1s"),
                Some("interval" | "keep_firing_for") => continue,
                _ => text += line,
            }
            text.push('\n');
        }
        text
    }
}
