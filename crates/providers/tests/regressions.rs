//! Bodies that were trouble once, and those that stand for all that Meta sends: each is taken apart as any has to be.
//! `cargo xtask fuzz` adds to the former.

#[path = "support/oracle.rs"]
mod oracle;

use std::path::{Path, PathBuf};
use std::{fs, panic};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of tests") {
            let path = entry.expect("a folder of tests").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// All of them before it fails, so that one look shows them all.
fn check_all(folder: &str) {
    let files = files(folder);
    assert!(!files.is_empty(), "{folder} holds nothing");
    let wrong: Vec<&PathBuf> = files
        .iter()
        .filter(|path| {
            let body = fs::read(path).expect("a file of tests");
            panic::catch_unwind(|| oracle::check(&body)).is_err()
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_was_trouble_once_never_is_again() {
    check_all("regressions");
}

#[test]
fn every_fixture_holds_what_every_body_holds() {
    check_all("fixtures");
}
