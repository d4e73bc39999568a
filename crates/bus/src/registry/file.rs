//! Registry files: TOML, each entry with the place where it stands.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::{DeserializeOwned, IntoDeserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::RegistryError;
use super::entry::{Entry, KINDS, rank};

/// A place in a registry file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, if the text came from one.
    pub file: Option<Arc<str>>,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        write!(f, "line {}", self.line)
    }
}

/// A registry file.
#[derive(Clone, Debug, Default)]
pub struct RegistryFile {
    pub(super) entries: Vec<Located>,
}

/// An entry, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) entry: Entry,
    pub(super) at: Location,
}

/// Where an entry and its keys stand.
#[derive(Clone, Debug)]
pub(super) struct Location {
    entry: Place,
    keys: BTreeMap<String, usize>,
}

/// Keys that go by two names.
const ALIASES: [(&str, &str); 4] = [
    ("url", "ws_webhook_url"),
    ("ticket", "ws_webhook_ticket"),
    ("context_string", "ws_webhook_context_string"),
    ("path", "check_file_path"),
];

impl Location {
    /// The place of a key; that of the entry where the key is not written.
    pub(super) fn of(&self, key: Option<&str>) -> Place {
        let line = key.and_then(|key| {
            let alias = ALIASES.iter().find(|(name, _)| *name == key).map(|(_, alias)| *alias);
            self.keys.get(key).or_else(|| self.keys.get(alias?))
        });
        Place { line: line.copied().unwrap_or(self.entry.line), ..self.entry.clone() }
    }
}

impl RegistryFile {
    /// Reads a text.
    ///
    /// # Errors
    /// Names line and key.
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        Source::new(None, text).read()
    }

    /// Reads the text of the file of that name.
    ///
    /// # Errors
    /// Names file, line and key.
    pub fn parse_named(file: &str, text: &str) -> Result<Self, RegistryError> {
        Source::new(Some(file.into()), text).read()
    }

    /// All entries, those first that others refer to.
    pub fn entries(self) -> Vec<Entry> {
        self.entries.into_iter().map(|located| located.entry).collect()
    }
}

/// A text that is read.
struct Source<'a> {
    file: Option<Arc<str>>,
    text: &'a str,
    line_ends: Vec<usize>,
}

impl<'a> Source<'a> {
    fn new(file: Option<Arc<str>>, text: &'a str) -> Self {
        let line_ends = text.match_indices('\n').map(|(at, _)| at).collect();
        Self { file, text, line_ends }
    }

    fn read(&self) -> Result<RegistryFile, RegistryError> {
        let whole = DeTable::parse(self.text).map_err(|error| self.error(&error, 0, &[]))?;
        let mut entries = Vec::new();
        for (kind, values) in whole.into_inner() {
            let line = self.place(kind.span().start);
            let wrong = |problem: String| RegistryError::File(format!("{line}: {problem}"));
            if !KINDS.contains(&&**kind.get_ref()) {
                let known = KINDS.map(|kind| format!("`{kind}`")).join(", ");
                let kind = kind.get_ref();
                return Err(wrong(format!("unknown field `{kind}`, expected one of {known}")));
            }
            let DeValue::Array(values) = values.into_inner() else {
                let kind = kind.get_ref();
                return Err(wrong(format!("{kind}: expected a list, written as [[{kind}]]")));
            };
            for value in values {
                entries.push(self.entry(kind.get_ref(), value)?);
            }
        }
        // In files, kinds may stand in any order.
        entries.sort_by_key(|located| rank(&located.entry.key()));
        Ok(RegistryFile { entries })
    }

    fn entry(&self, kind: &str, value: Spanned<DeValue<'_>>) -> Result<Located, RegistryError> {
        let start = value.span().start;
        let mut spans = Vec::new();
        collect_keys(value.get_ref(), "", &mut spans);
        let lines = spans.iter().map(|(key, span)| (key.clone(), self.line(span.start)));
        let at = Location { entry: self.place(start), keys: lines.collect() };
        fn read<T: DeserializeOwned>(value: Spanned<DeValue<'_>>) -> Result<T, toml::de::Error> {
            T::deserialize(value.into_deserializer())
        }
        let entry = match kind {
            "app" => read(value).map(Entry::App),
            "tenant" => read(value).map(Entry::Tenant),
            "channel" => read(value).map(Entry::Channel),
            _ => read(value).map(Entry::Endpoint),
        };
        let entry = entry.map_err(|error| self.error(&error, start, &spans))?;
        if let Some(line) = at.keys.get("claimed") {
            let place = Place { line: *line, ..at.entry };
            return Err(RegistryError::File(format!("{place}: claimed is kept by the registry itself")));
        }
        Ok(Located { entry, at })
    }

    /// The error with its line and key. Its full text would show the line, and that may hold a secret.
    fn error(&self, error: &toml::de::Error, start: usize, keys: &[(String, Range<usize>)]) -> RegistryError {
        let at = error.span().map_or(start, |span| span.start);
        let message = error.message();
        let place = self.place(at);
        let key = keys.iter().rfind(|(_, span)| span.contains(&at)).map(|(key, _)| key);
        RegistryError::File(match key {
            Some(key) if !names(message, key) => format!("{place}: {key}: {message}"),
            _ => format!("{place}: {message}"),
        })
    }

    fn place(&self, at: usize) -> Place {
        Place { file: self.file.clone(), line: self.line(at) }
    }

    fn line(&self, at: usize) -> usize {
        self.line_ends.partition_point(|end| *end < at) + 1
    }
}

/// Whether a message names the last part of a key already.
fn names(message: &str, key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    message.contains(&format!("`{last}`"))
}

/// Every key of a table and of the tables in it, with what belongs to it.
fn collect_keys(value: &DeValue<'_>, prefix: &str, keys: &mut Vec<(String, Range<usize>)>) {
    match value {
        DeValue::Table(table) => {
            for (key, value) in table {
                let name = format!("{prefix}{}", key.get_ref());
                let inside = format!("{name}.");
                keys.push((name, key.span().start..value.span().end.max(key.span().end)));
                collect_keys(value.get_ref(), &inside, keys);
            }
        }
        DeValue::Array(values) => {
            for value in values {
                collect_keys(value.get_ref(), prefix, keys);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: &str = r#"
[[app]]
id="meta-main"
app_secret={env="META_APP_SECRET"}
verify_token={env="META_VERIFY_TOKEN"}
[[tenant]]
id="acme"
name="Acme S.p.A."
api_keys=[{env="ACME_KEY"}]
[[channel]]
id="acme-orders"
tenant="acme"
provider="cloud_api"
app="meta-main"
waba_id="1"
phone_number_id="2"
display_phone_number="39"
access_token={env="ACME_TOKEN"}
rate=250
window_templates={ text={name="avviso_testo",language="it"}, document={name="avviso_documento",language="it"} }
[[endpoint]]
id="acme-erp"
tenant="acme"
kind="webhook"
url="https://erp.acme.example/hooks"
format="cloudevents"
secret={env="ACME_HOOK"}
"#;

    #[test]
    fn the_contracts_own_example_is_read_and_comes_back_from_the_bucket() {
        let entries = RegistryFile::parse(CONTRACT).unwrap().entries();
        let keys: Vec<String> = entries.iter().map(Entry::key).collect();
        assert_eq!(keys, ["tenant.acme", "app.meta-main", "channel.acme-orders", "endpoint.acme-erp"]);
        for entry in entries {
            let json = entry.to_json();
            let again = Entry::read(&entry.key(), json.to_string().as_bytes()).unwrap();
            assert_eq!(again.to_json(), json);
        }
    }

    #[test]
    fn an_error_names_the_file_the_line_and_the_key_but_no_secret() {
        let app = "[[app]]\nid = \"a\"\n";
        let channel = "# one\n\n[[channel]]\nid = \"c\"\ntenant = \"acme\"\nprovider = \"cloud_api\"\n";
        for (text, line, key) in [
            (format!("{app}app_secre = \"hush\"\n"), 3, "app_secre"),
            (format!("{app}app_secret = [\"hush\",\n  {{ evn = \"hush\" }}]\n"), 4, "evn"),
            (format!("{app}verify_token = 5\n"), 3, "verify_token"),
            (format!("{app}verify_token = {{ env = 5 }}\n"), 3, "verify_token.env"),
            (format!("{channel}rate = \"hush\"\n").replace("hush", "fast"), 7, "rate"),
            (format!("{channel}claimed = 7\n"), 7, "claimed"),
            (format!("{channel}[channel.window_templates.text]\nname = \"n\"\n"), 7, "language"),
            ("\n[[channel]]\nid = \"c\"\nprovider = \"cloud_api\"\n".to_owned(), 2, "tenant"),
            ("[[app]]\nid = \"A\"\n".to_owned(), 2, "id"),
            ("\n\n[[chanel]]\nid = \"hush\"\n".to_owned(), 3, "chanel"),
            ("[app]\nid = \"a\"\n".to_owned(), 1, "app"),
            ("[[app]]\nid = \"a\"\nverify_token = hush\n".to_owned(), 3, ""),
        ] {
            let error = RegistryFile::parse_named("a.toml", &text).unwrap_err().to_string();
            let place = format!("a.toml: line {line}: ");
            assert!(error.starts_with(&place) && error.contains(key), "{text}{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_key_that_goes_by_another_name_has_its_own_line() {
        let text = "[[endpoint]]\nid=\"e\"\ntenant=\"a\"\nkind=\"spool\"\ncheck_file_path=\"x\"\n";
        let file = RegistryFile::parse(text).unwrap();
        let at = &file.entries[0].at;
        assert_eq!((at.of(Some("path")).line, at.of(Some("nothing")).line, at.of(None).line), (5, 1, 1));
    }
}
