//! `docs/metrics.md`: the metrics that there are.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};

/// The page's tables.
#[derive(Clone, Debug)]
pub struct Page {
    metrics: BTreeMap<String, Metric>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// As Prometheus shows it, without a histogram's endings.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Labels that it may have.
    pub labels: Vec<String>,
    /// Whether it is there only once what it counts has happened.
    pub is_rare: bool,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Comes and goes.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
}

impl Kind {
    /// The word after `# TYPE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Page {
    /// Reads the page of a workspace.
    ///
    /// # Errors
    /// When there is none, or a row is not of the form of the others.
    pub fn of(workspace: &Path) -> anyhow::Result<Self> {
        Self::parse(
            &fs::read_to_string(workspace.join("docs/metrics.md")).context("can't read docs/metrics.md")?,
        )
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut metrics = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("| `")) {
            let metric = Metric::parse(line).with_context(|| format!("the row {line}"))?;
            let name = metric.name.clone();
            ensure!(metrics.insert(name.clone(), metric).is_none(), "{name} stands in two rows");
        }
        ensure!(!metrics.is_empty(), "there are no rows");
        Ok(Self { metrics })
    }

    /// All metrics, by name.
    pub fn metrics(&self) -> impl Iterator<Item = &Metric> {
        self.metrics.values()
    }

    /// The metric of this name, exactly.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.get(name)
    }

    /// The metric that has a series of this name: its own, or one of a histogram's.
    #[must_use]
    pub fn of_series(&self, name: &str) -> Option<&Metric> {
        self.metric(name).filter(|metric| metric.kind != Kind::Histogram).or_else(|| {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|ending| name.strip_suffix(ending))?;
            self.metric(base).filter(|metric| metric.kind == Kind::Histogram)
        })
    }
}

impl Metric {
    fn parse(row: &str) -> anyhow::Result<Self> {
        let cells: Vec<&str> = row.split('|').skip(1).map(str::trim).collect();
        let [name, kind, labels, meaning, ..] = cells.as_slice() else { bail!("it has too few cells") };
        let kind = match *kind {
            "c" => Kind::Counter,
            "g" => Kind::Gauge,
            "h" => Kind::Histogram,
            other => bail!("{other:?} is no type"),
        };
        ensure!(!meaning.is_empty(), "it has no meaning");
        let is_rare = meaning.starts_with("rare:");
        let labels = quoted(labels).map(str::to_owned).filter(|label| is_label(label)).collect();
        let name = quoted(name).next().context("it has no name")?.to_owned();
        ensure!(
            (kind == Kind::Counter) == name.ends_with("_total"),
            "a counter ends in _total, and nothing else does"
        );
        Ok(Self { name, kind, labels, is_rare })
    }
}

/// Not so `OTEL_RESOURCE_ATTRIBUTES`, of which a row speaks too.
fn is_label(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_all_of_a_metric() {
        let row = "| `a_total` | c | `x`, `y_z` | rare: how many, by `x` |";
        let labels = vec!["x".to_owned(), "y_z".to_owned()];
        let metric = Metric { name: "a_total".into(), kind: Kind::Counter, labels, is_rare: true };
        assert_eq!(Metric::parse(row).expect("it is a row"), metric);
        assert!(Metric::parse("| `a` | c | | a counter without its ending |").is_err());
        assert_eq!(Metric::parse("| `b` | g | | now |").expect("it is a row").labels, Vec::<String>::new());
    }

    #[test]
    fn a_histogram_has_three_kinds_of_series_and_none_of_its_own_name() {
        let page =
            Page::parse("| `d_seconds` | h | | how long |\n| `n_count` | g | | how many |").expect("a page");
        for ending in ["_bucket", "_sum", "_count"] {
            assert!(page.of_series(&format!("d_seconds{ending}")).is_some());
        }
        assert!(page.of_series("d_seconds").is_none());
        assert!(page.of_series("n_count").is_some());
        assert!(page.of_series("n").is_none());
    }
}
