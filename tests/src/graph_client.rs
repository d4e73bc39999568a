//! A program that was written for Meta's Cloud API, on a library that nobody here wrote: `tests/clients/graph.py`.

use std::collections::HashMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::LIMIT;
use crate::registry::{Number, RegistryText, WABA};

/// What the program is told of the Cloud API: where it is, and who asks.
#[derive(Clone, Debug)]
pub struct GraphClient {
    base_url: String,
    number: Number,
    key: String,
    folder: PathBuf,
}

/// What each call of the program gave, by the call's name; the calls of one name in their order.
pub type Told = HashMap<String, Vec<Value>>;

impl GraphClient {
    pub(crate) fn new(api: &str, number: Number, folder: &Path) -> Self {
        let key = RegistryText::api_key(number.tenant);
        Self { base_url: format!("http://{api}/graph"), number, key, folder: folder.to_owned() }
    }

    /// The same program with another key.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        key.clone_into(&mut self.key);
        self
    }

    /// Runs a job of the program to its end, with the key as its token.
    ///
    /// # Errors
    /// When it does not end well: an answer that the library can't take is one reason.
    pub async fn run(&self, job: &str, arguments: &[(&str, &str)]) -> anyhow::Result<Told> {
        self.run_with_input(job, arguments, "", "").await
    }

    /// Hands webhooks to the library, each as the value of its signature header and its body. The library checks them
    /// with this secret.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn take_webhooks(&self, secret: &str, webhooks: &[(String, String)]) -> anyhow::Result<Told> {
        let lines: String =
            webhooks.iter().map(|(signature, body)| format!("{signature} {body}\n")).collect();
        self.run_with_input("webhooks", &[("to", "0")], secret, &lines).await
    }

    async fn run_with_input(
        &self,
        job: &str,
        arguments: &[(&str, &str)],
        secret: &str,
        input: &str,
    ) -> anyhow::Result<Told> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join("graph.py");
        let packages = staffetta_locate::graph_client(&env::current_exe()?);
        let packages = packages.context("no packages for tests/clients: run `cargo xtask tools`")?;
        let mut command = Command::new("python3");
        command.arg("-B").arg(script).arg(job).env("PYTHONPATH", packages).current_dir(&self.folder);
        command.env("GRAPH_TOKEN", &self.key).env("GRAPH_APP_SECRET", secret);
        let known = [
            ("base-url", self.base_url.as_str()),
            ("phone-id", self.number.phone_number_id),
            ("account-id", WABA),
        ];
        for (name, value) in known.iter().chain(arguments) {
            command.arg(format!("--{name}={value}"));
        }
        command.kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().context("python3 does not start")?;
        let mut stdin = process.stdin.take().context("it has no standard input")?;
        let running = async {
            let written = async {
                stdin.write_all(input.as_bytes()).await?;
                drop(stdin);
                anyhow::Ok(())
            };
            let (written, output) = tokio::join!(written, process.wait_with_output());
            written.and(Ok(output?))
        };
        let output =
            timeout(LIMIT, running).await.with_context(|| format!("the job {job} does not end"))??;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the job {job} ended with {}: {errors}", output.status);
        let mut told = Told::new();
        for line in String::from_utf8(output.stdout)?.lines() {
            let mut line: Value = serde_json::from_str(line)?;
            let call = line["call"].take();
            told.entry(call.as_str().context("a call has no name")?.to_owned()).or_default().push(line);
        }
        Ok(told)
    }
}
