//! `docs/configuration.md` names every key, with its default.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::{BTreeMap, BTreeSet};

use staffetta_runtime::Config;

const CODE: &str = concat!(
    include_str!("../src/config.rs"),
    include_str!("../src/config/around.rs"),
    include_str!("../src/config/services.rs"),
);
const PAGE: &str = include_str!("../../../docs/configuration.md");

#[test]
fn the_page_names_every_key_and_no_other() {
    let documented: BTreeSet<String> = documented().into_keys().collect();
    assert_eq!(documented, keys_of("Config", ""));
}

#[test]
fn the_defaults_on_the_page_are_the_defaults() {
    let given: Vec<String> = documented()
        .into_iter()
        .filter_map(|(key, default)| {
            Some(format!("{key} = {}\n", default.strip_prefix('`')?.strip_suffix('`')?))
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("staffetta.toml");
    std::fs::write(&file, given.concat()).unwrap();
    let as_documented = Config::load(Some(&file)).unwrap();
    assert_eq!(format!("{as_documented:#?}"), format!("{:#?}", Config::default()));
}

/// Each key that a table of the page has a row for, and what stands there as its default.
fn documented() -> BTreeMap<String, String> {
    let mut documented = BTreeMap::new();
    let mut in_keys = false;
    for line in PAGE.lines() {
        match line {
            "| key | default | meaning |" => in_keys = true,
            "" => in_keys = false,
            row if in_keys && !row.starts_with("|---") => {
                let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
                let (key, default) = (cells.next().unwrap(), cells.next().unwrap());
                assert!(default == "none" || default.starts_with('`'), "{row}");
                let twice = documented.insert(key.trim_matches('`').to_owned(), default.to_owned());
                assert_eq!(twice, None, "{key} stands there twice");
            }
            _ => {}
        }
    }
    documented
}

/// The keys of one of the configuration's structs, read from its source; a field whose type is another of them is a
/// section.
fn keys_of(name: &str, prefix: &str) -> BTreeSet<String> {
    let body = CODE.split_once(&format!("pub struct {name} {{\n")).unwrap().1.split_once("\n}").unwrap().0;
    let fields = body.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.strip_suffix(','));
    let mut keys = BTreeSet::new();
    for (field, kind) in fields.map(|field| field.split_once(": ").unwrap()) {
        let key = format!("{prefix}{field}");
        if CODE.contains(&format!("pub struct {kind} {{")) {
            keys.extend(keys_of(kind, &format!("{key}.")));
        } else {
            keys.insert(key);
        }
    }
    keys
}
