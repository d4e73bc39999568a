//! Dashboards, alerts, runbooks, the chart and the page of metrics speak of the same things.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;
use staffetta_deploy_check::{Dashboard, Page, Rules, files_with, metric_names, tested};

/// What Prometheus makes by itself.
const OF_PROMETHEUS: [&str; 4] = ["up", "ALERTS", "ALERTS_FOR_STATE", "scrape_duration_seconds"];
/// What an alert must say, for whoever it wakes.
const ANNOTATIONS: [&str; 3] = ["summary", "description", "runbook_url"];
/// A database's user in docs/secrets.md.
const NO_METRICS: [&str; 1] = ["staffetta_b"];
const SEVERITIES: [&str; 2] = ["critical", "warning"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The metrics of a query that nobody describes.
fn unknown(query: &str, page: &Page, rules: &Rules) -> Vec<String> {
    let known =
        |name: &str| page.of_series(name).is_some() || rules.records(name) || OF_PROMETHEUS.contains(&name);
    metric_names(query).into_iter().filter(|name| !known(name)).collect()
}

#[test]
fn every_metric_that_is_shown_or_warned_of_stands_in_its_page() -> anyhow::Result<()> {
    let (page, rules) = (Page::of(&workspace())?, Rules::of(&workspace())?);
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    let mut look = |place: &str, query: &str| {
        faults.extend(unknown(query, &page, &rules).into_iter().map(|name| format!("{place}: {name}")));
        used.extend(
            metric_names(query).iter().filter_map(|name| page.of_series(name)).map(|metric| &metric.name),
        );
    };
    for dashboard in Dashboard::all_of(&workspace())? {
        for query in dashboard.queries() {
            look(&dashboard.uid, query);
        }
    }
    for rule in rules.all() {
        look(rule.alert.as_deref().or(rule.record.as_deref()).unwrap_or("a rule"), &rule.expr);
    }
    for metric in page.metrics().filter(|metric| !used.contains(&metric.name)) {
        println!("{} is neither shown nor warned of", metric.name);
    }
    assert!(faults.is_empty(), "not in docs/metrics.md: {faults:#?}");
    Ok(())
}

#[test]
fn every_metric_that_is_named_in_words_stands_in_its_page() -> anyhow::Result<()> {
    let (page, rules) = (Page::of(&workspace())?, Rules::of(&workspace())?);
    let mut faults = Vec::new();
    for file in texts()? {
        let text = fs::read_to_string(&file)?;
        for word in words(&text).filter(|word| word.starts_with("staffetta_") && !NO_METRICS.contains(word)) {
            // A beginning stands for all that begin so: `staffetta_stream_*`.
            let begins = page.metrics().any(|metric| metric.name.starts_with(word));
            let stands = begins || page.of_series(word).is_some() || rules.records(word);
            if !stands {
                faults.push(format!("{}: {word}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "not in docs/metrics.md: {faults:#?}");
    Ok(())
}

/// Pages for operators, and the chart with its queries.
fn texts() -> anyhow::Result<Vec<PathBuf>> {
    let docs = workspace().join("docs");
    let mut files = files_with(&docs, "md")?;
    files.extend(files_with(&docs.join("runbooks"), "md")?);
    let chart = workspace().join("deploy/helm/staffetta");
    files.extend(files_with(&chart, "yaml")?);
    for folder in ["templates", "ci"] {
        files.extend(files_with(&chart.join(folder), "yaml")?);
    }
    Ok(files)
}

/// Words that are no file's name.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.')
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| !word.contains('.'))
}

#[test]
fn every_alert_leads_to_its_runbook_and_every_runbook_belongs_to_an_alert() -> anyhow::Result<()> {
    let rules = Rules::of(&workspace())?;
    let pages: BTreeSet<String> = files_with(&workspace().join("docs/runbooks"), "md")?
        .iter()
        .filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()))
        .filter(|name| name != "README")
        .collect();
    let mut named = BTreeSet::new();
    let mut faults = Vec::new();
    for (alert, rule) in rules.alerts() {
        for annotation in ANNOTATIONS {
            if rule.annotations.get(annotation).is_none_or(String::is_empty) {
                faults.push(format!("{alert} has no {annotation}"));
            }
        }
        if !rule.labels.get("severity").is_some_and(|severity| SEVERITIES.contains(&severity.as_str())) {
            faults.push(format!("{alert} is of none of the severities {SEVERITIES:?}"));
        }
        let url = rule.annotations.get("runbook_url").map_or("", String::as_str);
        let page = url.rsplit('/').next().unwrap_or_default();
        let page = page.split('#').next().unwrap_or_default().trim_end_matches(".md");
        if pages.contains(page) {
            named.insert(page.to_owned());
        } else {
            faults.push(format!("{alert} leads to {url:?}, which is no page of docs/runbooks"));
        }
    }
    faults.extend(pages.difference(&named).map(|page| format!("no alert leads to docs/runbooks/{page}.md")));
    let index =
        fs::read_to_string(workspace().join("docs/runbooks/README.md")).context("there is no index")?;
    let missing = pages.iter().filter(|page| !index.contains(&format!("{page}.md")));
    faults.extend(missing.map(|page| format!("docs/runbooks/README.md does not name {page}.md")));
    assert!(faults.is_empty(), "{faults:#?}");
    Ok(())
}

#[test]
fn every_alert_is_seen_to_fire_and_not_to_fire() -> anyhow::Result<()> {
    let rules = Rules::of(&workspace())?;
    let [fired, quiet] = tested(&workspace())?;
    let alerts: BTreeSet<String> = rules.alerts().map(|(alert, _)| alert.to_owned()).collect();
    assert_eq!(
        alerts.difference(&fired).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "no test sees them fire"
    );
    assert_eq!(
        alerts.difference(&quiet).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "no test sees them not fire"
    );
    Ok(())
}

#[test]
fn dashboards_are_told_apart() -> anyhow::Result<()> {
    let dashboards = Dashboard::all_of(&workspace())?;
    let uids: BTreeSet<&str> = dashboards.iter().map(|dashboard| dashboard.uid.as_str()).collect();
    assert_eq!(uids.len(), dashboards.len(), "two dashboards have the same uid");
    Ok(())
}

/// What a pod gets from elsewhere: from secrets, from the chart itself, or not at all.
const NOT_IN_THE_CHART: [&str; 10] = [
    "data_dir",
    "master_key",
    "previous_master_key",
    "nats.listen",
    "nats.server",
    "nats.password",
    "nats.callout.issuer_seed",
    "nats.callout.xkey_seed",
    "database.url",
    "api.admin_key",
];

#[test]
fn the_chart_takes_every_key_of_the_configuration() -> anyhow::Result<()> {
    let described = fs::read_to_string(workspace().join("docs/configuration.md"))?;
    let keys = described.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split(" | ").collect();
        let key = cells.first()?.strip_prefix("| `")?.strip_suffix('`')?;
        // A key, a default and a meaning: other tables have two columns, or variables.
        (cells.len() >= 3 && key.starts_with(|c: char| c.is_ascii_lowercase())).then_some(key)
    });
    let keys: BTreeSet<&str> = keys.filter(|key| !NOT_IN_THE_CHART.contains(key)).collect();
    assert!(keys.len() > 20, "docs/configuration.md has lost its tables: {keys:?}");
    let schema = fs::read(workspace().join("deploy/helm/staffetta/values.schema.json"))?;
    let schema: Value = serde_json::from_slice(&schema)?;
    let mut taken = BTreeSet::new();
    gather_keys(&schema, &schema["properties"]["config"], "", &mut taken);
    let taken: BTreeSet<&str> = taken.iter().map(String::as_str).collect();
    assert_eq!(
        keys.difference(&taken).collect::<Vec<_>>(),
        Vec::<&&str>::new(),
        "the chart does not take them"
    );
    assert_eq!(
        taken.difference(&keys).collect::<Vec<_>>(),
        Vec::<&&str>::new(),
        "the chart takes them, and nobody else"
    );
    Ok(())
}

/// The keys below `config`, as the configuration writes them.
fn gather_keys(schema: &Value, node: &Value, path: &str, found: &mut BTreeSet<String>) {
    let node = match node["$ref"].as_str().and_then(|name| name.strip_prefix('#')) {
        Some(pointer) => schema.pointer(pointer).unwrap_or(node),
        None => node,
    };
    match node["properties"].as_object() {
        Some(properties) => {
            for (name, inner) in properties {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                gather_keys(schema, inner, &path, found);
            }
        }
        None if path.is_empty() => {}
        None => {
            found.insert(path.to_owned());
        }
    }
}
