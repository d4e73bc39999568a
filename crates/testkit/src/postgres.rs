//! A real PostgreSQL: one cluster for all tests of a process, with a database for each, or one of a caller's own.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, anyhow, ensure};
use rustix::process::geteuid;
use sqlx::{
    AssertSqlSafe, Connection, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::{sync::OnceCell, time::timeout};

use crate::{HeldPort, Process, until};

const INITDB_LIMIT: Duration = Duration::from_secs(300);
const START_LIMIT: Duration = Duration::from_secs(120);
const DATABASE_LIMIT: Duration = Duration::from_secs(120);

/// The superuser, who needs no password.
const USER: &str = "staffetta";

static SHARED: OnceCell<Postgres> = OnceCell::const_new();

/// A running cluster. It forgets everything with the test process, so it does not wait for the disk unless told to.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    port: HeldPort,
    databases: AtomicU32,
}

/// A database of its own, there until the test process ends.
#[derive(Clone, Debug)]
pub struct Database {
    name: String,
    url: String,
}

impl Postgres {
    /// The cluster of this test process, started by whoever asks first.
    ///
    /// # Errors
    ///
    /// When PostgreSQL is not installed or doesn't come up. The next caller tries again.
    pub async fn shared() -> anyhow::Result<&'static Self> {
        SHARED.get_or_try_init(|| Self::start_with(&[])).await
    }

    /// A cluster of its own, killed and removed when dropped. `settings` are names and values of its configuration,
    /// and win over the ones that tests have: `("fsync", "on")` makes it wait for the disk.
    ///
    /// # Errors
    ///
    /// As [`shared`](Self::shared), and when PostgreSQL does not take a setting; the error shows the end of its log.
    pub async fn start_with(settings: &[(String, String)]) -> anyhow::Result<Self> {
        let bin = staffetta_locate::postgres_bin().context(
            "no PostgreSQL: run `cargo xtask tools`, \
             or let STAFFETTA_POSTGRES_BIN name the folder with initdb and postgres",
        )?;
        let process = Process::new("postgres")?;
        let owner = Owner::of(process.folder())?;
        initdb(&bin, process.folder(), &owner, settings).await?;
        let port = HeldPort::pick().context("no free port for postgres")?;
        let mut server = Self { process, port, databases: AtomicU32::new(0) };
        server.launch(&bin, &owner).await?;
        Ok(server)
    }

    /// The process that all others of the cluster are children of.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A fresh, empty database with a name of its own.
    ///
    /// # Errors
    ///
    /// When the cluster is gone or full.
    pub async fn database(&self) -> anyhow::Result<Database> {
        self.create("template1").await
    }

    /// A copy of `template`, which costs less than its migrations. Nobody may be connected to it.
    ///
    /// # Errors
    ///
    /// As [`database`](Self::database), and while `template` is in use.
    pub async fn database_from(&self, template: &Database) -> anyhow::Result<Database> {
        self.create(&template.name).await
    }

    async fn create(&self, template: &str) -> anyhow::Result<Database> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        // Both names are ours: nothing to escape.
        let sql = format!("CREATE DATABASE {name} TEMPLATE {template}");
        let created = async {
            let mut admin = self.connect().await?;
            sqlx::query(AssertSqlSafe(sql)).execute(&mut admin).await?;
            admin.close().await
        };
        timeout(DATABASE_LIMIT, created)
            .await
            .with_context(|| format!("creating a database took longer than {DATABASE_LIMIT:?}"))?
            .with_context(|| format!("can't create a database from {template}"))?;
        let url = format!("postgres://{USER}@127.0.0.1:{}/{name}", self.port.number());
        Ok(Database { name, url })
    }

    /// Through the socket in our own folder, where no other server can answer.
    async fn connect(&self) -> sqlx::Result<PgConnection> {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(self.process.folder())
            .port(self.port.number())
            .username(USER)
            .database("postgres")
            .ssl_mode(PgSslMode::Disable);
        PgConnection::connect_with(&options).await
    }

    async fn launch(&mut self, bin: &Path, owner: &Owner) -> anyhow::Result<()> {
        let mut command = Command::new(bin.join("postgres"));
        command
            .arg("-D")
            .arg(self.process.folder().join("data"))
            .arg("-p")
            .arg(self.port.number().to_string());
        owner.run_as(&mut command, self.process.folder());
        self.process.start(command)?;
        let ready = until("postgres to be ready", START_LIMIT, async || match self.process.poll_end() {
            Ok(None) => self.connect().await.ok().map(Ok),
            Ok(Some(status)) => Some(Err(anyhow!("postgres ended at once ({status})"))),
            Err(error) => Some(Err(error)),
        });
        let connection = ready.await.flatten().with_context(|| self.process.log_end())?;
        connection.close().await.context("the first connection to postgres broke")
    }
}

impl Database {
    /// Its name in the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where clients connect: `postgres://staffetta@127.0.0.1:<port>/<name>`, over TCP, without a password.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Who runs the cluster: PostgreSQL refuses to be root, so that root hands it to another user.
#[derive(Debug)]
struct Owner(Option<User>);

#[derive(Debug)]
struct User {
    uid: u32,
    gid: u32,
}

impl Owner {
    /// Gives `folder` to the user who will run the cluster in it.
    fn of(folder: &Path) -> anyhow::Result<Self> {
        if !geteuid().is_root() {
            return Ok(Self(None));
        }
        let users = fs::read_to_string("/etc/passwd").context("can't read /etc/passwd")?;
        let user = User::named("postgres", &users)
            .or_else(|| User::named("nobody", &users))
            .context("no user postgres or nobody to run PostgreSQL, which refuses to be root")?;
        chown(folder, Some(user.uid), Some(user.gid))
            .with_context(|| format!("can't give away {}", folder.display()))?;
        Ok(Self(Some(user)))
    }

    fn run_as(&self, command: &mut Command, folder: &Path) {
        command.current_dir(folder);
        if let Self(Some(user)) = self {
            command.uid(user.uid).gid(user.gid);
        }
    }
}

impl User {
    fn named(name: &str, users: &str) -> Option<Self> {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let found = fields.next()? == name;
            let mut ids = fields.skip(1);
            let (uid, gid) = (ids.next()?.parse().ok()?, ids.next()?.parse().ok()?);
            found.then_some(Self { uid, gid })
        })
    }
}

async fn initdb(
    bin: &Path,
    folder: &Path,
    owner: &Owner,
    settings: &[(String, String)],
) -> anyhow::Result<()> {
    let data: PathBuf = folder.join("data");
    let mut command = Command::new(bin.join("initdb"));
    command.args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "-U", USER, "-D"]).arg(&data);
    owner.run_as(&mut command, folder);
    let mut command = tokio::process::Command::from(command);
    let output = timeout(INITDB_LIMIT, command.kill_on_drop(true).output())
        .await
        .with_context(|| format!("initdb took longer than {INITDB_LIMIT:?}"))?
        .context("initdb did not start")?;
    ensure!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
    fs::write(data.join("postgresql.auto.conf"), configuration(folder, settings))
        .context("can't write PostgreSQL's settings")
}

/// Of a setting that stands there twice, PostgreSQL takes the last.
fn configuration(folder: &Path, settings: &[(String, String)]) -> String {
    let ours = format!(
        "listen_addresses = '127.0.0.1'\n\
         unix_socket_directories = '{}'\n\
         max_connections = 200\n\
         shared_buffers = 64MB\n\
         fsync = off\n\
         full_page_writes = off\n",
        folder.display()
    );
    let theirs = settings.iter().map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''")));
    ours + &theirs.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users =
            "root:x:0:0:root:/root:/bin/bash\npostgres2:x:7:8::/:/bin/sh\npostgres:x:101:104::/:/bin/sh\n";
        let user = User::named("postgres", users).unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert!(User::named("nobody", users).is_none());
    }
}
