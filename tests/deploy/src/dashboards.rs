//! `deploy/dashboards`: what Grafana shows.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::files_with;

/// One dashboard.
#[derive(Clone, Debug)]
pub struct Dashboard {
    /// Its address in Grafana.
    pub uid: String,
    /// In the order in which Grafana resolves them.
    pub variables: Vec<Variable>,
    /// Those that ask Prometheus.
    pub panels: Vec<Panel>,
    /// The queries of its annotations.
    pub annotations: Vec<String>,
}

/// A panel and its queries.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What stands above it.
    pub title: String,
    /// What it asks.
    pub queries: Vec<String>,
}

/// A variable.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name, without `$`.
    pub name: String,
    /// Where its values come from.
    pub kind: VariableKind,
    /// Whether all values can be chosen at once.
    pub has_all: bool,
    /// What is then put in, if not the values themselves: `.*` finds series without the label too.
    pub all: Option<String>,
}

/// Where the values of a variable come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VariableKind {
    /// The values of a label, of all series or of those that a selector names.
    LabelValues {
        /// `label_values`' first argument.
        selector: Option<String>,
        /// The label.
        label: String,
    },
    /// A fixed list.
    List(Vec<String>),
    /// The data source, which is the only one here.
    DataSource,
}

impl Dashboard {
    /// All of a workspace.
    ///
    /// # Errors
    /// When there are none, or one can't be read.
    pub fn all_of(workspace: &Path) -> anyhow::Result<Vec<Self>> {
        let files = files_with(&workspace.join("deploy/dashboards"), "json")?;
        ensure!(!files.is_empty(), "there are no dashboards");
        files
            .iter()
            .map(|file| {
                let json = serde_json::from_slice(&fs::read(file)?)?;
                Self::parse(&json).with_context(|| file.display().to_string())
            })
            .collect()
    }

    /// Reads one.
    fn parse(json: &Value) -> anyhow::Result<Self> {
        let uid = json["uid"].as_str().context("it has no uid")?.to_owned();
        let variables =
            list(&json["templating"]["list"]).map(Variable::parse).collect::<anyhow::Result<_>>()?;
        let mut panels = Vec::new();
        gather(&json["panels"], &mut panels)?;
        let annotations =
            list(&json["annotations"]["list"]).filter_map(|annotation| annotation["expr"].as_str());
        let annotations = annotations.map(str::to_owned).collect();
        Ok(Self { uid, variables, panels, annotations })
    }

    /// Every query of it, of variables too.
    pub fn queries(&self) -> impl Iterator<Item = &str> {
        let panels = self.panels.iter().flat_map(|panel| &panel.queries);
        let variables = self.variables.iter().filter_map(|variable| match &variable.kind {
            VariableKind::LabelValues { selector, .. } => selector.as_ref(),
            VariableKind::List(_) | VariableKind::DataSource => None,
        });
        panels.chain(&self.annotations).chain(variables).map(String::as_str)
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Panels stand in rows that are folded, too.
fn gather(panels: &Value, found: &mut Vec<Panel>) -> anyhow::Result<()> {
    for panel in list(panels) {
        gather(&panel["panels"], found)?;
        let queries: Vec<String> =
            list(&panel["targets"]).filter_map(|target| target["expr"].as_str()).map(str::to_owned).collect();
        if !queries.is_empty() {
            let title = panel["title"].as_str().context("a panel has no title")?.to_owned();
            found.push(Panel { title, queries });
        }
    }
    Ok(())
}

impl Variable {
    fn parse(json: &Value) -> anyhow::Result<Self> {
        let name = json["name"].as_str().context("a variable has no name")?.to_owned();
        let query = json["query"]["query"].as_str().or_else(|| json["query"].as_str()).unwrap_or_default();
        let kind = match json["type"].as_str() {
            Some("datasource") => VariableKind::DataSource,
            Some("query") => VariableKind::label_values(query)
                .with_context(|| format!("the query of ${name} is no label_values(…): {query:?}"))?,
            _ => VariableKind::List(query.split(',').map(|value| value.trim().to_owned()).collect()),
        };
        let has_all = json["includeAll"].as_bool().unwrap_or_default();
        let all = json["allValue"].as_str().filter(|all| !all.is_empty()).map(str::to_owned);
        Ok(Self { name, kind, has_all, all })
    }
}

impl VariableKind {
    /// `label_values(label)` or `label_values(selector, label)`.
    fn label_values(query: &str) -> Option<Self> {
        let inside = query.trim().strip_prefix("label_values(")?.strip_suffix(')')?;
        let (selector, label) = match inside.rsplit_once(',') {
            Some((selector, label)) => (Some(selector.trim().to_owned()), label.trim().to_owned()),
            None => (None, inside.trim().to_owned()),
        };
        Some(Self::LabelValues { selector, label })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variables_query_is_taken_apart() {
        let found = VariableKind::label_values("label_values(a{tenant=~\"$tenant\", x=\"y\"}, channel)");
        let selector = Some("a{tenant=~\"$tenant\", x=\"y\"}".to_owned());
        assert_eq!(found, Some(VariableKind::LabelValues { selector, label: "channel".into() }));
        assert_eq!(VariableKind::label_values("query_result(a)"), None);
    }
}
