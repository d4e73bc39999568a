//! A folder that an ERP's own service reads and writes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use staffetta_testkit::until;
use staffetta_tests::{CARE, Installation, LIMIT, ORDERS, Setup, text};

use crate::{all, apply_lines, assert_each_sent_once_in_order, commands, only};

/// Puts a command file there as a careful program does.
fn put(folder: &Path, name: &str, content: &str) {
    let aside = folder.join("commands").join(format!(".{name}.tmp"));
    fs::write(&aside, content).unwrap();
    fs::rename(aside, folder.join("commands").join(format!("{name}.json"))).unwrap();
}

/// What became of a command file.
async fn result(folder: &Path, name: &str) -> Value {
    let file = folder.join("results").join(format!("{name}.json"));
    let read = async || serde_json::from_slice(&fs::read(&file).ok()?).ok();
    until(&format!("the result of {name}"), LIMIT, read).await.unwrap()
}

#[tokio::test]
async fn commands_in_files_are_sent_and_answered_and_bad_ones_put_aside() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().canonicalize().unwrap().join("acme");
    let settings =
        vec![("STAFFETTA__DELIVERY__SPOOL_ROOT", root.path().canonicalize().unwrap().display().to_string())];
    let (staffetta, mut up) = Installation::up(Setup { settings, ..Setup::default() }).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let lines = format!(
        "[[endpoint]]\nid = \"acme-folder\"\ntenant = \"acme\"\nkind = \"spool\"\npath = {folder:?}\n\
         check_interval = 100\nchannel = {:?}\n",
        ORDERS.channel
    );
    apply_lines(&staffetta, &lines).await;
    let made = async || folder.join("commands").is_dir().then_some(());
    until("the folder", LIMIT, made).await.unwrap();

    let wanted = commands("file", 30, 5);
    for (n, command) in wanted.iter().enumerate() {
        put(&folder, &format!("{n:03}"), &command.to_string());
    }
    let elsewhere = json!({ "id": "theirs", "channel": CARE.channel, "to": "393481300001", "type": "text", "text": { "body": "x" } });
    for (name, content) in [
        ("no-json", "{\"id\":".to_owned() + "]"),
        ("no-number", text("bad-1", "12").to_string()),
        ("no-channel-of-ours", elsewhere.to_string()),
        ("again", wanted[0].to_string()),
    ] {
        put(&folder, name, &content);
    }

    for (n, command) in wanted.iter().enumerate() {
        let answer = result(&folder, &format!("{n:03}")).await;
        assert_eq!((&answer["id"], &answer["channel"]), (&command["id"], &ORDERS.channel.into()), "{answer}");
    }
    for (name, field) in [("no-json", "payload"), ("no-number", "to"), ("no-channel-of-ours", "channel")] {
        let answer = result(&folder, name).await;
        assert_eq!(
            (&answer["state"], &answer["field"]),
            (&"refused".into(), &field.into()),
            "{name}: {answer}"
        );
        let bad = folder.join("bad");
        let files = [bad.join(format!("{name}.json")), bad.join(format!("{name}.reason.json"))];
        let aside = async || files.iter().all(|file| file.is_file()).then_some(());
        until("it to be put aside with the reason", LIMIT, aside).await.unwrap();
    }
    let again = result(&folder, "again").await;
    assert_eq!(again["id"], wanted[0]["id"]);
    let taken = async || fs::read_dir(folder.join("commands")).ok()?.next().is_none().then_some(());
    until("nothing to be left", LIMIT, taken).await.unwrap();

    staffetta.told(&streams, &all("command.accepted", &wanted)).await.unwrap();
    staffetta.settled(&streams).await.unwrap();
    let events = streams.events().await.unwrap();
    for (kind, id) in all("command.accepted", &wanted) {
        only(&events, kind, &id);
    }
    assert_each_sent_once_in_order(&staffetta.sends(ORDERS), &wanted);
    assert_eq!(staffetta.sends(CARE), []);
    // And the other way: what became of them lies in the folder too.
    let ends = until("their ends as files", LIMIT, async || {
        let manifest = fs::read_to_string(folder.join("events/manifest.jsonl")).ok()?;
        let whole = manifest.rfind('\n').map_or("", |end| &manifest[..end]);
        let ids: BTreeSet<String> = whole
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|line| line["type"] == "staffetta.command.accepted")
            .map(|line| {
                let file = fs::read(folder.join("events").join(line["file"].as_str().unwrap())).unwrap();
                serde_json::from_slice::<Value>(&file).unwrap()["subject"].as_str().unwrap().to_owned()
            })
            .collect();
        wanted.iter().all(|command| ids.contains(command["id"].as_str().unwrap())).then_some(())
    });
    ends.await.unwrap();
    up.stop().await.unwrap();
}
