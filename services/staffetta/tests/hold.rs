//! `staffetta hold` as an operator meets it: the program itself, on a database of its own.
#![expect(clippy::unwrap_used, reason = "whatever a test can't have makes it fail")]

use std::time::Duration;

use serde_json::{Value, json};
use staffetta_store::{ChannelHold, Store, StoreOptions};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

struct Operator {
    store: Store,
    url: String,
    _folder: TempDir,
}

/// What the program said: its exit code, its standard output and its standard error.
type Said = (i32, String, String);

impl Operator {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite:{}", folder.path().join("staffetta.db").display());
        let store = Store::connect(&url, &StoreOptions::default()).await.unwrap();
        store.migrate().await.unwrap();
        Self { store, url, _folder: folder }
    }

    async fn hold(&self, tenant: &str, channel: &str) {
        let hold = ChannelHold {
            tenant: tenant.parse().unwrap(),
            channel: channel.parse().unwrap(),
            class: "token".into(),
            code: 190,
            reason: "Error validating\u{1b}[2J access token".into(),
            since: "2026-11-22T09:30:00.5Z".parse().unwrap(),
        };
        self.store.put_hold(&hold).await.unwrap();
    }

    /// Who is still on hold.
    async fn held(&self) -> Vec<(String, String)> {
        let holds = self.store.holds(None).await.unwrap();
        holds.iter().map(|hold| (hold.tenant.to_string(), hold.channel.to_string())).collect()
    }

    async fn says(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_staffetta"));
        command.arg("hold").args(arguments).env("STAFFETTA__DATABASE__URL", &self.url).kill_on_drop(true);
        command.env_remove("STAFFETTA_CONFIG");
        let output = timeout(Duration::from_secs(60), command.output()).await.unwrap().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

#[tokio::test]
async fn holds_are_listed_for_people_and_for_programs() {
    let operator = Operator::new().await;
    assert_eq!(operator.says(&["list"]).await, (0, String::new(), "no channel is on hold\n".into()));
    assert_eq!(operator.says(&["list", "--json"]).await, (0, String::new(), String::new()));

    operator.hold("other", "shop").await;
    operator.hold("acme", "acme-orders").await;
    let table = "\
TENANT  CHANNEL      SINCE                 CLASS  CODE  REASON
acme    acme-orders  2026-11-22T09:30:00Z  token  190   Error validating\u{fffd}[2J access token
other   shop         2026-11-22T09:30:00Z  token  190   Error validating\u{fffd}[2J access token
";
    assert_eq!(operator.says(&["list"]).await, (0, table.into(), String::new()));
    let (code, lines, _) = operator.says(&["list", "--tenant", "acme", "--json"]).await;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = json!({
        "tenant": "acme", "channel": "acme-orders", "class": "token", "code": 190,
        "reason": "Error validating\u{1b}[2J access token", "since": "2026-11-22T09:30:00.5Z",
    });
    assert_eq!((code, lines), (0, vec![expected]));
}

#[tokio::test]
async fn a_hold_is_lifted_by_the_name_of_its_channel() {
    let operator = Operator::new().await;
    operator.hold("acme", "acme-orders").await;
    operator.hold("acme", "acme-bills").await;
    operator.hold("other", "acme-orders").await;
    let line =
        |tenant: &str| format!("lifted: {tenant} acme-orders (token 190): it tries again within seconds\n");

    let lifted = operator.says(&["lift", "acme-orders", "--tenant", "acme"]).await;
    assert_eq!(lifted, (0, line("acme"), String::new()));
    let left = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(tenant, channel)| ((*tenant).into(), (*channel).into())).collect()
    };
    assert_eq!(operator.held().await, left(&[("acme", "acme-bills"), ("other", "acme-orders")]));
    let gone = operator.says(&["lift", "acme-orders", "--tenant", "acme"]).await;
    assert_eq!(gone, (1, String::new(), "error: no channel acme-orders of acme is on hold\n".into()));

    assert_eq!(operator.says(&["lift", "acme-orders"]).await, (0, line("other"), String::new()));
    assert_eq!(operator.held().await, left(&[("acme", "acme-bills")]));
    let gone = operator.says(&["lift", "acme-orders"]).await;
    assert_eq!(gone, (1, String::new(), "error: no channel acme-orders is on hold\n".into()));
}

#[tokio::test]
async fn what_is_asked_wrongly_changes_nothing() {
    let operator = Operator::new().await;
    operator.hold("acme", "acme-orders").await;
    for arguments in [&[][..], &["lift"], &["lift", "Acme Orders"], &["list", "--tenant", "A"]] {
        let (code, out, _) = operator.says(arguments).await;
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
    }
    assert_eq!(operator.held().await.len(), 1);
}
