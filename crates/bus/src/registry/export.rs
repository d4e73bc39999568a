//! The registry as a file.

use super::entry::{Entry, rank};

/// Keys that stand first in an entry, in this order.
const FIRST: [&str; 5] = ["id", "tenant", "name", "kind", "provider"];

/// The entries as a registry file. Secrets stand in it as they are stored: sealed, digested, or as names.
pub fn to_toml<'a>(entries: impl Iterator<Item = &'a Entry>) -> String {
    let mut entries: Vec<(String, &Entry)> = entries.map(|entry| (entry.key(), entry)).collect();
    entries.sort_by(|(one, _), (other, _)| (rank(one), one).cmp(&(rank(other), other)));
    let mut text = String::new();
    for (key, entry) in entries {
        let kind = key.split('.').next().unwrap_or_default();
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("[[{kind}]]\n"));
        let json = entry.public();
        let fields = json.as_object().expect("an entry is a table");
        let place = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
        let mut names: Vec<&String> = fields.keys().collect();
        names.sort_by_key(|name| (place(name), *name));
        for name in names {
            let value = toml::Value::try_from(&fields[name]).expect("an entry holds no null");
            // Written as a value a table stands in one line.
            text.push_str(&format!("{name} = {value}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::file::RegistryFile;
    use super::*;
    use crate::secret::MasterKey;

    #[test]
    fn what_is_exported_is_read_as_the_same() {
        let master = MasterKey::new(&"one master key of ours".to_owned().into());
        let text = r#"
[[endpoint]]
id = "e"
tenant = "acme"
kind = "webhook"
url = "https://a.example"
secret = ["one", { env = "TWO" }]
enabled = false
types = ["message.*"]
[[channel]]
id = "c"
tenant = "acme"
provider = "cloud_api"
access_token = "hush \"quoted\" \\ more"
window_templates = { text = { name = "n", language = "it" } }
[[tenant]]
id = "acme"
name = "Acme\n\"S.p.A.\""
encoding = "json"
api_keys = ["k", { key = "l", scopes = ["send"], expires = "2027-01-31T00:00:00Z" }]
[[app]]
id = "a"
verify_token = { file = "/run/secrets/a" }
"#;
        let stored: Vec<Entry> = RegistryFile::parse(text)
            .unwrap()
            .entries()
            .into_iter()
            .map(|entry| entry.for_storage(None, Some(&master)).unwrap())
            .collect();
        let exported = to_toml(stored.iter());
        assert!(exported.starts_with("[[tenant]]\nid = \"acme\"\nname = "), "{exported}");
        assert!(!exported.contains("hush"), "{exported}");
        let again: Vec<Entry> = RegistryFile::parse(&exported)
            .unwrap()
            .entries()
            .into_iter()
            .map(|entry| entry.for_storage(None, Some(&master)).unwrap())
            .collect();
        let json = |entries: &[Entry]| entries.iter().map(Entry::to_json).collect::<Vec<_>>();
        assert_eq!(json(&again), json(&stored));
        assert_eq!(to_toml(again.iter()), exported);
    }
}
