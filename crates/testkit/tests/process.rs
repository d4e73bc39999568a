//! What is started ends, however the test does.

use std::{
    env,
    path::Path,
    process::{self, Command},
    time::Duration,
};

use staffetta_testkit::{NatsServer, Postgres, Process, Signal, until};
use tokio::net::TcpStream;

/// Longest wait for anything; a cluster of PostgreSQL is made within it.
const LIMIT: Duration = Duration::from_secs(300);

/// Set for the copy of this test program that gets killed.
const VICTIM_VARIABLE: &str = "STAFFETTA_TESTKIT_VICTIM";

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[tokio::test]
async fn a_process_can_be_stopped_and_started_again() {
    let mut process = Process::new("shell").unwrap();
    process.start(shell("trap 'exit 3' TERM; echo first; while :; do sleep 0.01; done")).unwrap();
    assert!(process.start(shell("echo twice")).is_err());

    until("the trap to be set", LIMIT, async || process.log_end().contains("first").then_some(()))
        .await
        .unwrap();
    assert_eq!(process.stop(LIMIT).await.unwrap().code(), Some(3));
    assert!(process.id().is_none());

    process.start(shell("echo second")).unwrap();
    assert!(process.ended(LIMIT).await.unwrap().success());
    let log = process.log_end();
    assert!(log.contains("first") && log.contains("second"), "{log}");
}

#[tokio::test]
async fn a_process_that_goes_on_too_long_is_named_and_then_killed() {
    let mut process = Process::new("sleeper").unwrap();
    process.start(shell("exec sleep 1000")).unwrap();

    let error = process.ended(Duration::from_millis(50)).await.unwrap_err();
    assert!(format!("{error:#}").contains("sleeper"), "{error:#}");

    assert!(!process.kill().await.unwrap().success());
    assert!(process.signal(Signal::TERM).is_err());
}

#[tokio::test]
async fn dropping_ends_the_process_and_removes_its_folder() {
    let mut process = Process::new("dropped").unwrap();
    process.start(shell("exec sleep 1000")).unwrap();
    let folder = process.folder().to_owned();
    assert!(folder.is_dir());
    drop(process);
    assert!(!folder.exists());
}

/// Started by the test below; on its own it does nothing.
#[tokio::test]
async fn victim() {
    if env::var_os(VICTIM_VARIABLE).is_none() {
        return;
    }
    let nats = NatsServer::start().await.unwrap();
    let database = Postgres::shared().await.unwrap().database().await.unwrap();
    let port = database.url().rsplit([':', '/']).nth(1).unwrap();
    println!("victim {} {port} {}", nats.url(), nats.process().folder().display());
    rustix::process::kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
    process::abort();
}

#[tokio::test]
async fn servers_end_when_the_test_process_is_killed() {
    let mut command = tokio::process::Command::new(env::current_exe().unwrap());
    command.args(["--exact", "victim", "--nocapture"]).env(VICTIM_VARIABLE, "1").kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let mut words = said.lines().find_map(|line| line.split_once("victim nats://")).unwrap().1.split(' ');
    let nats = words.next().unwrap();
    let postgres = format!("127.0.0.1:{}", words.next().unwrap());
    let folder = Path::new(words.next().unwrap());

    for address in [nats, &postgres] {
        let refused = async || TcpStream::connect(address).await.is_err().then_some(());
        until("the server to end", LIMIT, refused).await.unwrap();
    }
    until("its folder to go", LIMIT, async || (!folder.exists()).then_some(())).await.unwrap();
}
