//! How a process ends when something is wrong.

use std::fs;

use staffetta_testkit::Signal;
use staffetta_tests::{Installation, Setup};

#[tokio::test]
async fn up_fails_when_its_nats_server_dies() {
    let (_staffetta, mut up) = Installation::up(Setup { nats: None, ..Setup::default() }).await.unwrap();
    let nats = child_named("nats-server", up.process().id().unwrap()).unwrap();
    rustix::process::kill_process(nats, Signal::KILL).unwrap();
    let status = up.ended().await.unwrap();
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
}

#[tokio::test]
async fn up_fails_when_one_of_its_services_can_not_start() {
    let staffetta = Installation::prepare(Setup { nats: None, ..Setup::default() }).await.unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut up = staffetta.service("up").unwrap();
    up.launch(&[("STAFFETTA__API__LISTEN", &address)]).unwrap();
    let status = up.ended().await.unwrap();
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
    let log = up.process().log_end();
    assert!(log.contains("api.listen"), "{log}");
}

#[tokio::test]
async fn a_wrong_configuration_ends_the_start_with_64_and_names_the_key() {
    let staffetta = Installation::prepare(Setup::default()).await.unwrap();
    for (key, value) in [
        ("ingress.lisen", "\"127.0.0.1:1\""),
        ("nats.replicas", "\"many\""),
        ("database.url", "\"mysql://localhost\""),
        ("dispatchr.max_tries", "3"),
    ] {
        let file = staffetta.folder().join("staffetta.toml");
        fs::write(&file, format!("{key} = {value}\n")).unwrap();
        for role in ["up", "recorder"] {
            let answer = staffetta.run(&[role, "--config", file.to_str().unwrap()]).await.unwrap();
            assert_eq!(answer.code, Some(64), "{key}: {answer:?}");
            let wrong = key.split('.').find(|part| answer.stderr.contains(part));
            assert!(wrong.is_some(), "{key}: {answer:?}");
        }
    }
}

/// The child of this process that runs a program of that name.
fn child_named(program: &str, parent: u32) -> Option<rustix::process::Pid> {
    let processes = fs::read_dir("/proc").ok()?;
    let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_it = |id: &i32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // `id (program) state parent …`
        let Some((front, back)) = stat.rsplit_once(") ") else { return false };
        let parent_id = back.split(' ').nth(1).and_then(|field| field.parse().ok());
        front.contains(program) && parent_id == Some(parent)
    };
    let mut found = ids.filter(is_it);
    found.next().and_then(rustix::process::Pid::from_raw)
}
