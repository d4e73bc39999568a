//! The same JSON in other clothes: white space, the order of fields, escapes.

use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use serde_json::Value;

/// A body on its way to be written.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// JSON.
    Plain(Value),
    /// Text that goes in as it is, JSON or not.
    Raw(String),
    /// A list of nodes.
    List(Vec<Node>),
    /// An object of nodes.
    Object(Vec<(String, Node)>),
}

/// A way of writing.
#[derive(Debug)]
pub(crate) struct Dress {
    rng: SmallRng,
    escapes: Escapes,
    /// How often white space goes where it may, in percent.
    space: u32,
    shuffles: bool,
}

#[derive(Clone, Copy, Debug)]
enum Escapes {
    /// What JSON asks for.
    Few,
    /// What Meta signs: ASCII alone, lower-case hex, and some more.
    Meta,
    /// Any character, now and then.
    Any,
}

impl Dress {
    /// As a program would write it.
    pub(crate) fn plain() -> Self {
        Self { rng: SmallRng::seed_from_u64(0), escapes: Escapes::Few, space: 0, shuffles: false }
    }

    /// One of many ways.
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let escapes = *[Escapes::Few, Escapes::Meta, Escapes::Any].choose(&mut rng).unwrap_or(&Escapes::Few);
        let space = *[0, 5, 50].choose(&mut rng).unwrap_or(&0);
        Self { shuffles: rng.random(), rng, escapes, space }
    }

    /// The text.
    pub(crate) fn write(mut self, node: &Node) -> String {
        let mut text = String::new();
        self.node(node, &mut text);
        text
    }

    fn node(&mut self, node: &Node, text: &mut String) {
        match node {
            Node::Plain(value) => self.value(value, text),
            Node::Raw(raw) => text.push_str(raw),
            Node::List(items) => self.list(items, Self::node, text),
            Node::Object(fields) => {
                self.object(fields.iter().map(|(name, node)| (name, node)).collect(), Self::node, text);
            }
        }
    }

    fn value(&mut self, value: &Value, text: &mut String) {
        match value {
            Value::String(string) => self.string(string, text),
            Value::Array(items) => self.list(items, Self::value, text),
            Value::Object(fields) => self.object(fields.iter().collect(), Self::value, text),
            plain => text.push_str(&plain.to_string()),
        }
    }

    fn list<T>(&mut self, items: &[T], write: fn(&mut Self, &T, &mut String), text: &mut String) {
        text.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            self.space(text);
            write(self, item, text);
            self.space(text);
        }
        text.push(']');
    }

    fn object<T>(
        &mut self,
        mut fields: Vec<(&String, &T)>,
        write: fn(&mut Self, &T, &mut String),
        text: &mut String,
    ) {
        if self.shuffles {
            fields.shuffle(&mut self.rng);
        }
        text.push('{');
        for (index, (name, item)) in fields.into_iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            self.space(text);
            self.string(name, text);
            self.space(text);
            text.push(':');
            self.space(text);
            write(self, item, text);
            self.space(text);
        }
        text.push('}');
    }

    fn space(&mut self, text: &mut String) {
        while self.rng.random_ratio(self.space, 100) {
            text.push_str([" ", "\n", "\t", "\r\n    "].choose(&mut self.rng).unwrap_or(&" "));
        }
    }

    fn string(&mut self, string: &str, text: &mut String) {
        text.push('"');
        for character in string.chars() {
            match (self.escapes, character) {
                (_, '"') => text.push_str("\\\""),
                (_, '\\') => text.push_str("\\\\"),
                (_, '\0'..='\x1f') => escape(character, text, digits),
                (Escapes::Meta, '/') => text.push_str("\\/"),
                (Escapes::Meta, '<' | '%' | '@') => escape(character, text, capital_digits),
                (Escapes::Meta, '\u{7f}'..) => escape(character, text, digits),
                (Escapes::Any, _) if self.rng.random_ratio(1, 4) => {
                    let hex = if self.rng.random() { digits } else { capital_digits };
                    escape(character, text, hex);
                }
                _ => text.push(character),
            }
        }
        text.push('"');
    }
}

/// As UTF-16, of which JSON's escapes are made.
fn escape(character: char, text: &mut String, hex: fn(u16) -> String) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        text.push_str("\\u");
        text.push_str(&hex(*unit));
    }
}

fn digits(unit: u16) -> String {
    format!("{unit:04x}")
}

fn capital_digits(unit: u16) -> String {
    format!("{unit:04X}")
}
