//! The objects that requests and answers are made of.

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

use super::text::{Escaped, Line, Marked, of};

const SCHEMAS: &str = "#/components/schemas/";

/// All that have a name.
pub(super) struct Schemas<'a>(pub(super) &'a Value);

impl<'a> Schemas<'a> {
    pub(super) fn all(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.0["components"]["schemas"].as_object().into_iter().flatten()
    }

    /// The schema itself, where this is its name.
    pub(super) fn resolved(&self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str().and_then(|name| name.strip_prefix(SCHEMAS)) {
            Some(name) => &self.0["components"]["schemas"][name],
            None => schema["oneOf"]
                .as_array()
                .and_then(|one_of| one_of.last())
                .map_or(schema, |some| if some["$ref"].is_string() { self.resolved(some) } else { schema }),
        }
    }
}

impl Display for Schemas<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (name, schema) in self.all() {
            write!(f, "<article id=\"schema-{0}\"><h3>{0}</h3>", Escaped(name))?;
            write!(f, "{}", Marked(of(&schema["description"])))?;
            if schema["enum"].is_array() {
                write!(f, "<p>{}</p>", Type(schema))?;
            }
            write!(f, "{}</article>", Fields(schema))?;
        }
        Ok(())
    }
}

/// The fields of an object, and of those that it is made of.
pub(super) struct Fields<'a>(pub(super) &'a Value);

impl Display for Fields<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for part in self.0["allOf"].as_array().into_iter().flatten() {
            if part["$ref"].is_string() {
                write!(f, "<p>All fields of {}, and:</p>", Type(part))?;
            }
            write!(f, "{}", Fields(part))?;
        }
        let Some(fields) = self.0["properties"].as_object() else { return Ok(()) };
        let required = |name: &String| {
            self.0["required"].as_array().is_some_and(|required| required.iter().any(|known| known == name))
        };
        let (needed, others): (Vec<_>, Vec<_>) = fields.iter().partition(|(name, _)| required(name));
        write!(f, "<table>")?;
        for (name, field) in needed.into_iter().chain(others) {
            let mark = if required(name) { " <span class=\"required\">required</span>" } else { "" };
            write!(f, "<tr><td><code>{}</code>{mark}</td><td>{}</td>", Escaped(name), Type(field))?;
            write!(f, "<td>{}{}</td></tr>", Line(of(&field["description"])), Default(field))?;
        }
        write!(f, "</table>")
    }
}

/// What is taken where nothing is given.
struct Default<'a>(&'a Value);

impl Display for Default<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.get("default") {
            None => Ok(()),
            Some(default) => write!(f, " Default: <code>{}</code>", Escaped(default)),
        }
    }
}

/// What kind of value it is.
pub(super) struct Type<'a>(pub(super) &'a Value);

impl Display for Type<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let schema = self.0;
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.strip_prefix(SCHEMAS).unwrap_or(reference);
            return write!(f, "<a href=\"#schema-{0}\">{0}</a>", Escaped(name));
        }
        if let Some(all) = schema["enum"].as_array() {
            for (at, one) in all.iter().enumerate() {
                let between = if at == 0 { "" } else { " · " };
                write!(f, "{between}<code>{}</code>", Escaped(of(one)))?;
            }
            return Ok(());
        }
        for (at, one) in schema["oneOf"].as_array().into_iter().flatten().enumerate() {
            let between = if at == 0 { "" } else { " or " };
            write!(f, "{between}{}", Type(one))?;
        }
        let names: Vec<&str> = match &schema["type"] {
            Value::Array(names) => names.iter().map(of).collect(),
            name => vec![of(name)],
        };
        for (at, name) in names.into_iter().enumerate() {
            let between = if at == 0 { "" } else { " or " };
            match name {
                "array" => write!(f, "{between}list of {}", Type(&schema["items"]))?,
                name => write!(f, "{between}{}", Escaped(name))?,
            }
        }
        match schema["format"].as_str() {
            Some("date-time") => write!(f, " (time)"),
            _ => Ok(()),
        }
    }
}
