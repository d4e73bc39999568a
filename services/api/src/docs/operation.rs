//! One operation: what it takes, what it answers, how to call it.

use std::fmt::{self, Display, Formatter, Write as _};

use serde_json::Value;

use super::schema::{Fields, Schemas, Type};
use super::text::{Escaped, Line, Marked, of};

pub(super) struct Operation<'a> {
    pub(super) document: &'a Value,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) operation: &'a Value,
}

impl<'a> Operation<'a> {
    pub(super) fn tag(&self) -> &'a str {
        of(&self.operation["tags"][0])
    }

    /// What leads to it from the list of all.
    pub(super) fn write_entry(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let id = Escaped(of(&self.operation["operationId"]));
        write!(
            f,
            "<li><a href=\"#{id}\">{} <span>{}</span></a></li>",
            Method(self.method),
            Escaped(self.path)
        )
    }

    fn parameters(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.operation["parameters"].as_array().into_iter().flatten()
    }

    /// The body's type of content and its schema.
    fn body(&self) -> Option<(&'a String, &'a Value)> {
        let content = self.operation["requestBody"]["content"].as_object()?;
        content.iter().next().map(|(kind, content)| (kind, &content["schema"]))
    }

    /// Which key it needs; `None` if none.
    fn key(&self) -> Option<(&'a String, &'a Value)> {
        self.operation["security"][0].as_object()?.iter().next()
    }

    fn write_parameters(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.parameters().next().is_none() {
            return Ok(());
        }
        write!(f, "<h4>Parameters</h4><table>")?;
        for parameter in self.parameters() {
            let place = of(&parameter["in"]);
            write!(f, "<tr><td><code>{}</code> ", Escaped(of(&parameter["name"])))?;
            if place == "header" {
                write!(f, "<span class=\"required\">header</span>")?;
            } else if parameter["required"] == true {
                write!(f, "<span class=\"required\">required</span>")?;
            }
            write!(f, "</td><td>{}</td>", Type(&parameter["schema"]))?;
            write!(f, "<td>{}</td></tr>", Line(of(&parameter["description"])))?;
        }
        write!(f, "</table>")
    }

    fn write_body(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some((kind, schema)) = self.body() else { return Ok(()) };
        write!(f, "<h4>Body <small>{}</small></h4>", Escaped(kind))?;
        if schema["properties"].is_object() {
            write!(f, "{}", Fields(schema))
        } else {
            write!(f, "<p>{}</p>", Type(schema))
        }
    }

    fn write_answers(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<h4>Answers</h4><table class=\"answers\">")?;
        for (status, answer) in self.operation["responses"].as_object().into_iter().flatten() {
            let answer = match answer["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
                Some(name) => &self.document["components"]["responses"][name],
                None => answer,
            };
            let kind = if status.starts_with('2') { "good" } else { "bad" };
            write!(f, "<tr><td><code class=\"{kind}\">{}</code></td>", Escaped(status))?;
            write!(f, "<td>{}</td><td>", Line(of(&answer["description"])))?;
            for content in answer["content"].as_object().into_iter().flat_map(|content| content.values()) {
                write!(f, "{}", Type(&content["schema"]))?;
            }
            write!(f, "</td></tr>")?;
        }
        write!(f, "</table>")
    }

    /// A command that calls it.
    fn call(&self) -> String {
        let mut call = String::from("curl");
        // What sends a body is a POST unless it is told otherwise.
        let usual = if self.body().is_some() { "post" } else { "get" };
        if self.method != usual {
            let _ = write!(call, " -X {}", self.method.to_uppercase());
        }
        let _ = write!(call, " \"$STAFFETTA{}\"", self.example_path());
        match self.key().map(|(name, _)| name.as_str()) {
            None => {}
            Some("operator") => call.push_str(" \\\n  -H \"Authorization: Bearer $STAFFETTA_ADMIN_KEY\""),
            Some(_) => call.push_str(" \\\n  -H \"Authorization: Bearer $STAFFETTA_KEY\""),
        }
        if let Some((kind, schema)) = self.body() {
            call.push_str(" \\\n  ");
            match (kind.as_str(), Schemas(self.document).resolved(schema).get("example")) {
                ("multipart/form-data", _) => call.push_str("-F file=@photo.jpg"),
                ("application/toml", _) => call.push_str("--data-binary @registry.toml"),
                (_, Some(example)) => {
                    let _ = write!(call, "-d '{}'", example.to_string().replace('\'', "'\\''"));
                }
                (_, None) => call.push_str("-d @body.json"),
            }
        }
        call
    }

    /// The path with its parameters' examples, and with the parameters that must be there.
    fn example_path(&self) -> String {
        let mut path = self.path.to_owned();
        let mut query = Vec::new();
        for parameter in self.parameters().filter(|parameter| parameter["required"] == true) {
            let name = of(&parameter["name"]);
            let example = parameter["example"].as_str().or(parameter["schema"]["example"].as_str());
            let value = example.map_or_else(|| format!("<{name}>"), encoded);
            match of(&parameter["in"]) {
                "path" => path = path.replace(&format!("{{{name}}}"), &value),
                "query" => query.push(format!("{name}={value}")),
                _ => {}
            }
        }
        if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
    }
}

/// A value as an address holds it.
fn encoded(value: &str) -> String {
    let mut encoded = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

struct Method<'a>(&'a str);

impl Display for Method<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<b class=\"{}\">{}</b>", self.0, self.0.to_uppercase())
    }
}

impl Display for Operation<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let operation = self.operation;
        write!(f, "<article id=\"{}\">", Escaped(of(&operation["operationId"])))?;
        write!(f, "<h3>{} <code>{}</code></h3>", Method(self.method), Escaped(self.path))?;
        write!(f, "<p class=\"summary\">{}</p>", Line(of(&operation["summary"])))?;
        write!(f, "{}", Marked(of(&operation["description"])))?;
        match self.key() {
            None => write!(f, "<p>Needs no key.</p>")?,
            Some((name, _)) if name == "operator" => write!(f, "<p>Needs an operator's key.</p>")?,
            Some((_, scopes)) => {
                write!(f, "<p>Needs a key with the scope ")?;
                for scope in scopes.as_array().into_iter().flatten() {
                    write!(f, "<code class=\"scope\">{}</code>", Escaped(of(scope)))?;
                }
                write!(f, ".</p>")?;
            }
        }
        self.write_parameters(f)?;
        self.write_body(f)?;
        self.write_answers(f)?;
        write!(f, "<h4>Try it</h4><pre>{}</pre></article>", Escaped(self.call()))
    }
}
