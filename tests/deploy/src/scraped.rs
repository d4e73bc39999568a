//! What each process shows, held against `docs/metrics.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use staffetta_deploy_check::{Kind, Page};
use tokio::time::{Instant, sleep};

use crate::world::World;

/// Labels that a page need not say: a histogram's own.
const LE: &str = "le";
/// Labels that the page promises where something fails, or where someone adds them.
const ONLY_SOMETIMES: [&str; 1] = ["error_type"];

/// What promtool minds, and why it stays.
const PROMTOOL_MAY_MIND: [(&str, &str); 1] = [(
    "_count\" suffix",
    "OpenTelemetry's own names of gauges end so: process_thread_count, db_client_connection_count",
)];

/// What was seen of one metric.
#[derive(Debug, Default)]
struct Seen {
    kind: String,
    labels: BTreeSet<String>,
}

/// How long whoever was just cut off from the rest may take to show everything again.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(2);

/// Compares until nothing is wrong, or the time is over; gives back what was wrong at last.
pub(crate) async fn compare_in_time(
    world: &World,
    page: &Page,
    promtool: &Path,
) -> anyhow::Result<Vec<String>> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let faults = compare(world, page, promtool).await?;
        if faults.is_empty() || Instant::now() > deadline {
            return Ok(faults);
        }
        sleep(PAUSE).await;
    }
}

/// Scrapes every process once more. Gives back each metric that the page does not name, or names otherwise, and each that
/// it names and nobody shows.
async fn compare(world: &World, page: &Page, promtool: &Path) -> anyhow::Result<Vec<String>> {
    let mut seen = BTreeMap::<String, Seen>::new();
    let mut faults = Vec::new();
    for (role, text) in world.scrape().await? {
        faults.extend(lint(promtool, &text)?.into_iter().map(|line| format!("promtool, of {role}: {line}")));
        read(&text, &mut seen);
    }
    for (name, Seen { kind, labels }) in &seen {
        let Some(metric) = page.metric(name) else {
            faults.push(format!("{name} ({kind}) is not in docs/metrics.md"));
            continue;
        };
        if kind != metric.kind.as_str() {
            faults.push(format!("{name} is a {kind}, and a {} in docs/metrics.md", metric.kind.as_str()));
        }
        for label in labels.iter().filter(|label| !metric.labels.contains(label)) {
            let is_own = (metric.kind == Kind::Histogram && label == LE) || name == "target_info";
            if !is_own {
                faults.push(format!("{name} has the label {label}, which docs/metrics.md does not name"));
            }
        }
        for label in metric.labels.iter().filter(|label| !labels.contains(*label)) {
            if !ONLY_SOMETIMES.contains(&label.as_str()) {
                faults.push(format!("{name} never has the label {label} of docs/metrics.md"));
            }
        }
    }
    for metric in page.metrics().filter(|metric| !seen.contains_key(&metric.name)) {
        if metric.is_rare {
            println!("          rare, and not seen: {}", metric.name);
        } else {
            faults.push(format!("{} is in docs/metrics.md, and nobody shows it", metric.name));
        }
    }
    Ok(faults)
}

/// Takes the text format apart: one `# TYPE` for each metric, then its series.
fn read(text: &str, seen: &mut BTreeMap<String, Seen>) {
    let mut name = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (metric, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            metric.clone_into(&mut name);
            kind.clone_into(&mut seen.entry(name.clone()).or_default().kind);
        } else if !line.starts_with('#')
            && let Some((_, labels)) = line.split_once('{')
        {
            let labels = label_names(labels);
            seen.entry(name.clone()).or_default().labels.extend(labels);
        }
    }
}

/// The names in `a="x",b="y"} 1`.
fn label_names(labels: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = String::new();
    let (mut inside, mut escaped) = (false, false);
    for c in labels.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => {
                if !inside {
                    names.push(name.trim_matches([',', ' ', '=']).to_owned());
                    name.clear();
                }
                inside = !inside;
            }
            '}' if !inside => break,
            _ if !inside => name.push(c),
            _ => {}
        }
    }
    names
}

/// What Prometheus' own tool has to say of a scrape.
fn lint(promtool: &Path, text: &str) -> anyhow::Result<Vec<String>> {
    let mut check = Command::new(promtool);
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = check.spawn().context("promtool did not start")?;
    // Read and said to the end before it answers: its answer is short.
    let mut input = running.stdin.take().context("promtool takes no input")?;
    input.write_all(text.as_bytes())?;
    drop(input);
    let output = running.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines = said.lines().filter(|line| !line.trim().is_empty());
    Ok(lines
        .filter(|line| !PROMTOOL_MAY_MIND.iter().any(|(words, _)| line.contains(words)))
        .map(str::to_owned)
        .collect())
}
