//! What somebody sees who looks into the folder.

mod pickup;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest;
use jiff::Timestamp;
use serde_json::{Value, json};
use staffetta_bus::{LoggedEvent, Spool};
use staffetta_domain::{Event, EventId, EventType};
use tempfile::TempDir;

use super::folder::Folder;
use super::inbox::{CommandFile, Content, Inbox, Verdict, Watch};
use super::{write, write_again};

fn spool(path: PathBuf) -> Spool {
    Spool { path, check_interval: Duration::from_millis(100), channel: None }
}

fn logged(sequence: u64) -> LoggedEvent {
    let event = Event {
        id: EventId::of(&["e", &sequence.to_string()]),
        tenant: "acme".parse().unwrap(),
        channel: "acme-orders".parse().unwrap(),
        kind: EventType::MessageReceived,
        time: "2026-11-21T09:30:00Z".parse().unwrap(),
        subject: "wamid.A".into(),
        data: json!({"text": {"body": "Olá"}}).as_object().unwrap().clone(),
        trace: None,
    };
    LoggedEvent { sequence, stored: Timestamp::now(), event }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn lines(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("manifest.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_event_is_a_file_and_a_line() {
    let root = TempDir::new().unwrap();
    let spool = spool(root.path().join("acme/erp"));
    for sequence in [7, 12] {
        write(&spool, root.path(), &logged(sequence)).unwrap();
    }
    let events = spool.path.join("events");
    let file = format!("00000000000000000007-{}.json", logged(7).event.id.as_str());
    assert_eq!(names(&events).len(), 3);
    let content = fs::read(events.join(&file)).unwrap();
    let document: Value = serde_json::from_slice(&content).unwrap();
    assert_eq!(document["data"]["text"]["body"], "Olá");
    let told = json!({"sequence": 7, "id": logged(7).event.id.as_str(), "type": "staffetta.message.received",
                      "time": "2026-11-21T09:30:00Z", "file": file,
                      "sha256": hex::encode(digest::digest(&digest::SHA256, &content))});
    assert_eq!(lines(&events)[0], told);
    assert_eq!(lines(&events)[1]["sequence"], 12);
}

#[test]
fn a_repeat_neither_doubles_the_file_nor_the_line() {
    let root = TempDir::new().unwrap();
    let spool = spool(root.path().join("acme"));
    let events = spool.path.join("events");
    write(&spool, root.path(), &logged(1)).unwrap();
    write(&spool, root.path(), &logged(1)).unwrap();
    assert_eq!((names(&events).len(), lines(&events).len()), (2, 1));
    // Somebody has read it.
    let file = lines(&events)[0]["file"].as_str().unwrap().to_owned();
    fs::remove_file(events.join(&file)).unwrap();
    write(&spool, root.path(), &logged(1)).unwrap();
    assert_eq!(names(&events), ["manifest.jsonl"]);
    // It is asked for again.
    write_again(&spool, root.path(), &logged(1)).unwrap();
    assert_eq!((names(&events).len(), lines(&events).len()), (2, 2));
}

#[test]
fn what_a_crash_left_is_put_right() {
    let root = TempDir::new().unwrap();
    let spool = spool(root.path().join("acme"));
    let events = spool.path.join("events");
    write(&spool, root.path(), &logged(1)).unwrap();
    write(&spool, root.path(), &logged(2)).unwrap();
    // Between the file and its line, in the middle of the line, and in the middle of the next file.
    let text = fs::read_to_string(events.join("manifest.jsonl")).unwrap();
    fs::write(events.join("manifest.jsonl"), &text[..text.len() - 20]).unwrap();
    fs::write(events.join(format!(".tmp-00000000000000000003-{}.json", logged(3).event.id.as_str())), "{")
        .unwrap();
    write(&spool, root.path(), &logged(2)).unwrap();
    write(&spool, root.path(), &logged(3)).unwrap();
    let sequences: Vec<_> = lines(&events).iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, [1, 2, 3]);
    assert_eq!(names(&events).len(), 4);
}

#[test]
fn a_full_manifest_gives_way_to_a_new_one() {
    let root = TempDir::new().unwrap();
    let spool = spool(root.path().join("acme"));
    let events = spool.path.join("events");
    write(&spool, root.path(), &logged(1)).unwrap();
    let text = fs::read_to_string(events.join("manifest.jsonl")).unwrap();
    let filler = format!("{{\"file\":\"{}\"}}\n", "x".repeat(1 << 20));
    fs::write(events.join("manifest.jsonl"), filler.repeat(64) + &text).unwrap();
    write(&spool, root.path(), &logged(2)).unwrap();
    assert_eq!(lines(&events).len(), 1);
    // What stands in the one before is still known.
    write(&spool, root.path(), &logged(1)).unwrap();
    assert_eq!(lines(&events).len(), 1);
    assert!(names(&events).contains(&"manifest.1.jsonl".to_owned()));
}

#[test]
fn nothing_is_written_outside_of_the_root() {
    let root = TempDir::new().unwrap();
    let other = TempDir::new().unwrap();
    let path = root.path();
    fs::create_dir(path.join("bolt")).unwrap();
    symlink(other.path(), path.join("out")).unwrap();
    fs::create_dir(path.join("acme")).unwrap();
    symlink(path.join("bolt"), path.join("acme/events")).unwrap();
    for wrong in [
        other.path().to_owned(),
        path.to_owned(),
        path.join(".."),
        path.join("bolt/../../x"),
        path.join("out"),
        path.join("out/deeper"),
        // Another tenant's, by a link of one's own.
        path.join("acme"),
    ] {
        write(&spool(wrong.clone()), path, &logged(1)).unwrap_err();
    }
    assert!(names(other.path()).is_empty() && names(&path.join("bolt")).is_empty());
    // The operator's own root may be a link.
    let link = other.path().join("root");
    symlink(path, &link).unwrap();
    write(&spool(link.join("crane")), &link, &logged(1)).unwrap();
    assert_eq!(names(&path.join("crane/events")).len(), 2);
}

#[test]
fn a_manifest_that_leads_elsewhere_is_not_written() {
    let root = TempDir::new().unwrap();
    let other = TempDir::new().unwrap();
    let target = other.path().join("precious");
    fs::write(&target, "kept").unwrap();
    let events = root.path().join("acme/events");
    fs::create_dir_all(&events).unwrap();
    symlink(&target, events.join("manifest.jsonl")).unwrap();
    symlink(&target, events.join(format!(".tmp-00000000000000000001-{}.json", logged(1).event.id.as_str())))
        .unwrap();
    write(&spool(root.path().join("acme")), root.path(), &logged(1)).unwrap_err();
    assert_eq!(fs::read_to_string(target).unwrap(), "kept");
}

#[test]
fn two_writers_don_t_meet() {
    let root = TempDir::new().unwrap();
    let spool = spool(root.path().join("acme"));
    let folder = Folder::open(root.path(), &spool.path).unwrap().sub("events").unwrap();
    let lock = folder.lock().unwrap();
    let error = write(&spool, root.path(), &logged(1)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    drop(lock);
    write(&spool, root.path(), &logged(1)).unwrap();
}

/// An inbox in a folder of its own.
fn inbox() -> (TempDir, Inbox) {
    let root = TempDir::new().unwrap();
    let inbox = Inbox::open(root.path(), &root.path().join("acme")).unwrap();
    (root, inbox)
}

fn put(root: &TempDir, name: &str, content: &str, age: Duration) {
    let path = root.path().join("acme/commands").join(name);
    fs::write(&path, content).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

fn only(inbox: &Inbox) -> CommandFile {
    let mut files = inbox.list().unwrap();
    assert_eq!(files.len(), 1);
    files.remove(0)
}

const OLD: Duration = Duration::from_secs(60);

#[test]
fn command_files_are_found_by_name_and_only_when_they_are_whole() {
    let (root, inbox) = inbox();
    for name in ["b.json", "a.json", ".hidden.json", "c.json.tmp", "d.part", "e.txt", "c.JSON"] {
        put(&root, name, "{}", OLD);
    }
    put(&root, "c.json", "{}", Duration::ZERO);
    let files = inbox.list().unwrap();
    // However long the files took to write.
    let (now, at) = (files[2].modified + Duration::from_millis(100), Instant::now());
    let mut watch = Watch::default();
    let ready = |watch: &mut Watch, now, at| {
        let ready = watch.ready(files.clone(), now, at).into_iter();
        ready.map(|file| file.name.into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ready(&mut watch, now, at), ["a.json", "b.json"]);
    assert_eq!(ready(&mut watch, now + OLD, at), ["a.json", "b.json", "c.json"]);
    // By a clock that is behind, all of them come from the future: then it counts that nothing has changed.
    let mut watch = Watch::default();
    assert!(ready(&mut watch, now - OLD * 2, at).is_empty());
    assert!(ready(&mut watch, now - OLD * 2, at + Duration::from_millis(400)).is_empty());
    assert_eq!(ready(&mut watch, now - OLD * 2, at + Duration::from_millis(500)).len(), 3);
}

#[test]
fn what_can_t_be_a_command_is_told_apart_from_what_is_being_written() {
    let (root, inbox) = inbox();
    let read = |content: &str, age| {
        put(&root, "a.json", content, age);
        inbox.read(&only(&inbox)).unwrap()
    };
    assert!(matches!(read("{\"to\":\"1\"}", OLD), Content::Whole(_)));
    assert!(matches!(read("{\"to\":", Duration::from_secs(1)), Content::Growing));
    assert!(matches!(read("", Duration::from_secs(1)), Content::Growing));
    assert!(matches!(read("{\"to\":", OLD), Content::Whole(_)));
    assert!(matches!(read("not json", Duration::from_secs(1)), Content::Whole(_)));
    assert!(matches!(read(&"x".repeat((1 << 20) + 1), OLD), Content::Wrong(_)));
    // Another file under the same name since it was looked at.
    put(&root, "a.json", "{}", OLD);
    let file = only(&inbox);
    put(&root, "new", "{}", OLD);
    let commands = root.path().join("acme/commands");
    fs::rename(commands.join("new"), commands.join("a.json")).unwrap();
    assert!(matches!(inbox.read(&file).unwrap(), Content::Growing));
    fs::remove_file(commands.join("a.json")).unwrap();
    assert!(matches!(inbox.read(&file).unwrap(), Content::Gone));
    // Whatever it leads to, it is not read.
    symlink("/etc/hostname", commands.join("a.json")).unwrap();
    assert!(matches!(inbox.read(&only(&inbox)).unwrap(), Content::Wrong("is no plain file")));
}

#[test]
fn a_name_that_leaves_no_room_for_others_is_shortened_in_results() {
    let (root, inbox) = inbox();
    let acme = root.path().join("acme");
    for (letter, verdict, folder) in [("è", Verdict::Done, "done"), ("a", Verdict::Bad, "bad")] {
        let name = format!("{}.json", letter.repeat(250 / letter.len()));
        put(&root, &name, "{}", OLD);
        inbox.finish(name.as_ref(), verdict, b"{}").unwrap();
        assert!(names(&acme.join(folder)).contains(&name));
    }
    let results = names(&acme.join("results"));
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|name| name.len() == 122 && name.ends_with(".json")), "{results:?}");
    assert!(inbox.list().unwrap().is_empty());
}

#[test]
fn a_file_that_is_dealt_with_has_a_result_and_is_out_of_the_way() {
    let (root, inbox) = inbox();
    let acme = root.path().join("acme");
    put(&root, "a.json", "{}", OLD);
    put(&root, "b.json", "{}", OLD);
    for _ in 0..2 {
        inbox.finish("a.json".as_ref(), Verdict::Done, b"{\"state\":\"queued\"}").unwrap();
        inbox.finish("b.json".as_ref(), Verdict::Bad, b"{\"field\":\"to\"}").unwrap();
    }
    assert!(names(&acme.join("commands")).is_empty());
    assert_eq!(names(&acme.join("done")), ["a.json"]);
    assert_eq!(names(&acme.join("bad")), ["b.json", "b.reason.json"]);
    assert_eq!(names(&acme.join("results")), ["a.json", "b.json"]);
    assert_eq!(fs::read_to_string(acme.join("bad/b.reason.json")).unwrap(), "{\"field\":\"to\"}");
}

#[test]
fn what_is_long_done_with_goes() {
    let (root, inbox) = inbox();
    let acme = root.path().join("acme");
    put(&root, "a.json", "{}", OLD);
    inbox.finish("a.json".as_ref(), Verdict::Bad, b"{}").unwrap();
    fs::write(acme.join("results/.tmp-x.json"), "{").unwrap();
    let days = |days: u64| SystemTime::now() + Duration::from_secs(days * 24 * 60 * 60);
    inbox.tidy(SystemTime::now()).unwrap();
    assert_eq!(names(&acme.join("results")), [".tmp-x.json", "a.json"]);
    inbox.tidy(days(2)).unwrap();
    assert_eq!(names(&acme.join("results")), ["a.json"]);
    inbox.tidy(days(31)).unwrap();
    assert!(names(&acme.join("results")).is_empty() && names(&acme.join("bad")).is_empty());
}
