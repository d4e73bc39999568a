//! `staffetta apply`, `get`, `export` and `rotate-master-key` as an operator meets them: the program itself, on a NATS of
//! its own.
#![expect(clippy::unwrap_used, reason = "whatever a test can't have makes it fail")]

use std::time::Duration;

use serde_json::Value;
use staffetta_testkit::NatsServer;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

const MASTER: &str = "the master key of last year";
const NEXT: &str = "the master key of this year";

struct Operator {
    nats: NatsServer,
    folder: TempDir,
}

/// What the program said: its exit code, its standard output and its standard error.
type Said = (i32, String, String);

impl Operator {
    async fn new() -> Self {
        Self { nats: NatsServer::start().await.unwrap(), folder: TempDir::new().unwrap() }
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    async fn says(&self, arguments: &[&str]) -> Said {
        self.says_with(&[("STAFFETTA__MASTER_KEY", MASTER)], arguments).await
    }

    async fn says_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_staffetta"));
        command.args(arguments).current_dir(self.folder.path()).kill_on_drop(true);
        command.env_remove("STAFFETTA_CONFIG").env("STAFFETTA__NATS__URL", self.nats.url());
        command.envs(variables.iter().copied());
        let output = timeout(Duration::from_secs(60), command.output()).await.unwrap().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// What it prints when all goes well.
    async fn prints(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.says(arguments).await;
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        out
    }

    /// What it complains of.
    async fn refuses(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.says(arguments).await;
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        err
    }
}

const TENANTS: &str = "[[tenant]]\nid = \"acme\"\nname = \"Acme\"\napi_keys = [\"a long random key\"]\n[[tenant]]\nid = \"globex\"\n";
const ORDERS: &str = "[[channel]]\nid = \"orders\"\ntenant = \"acme\"\nprovider = \"cloud_api\"\n\
    phone_number_id = \"106\"\naccess_token = \"s3cret\"\nrate = 80\n";

#[tokio::test]
async fn a_folder_is_applied_and_a_dry_run_tells_each_field() {
    let operator = Operator::new().await;
    operator.write("registry/a.toml", ORDERS);
    operator.write("registry/b.toml", TENANTS);
    operator.write("registry/notes.txt", "not for us");
    let added = "+ tenant.acme\n+ tenant.globex\n+ channel.orders\n";
    let dry = operator.prints(&["apply", "-f", "registry", "--dry-run"]).await;
    assert_eq!(dry, format!("{added}3 would change (dry run)\n"));
    assert_eq!(operator.prints(&["apply", "-f", "registry"]).await, format!("{added}3 changed\n"));
    assert_eq!(operator.prints(&["apply", "-f", "registry"]).await, "nothing to change\n");
    operator.write("registry/a.toml", &ORDERS.replace("80", "250").replace("s3cret", "s3cret2"));
    assert_eq!(
        operator.prints(&["apply", "-f", "registry", "--dry-run"]).await,
        "~ channel.orders (access_token, rate)\n    access_token: (secret) → (secret) changed\n    \
         rate: 80 → 250\n1 would change (dry run)\n"
    );
    operator.write("claim.toml", &ORDERS.replace("\"orders\"", "\"sales\"").replace("acme", "globex"));
    let claimed = "+ channel.sales\n! channel.sales takes the number of channel.orders\n";
    let dry = operator.prints(&["apply", "-f", "claim.toml", "--dry-run"]).await;
    assert_eq!(dry, format!("{claimed}1 would change (dry run)\n"));
    assert_eq!(operator.prints(&["apply", "-f", "claim.toml"]).await, format!("{claimed}1 changed\n"));
    assert_eq!(
        operator.prints(&["apply", "-f", "registry/b.toml", "--prune"]).await,
        "- channel.orders\n- channel.sales\n2 changed\n"
    );
}

#[tokio::test]
async fn what_is_wrong_is_named_by_file_line_and_key_and_nothing_is_written() {
    let operator = Operator::new().await;
    operator.write("a.toml", TENANTS);
    operator.write("b.toml", &ORDERS.replace("rate = 80", "rate = \"fast\""));
    let error = operator.refuses(&["apply", "-f", "a.toml", "-f", "b.toml"]).await;
    assert!(error.starts_with("error: b.toml: line 7: rate: invalid type"), "{error}");
    operator.write("b.toml", &ORDERS.replace("acme", "acmee"));
    let error = operator.refuses(&["apply", "-f", "a.toml", "-f", "b.toml"]).await;
    assert_eq!(error, "error: b.toml: line 3: channel.orders: its tenant acmee is not registered\n");
    let error = operator.refuses(&["apply", "-f", "a.toml", "-f", "a.toml"]).await;
    assert!(
        error.contains("line 2: tenant.acme: stands there twice, with one id: also a.toml: line 2"),
        "{error}"
    );
    operator.write("b.toml", ORDERS);
    let (code, _, error) = operator.says_with(&[], &["apply", "-f", "a.toml", "-f", "b.toml"]).await;
    assert_eq!(code, 1);
    assert!(
        error.starts_with("error: b.toml: line 6: channel.orders/access_token is a literal secret"),
        "{error}"
    );
    operator.write("c.toml", "# nothing");
    assert_eq!(operator.prints(&["apply", "-f", "c.toml"]).await, "nothing to change\n");
    assert_eq!(operator.prints(&["get"]).await.lines().count(), 1);
}

#[tokio::test]
async fn the_registry_is_shown_and_exported() {
    let operator = Operator::new().await;
    operator.write("a.toml", TENANTS);
    operator.write("b.toml", ORDERS);
    operator.prints(&["apply", "-f", "a.toml", "-f", "b.toml"]).await;
    let table = operator.prints(&["get"]).await;
    assert!(
        table.lines().nth(1).unwrap().starts_with("channel.orders  acme    3         cloud_api"),
        "{table}"
    );
    assert_eq!(operator.prints(&["get", "tenants"]).await.lines().count(), 3);
    let json: Value =
        serde_json::from_str(&operator.prints(&["get", "channel/orders", "-o", "json"]).await).unwrap();
    assert_eq!((json["revision"].as_u64(), json["entry"]["rate"].as_u64()), (Some(3), Some(80)));
    assert!(!json.to_string().contains("s3cret"));
    assert_eq!(operator.refuses(&["get", "channel/none"]).await, "error: channel.none is not registered\n");
    let export = operator.prints(&["export"]).await;
    assert!(
        export.contains("{ sealed = ") && export.contains("{ sha256 = ") && !export.contains("s3cret"),
        "{export}"
    );
    operator.write("export.toml", &export);
    assert_eq!(operator.prints(&["apply", "-f", "export.toml", "--prune"]).await, "nothing to change\n");
    let elsewhere = Operator::new().await;
    elsewhere.write("export.toml", &export);
    elsewhere.prints(&["apply", "-f", "export.toml"]).await;
    assert_eq!(elsewhere.prints(&["export"]).await, export);
}

#[tokio::test]
async fn the_master_key_is_replaced() {
    let operator = Operator::new().await;
    operator.write("a.toml", &(TENANTS.to_owned() + ORDERS));
    operator.prints(&["apply", "-f", "a.toml"]).await;
    let both = [("STAFFETTA__MASTER_KEY", NEXT), ("STAFFETTA__PREVIOUS_MASTER_KEY", MASTER)];
    let alone = [("STAFFETTA__MASTER_KEY", NEXT)];
    let (code, _, error) = operator.says_with(&alone, &["rotate-master-key"]).await;
    assert_eq!(code, 1);
    assert!(error.contains("channel.orders/access_token was sealed with another master key"), "{error}");
    let told = "~ channel.orders/access_token\n1 sealed anew, 0 had been before\n";
    let (code, out, _) = operator.says_with(&both, &["rotate-master-key"]).await;
    assert_eq!((code, out), (0, format!("{told}nothing needs previous_master_key any more\n")));
    for variables in [&both[..], &alone[..]] {
        let (code, out, _) = operator.says_with(variables, &["rotate-master-key"]).await;
        assert_eq!((code, out.lines().next()), (0, Some("0 sealed anew, 1 had been before")));
    }
    let (code, out, _) = operator.says_with(&alone, &["apply", "-f", "a.toml"]).await;
    assert_eq!((code, out.as_str()), (0, "nothing to change\n"));
}
