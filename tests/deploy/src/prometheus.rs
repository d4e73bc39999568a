//! A real Prometheus, which scrapes every second.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use staffetta_deploy_check::Rules;
use staffetta_testkit::{Process, until};
use staffetta_tests::free_port;

const START_LIMIT: Duration = Duration::from_secs(120);
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// The server, with the rules loaded; killed when dropped.
#[derive(Debug)]
pub(crate) struct Prometheus {
    url: String,
    http: reqwest::Client,
    process: Process,
}

impl Prometheus {
    /// Scrapes these addresses as the installation's own Prometheus does, but for the pace.
    pub(crate) async fn start(program: &Path, rules: &Rules, targets: Vec<String>) -> anyhow::Result<Self> {
        let mut process = Process::new("prometheus")?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let folder = process.folder().to_owned();
        fs::write(folder.join("rules.yaml"), rules.hurried())?;
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
             rule_files: [rules.yaml]\n\
             scrape_configs:\n  - job_name: staffetta\n    static_configs:\n      - targets: {targets:?}\n"
        );
        fs::write(folder.join("prometheus.yml"), config)?;
        let mut command = Command::new(program);
        command.arg("--config.file").arg(folder.join("prometheus.yml"));
        command.arg("--storage.tsdb.path").arg(folder.join("data"));
        command.args(["--web.listen-address", &address, "--log.level", "warn"]).current_dir(&folder);
        process.start(command)?;
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_LIMIT).build()?;
        let mut server = Self { url: format!("http://{address}"), http, process };
        let ready = until("prometheus to be ready", START_LIMIT, async || match server.process.poll_end() {
            Ok(None) => {
                let answer = server.http.get(format!("{}/-/ready", server.url)).send().await.ok()?;
                answer.status().is_success().then_some(Ok(()))
            }
            Ok(Some(status)) => Some(Err(anyhow::anyhow!("it ended ({status})"))),
            Err(error) => Some(Err(error)),
        });
        ready.await.flatten().with_context(|| server.process.log_end())?;
        Ok(server)
    }

    /// How many series the query finds now, those without a number not counted.
    pub(crate) async fn count(&self, query: &str) -> anyhow::Result<usize> {
        let data = self.ask("/api/v1/query", &[("query", query)]).await?;
        let is_number = |value: &Value| value.as_str().is_some_and(|value| value != "NaN");
        Ok(match data["resultType"].as_str() {
            Some("vector") => {
                let series = data["result"].as_array().into_iter().flatten();
                series.filter(|series| is_number(&series["value"][1])).count()
            }
            Some("matrix") => data["result"].as_array().map_or(0, Vec::len),
            Some("scalar") => usize::from(is_number(&data["result"][1])),
            other => bail!("an answer of the type {other:?}"),
        })
    }

    /// The values of a label, of all series or of those that a selector names.
    pub(crate) async fn label_values(
        &self,
        label: &str,
        selector: Option<&str>,
    ) -> anyhow::Result<Vec<String>> {
        let selector: Vec<_> = selector.map(|selector| ("match[]", selector)).into_iter().collect();
        let data = self.ask(&format!("/api/v1/label/{label}/values"), &selector).await?;
        let values = data.as_array().into_iter().flatten().filter_map(Value::as_str);
        Ok(values.map(str::to_owned).collect())
    }

    /// The names and labels of the alerts that are pending or firing.
    pub(crate) async fn alerts(&self) -> anyhow::Result<Vec<Value>> {
        let mut data = self.ask("/api/v1/alerts", &[]).await?;
        match data["alerts"].take() {
            Value::Array(alerts) => Ok(alerts),
            other => bail!("alerts are answered with {other}"),
        }
    }

    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let request = self.http.get(format!("{}{path}", self.url)).query(query);
        let mut answer: Value = request.send().await.context("prometheus does not answer")?.json().await?;
        if answer["status"] != "success" {
            bail!("{}", answer["error"].as_str().unwrap_or("an answer without success or error"));
        }
        Ok(answer["data"].take())
    }
}
