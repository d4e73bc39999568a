//! As much of PromQL as it takes to see which metrics a query asks for, and what an alert compares.

use std::collections::BTreeSet;
use std::ops::Range;

/// Words that stand where a metric could.
const WORDS: [&str; 16] = [
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "inf",
    "nan",
    "start",
    "end",
    "atan2",
];
/// Words that a list of labels follows.
const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const COMPARISONS: [&str; 6] = ["==", "!=", ">=", "<=", ">", "<"];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    kind: TokenKind,
    place: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenKind {
    Name,
    Number,
    Text,
    Symbol,
}

/// The metrics that a query asks for, those of recording rules too.
#[must_use]
pub fn metric_names(query: &str) -> BTreeSet<String> {
    let tokens = tokens(query);
    let text = |n: usize| tokens.get(n).map_or("", |token: &Token| &query[token.place.clone()]);
    let mut names = BTreeSet::new();
    let mut n = 0;
    while n < tokens.len() {
        let word = text(n);
        if BEFORE_LABELS.contains(&word) && text(n + 1) == "(" || word == "{" {
            let end = if word == "{" { "}" } else { ")" };
            while n < tokens.len() && text(n) != end {
                n += 1;
            }
        } else if tokens[n].kind == TokenKind::Name
            && !["(", "by", "without"].contains(&text(n + 1))
            && !is_word(word)
        {
            names.insert(word.to_owned());
        }
        n += 1;
    }
    names
}

/// What an alert's expression looks at, without what it compares that with: each part has data while all is well.
///
/// `absent(x) or y > 3` gives `x` and `y`.
#[must_use]
pub fn operands(query: &str) -> Vec<String> {
    let query = without_parentheses(query);
    let tokens = tokens(query);
    let text = |token: &Token| &query[token.place.clone()];
    let mut parts = Vec::new();
    let (mut depth, mut from) = (0_i32, 0);
    for token in &tokens {
        let word = text(token);
        match word {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        let is_split = ["and", "or", "unless"].contains(&word) || COMPARISONS.contains(&word);
        if depth == 0 && is_split && token.kind != TokenKind::Text {
            parts.push(&query[from..token.place.start]);
            from = token.place.end;
        }
    }
    parts.push(&query[from..]);
    if parts.len() > 1 {
        return parts.into_iter().map(without_modifiers).flat_map(operands).collect();
    }
    let absences = absences(query, &tokens);
    if !absences.is_empty() {
        return absences;
    }
    let is_constant = metric_names(query).is_empty() && !query.contains('{');
    if is_constant { Vec::new() } else { vec![without_comparisons(query)] }
}

/// What a query wants to know to be gone, however deep it asks.
fn absences(query: &str, tokens: &[Token]) -> Vec<String> {
    let mut found = Vec::new();
    for (n, token) in tokens.iter().enumerate() {
        let function = &query[token.place.clone()];
        let opens = tokens.get(n + 1).filter(|next| &query[next.place.clone()] == "(");
        let Some(opens) = opens.filter(|_| function == "absent" || function == "absent_over_time") else {
            continue;
        };
        let inside = &query[opens.place.start..];
        let inner = operands(&inside[..length_of_parentheses(inside)]);
        // A range is no value by itself.
        found
            .extend(inner.into_iter().map(|inner| if function == "absent" { inner } else { last_of(inner) }));
    }
    found
}

/// The query with each `$name`, `${name}` and `${name:format}` as the variable says.
#[must_use]
pub fn with_variables(query: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = query;
    while let Some(at) = rest.find('$') {
        out += &rest[..at];
        let after = &rest[at + 1..];
        let (name, length) = match after.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
            Some((inside, _)) => (inside.split(':').next().unwrap_or(inside), inside.len() + 2),
            None => {
                let end = after.find(|c: char| !is_name(c)).unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        match value(name).filter(|_| length > 0) {
            Some(value) => out += &value,
            None => out += &rest[at..at + 1 + length],
        }
        rest = &after[length..];
    }
    out + rest
}

fn is_word(word: &str) -> bool {
    WORDS.contains(&word.to_ascii_lowercase().as_str())
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn tokens(query: &str) -> Vec<Token> {
    let bytes = query.as_bytes();
    let run = |from: usize, such: &dyn Fn(char) -> bool| {
        query[from..].find(|c: char| !such(c)).map_or(query.len(), |length| from + length)
    };
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let first = char::from(bytes[at]);
        let (kind, end) = match first {
            _ if first.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            '#' => {
                at = run(at, &|c| c != '\n');
                continue;
            }
            '"' | '\'' | '`' => (TokenKind::Text, end_of_text(query, at)),
            '0'..='9' | '.' => (TokenKind::Number, run(at, &|c| is_name(c) || c == '.')),
            '$' => (TokenKind::Number, run(at + 1, &|c| is_name(c) || c == '{' || c == '}' || c == ':')),
            _ if is_name(first) || first == ':' => (TokenKind::Name, run(at, &|c| is_name(c) || c == ':')),
            _ => {
                let two =
                    query.get(at..at + 2).filter(|two| ["==", "!=", ">=", "<=", "=~", "!~"].contains(two));
                (TokenKind::Symbol, two.map_or_else(|| run_of_one(query, at), |_| at + 2))
            }
        };
        tokens.push(Token { kind, place: at..end });
        at = end;
    }
    tokens
}

fn run_of_one(query: &str, at: usize) -> usize {
    at + query[at..].chars().next().map_or(1, char::len_utf8)
}

fn end_of_text(query: &str, at: usize) -> usize {
    let quote = query.as_bytes()[at];
    let mut escaped = false;
    for (n, byte) in query.bytes().enumerate().skip(at + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quote != b'`' => escaped = true,
            _ if byte == quote => return n + 1,
            _ => {}
        }
    }
    query.len()
}

/// Whether the first parenthesis is closed by the last character.
fn closes_at_end(query: &str) -> bool {
    length_of_parentheses(query) == query.len()
}

/// How far the parenthesis reaches that the query begins with; nowhere if it begins with none.
fn length_of_parentheses(query: &str) -> usize {
    let mut depth = 0;
    for token in tokens(query) {
        match &query[token.place.clone()] {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return token.place.end;
        }
    }
    0
}

fn without_parentheses(query: &str) -> &str {
    let mut query = query.trim();
    while query.starts_with('(') && closes_at_end(query) {
        query = query[1..query.len() - 1].trim();
    }
    query
}

/// What follows `bool`, `on (…)` and the like.
fn without_modifiers(query: &str) -> &str {
    let mut query = query.trim();
    loop {
        let end = query.find(|c: char| !is_name(c)).unwrap_or(query.len());
        let word = &query[..end];
        if word == "bool" {
            query = query[end..].trim();
        } else if BEFORE_LABELS.contains(&word) && query[end..].trim_start().starts_with('(') {
            query = query.split_once(')').map_or("", |(_, after)| after).trim();
        } else if word == "group_left" || word == "group_right" {
            query = query[end..].trim();
        } else {
            return query;
        }
    }
}

/// A range's last value.
fn last_of(range: String) -> String {
    if range.trim_end().ends_with(']') { format!("last_over_time({range})") } else { range }
}

/// Without `> 3` and the like, wherever it stands, and of now: a run is younger than what `offset` looks back on.
fn without_comparisons(query: &str) -> String {
    let tokens = tokens(query);
    let text = |n: usize| tokens.get(n).map_or("", |token: &Token| &query[token.place.clone()]);
    let mut out = String::new();
    let (mut n, mut from, mut braces) = (0, 0, 0);
    while n < tokens.len() {
        match text(n) {
            "{" => braces += 1,
            "}" => braces -= 1,
            _ => {}
        }
        if braces == 0 && tokens[n].kind == TokenKind::Symbol && COMPARISONS.contains(&text(n)) {
            let number = if text(n + 1) == "bool" { n + 2 } else { n + 1 };
            if tokens.get(number).is_some_and(|token| token.kind == TokenKind::Number) {
                out += &query[from..tokens[n].place.start];
                from = tokens[number].place.end;
                n = number;
            }
        }
        if text(n) == "offset" && tokens[n].kind == TokenKind::Name && n + 1 < tokens.len() {
            out += &query[from..tokens[n].place.start];
            from = tokens[n + 1].place.end;
            n += 1;
        }
        n += 1;
    }
    out + &query[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(query: &str) -> Vec<String> {
        metric_names(query).into_iter().collect()
    }

    #[test]
    fn metrics_are_told_from_functions_labels_and_words() {
        let query = r#"histogram_quantile(0.99, sum by (le, tenant) (rate(a_bucket{x="b > c", y=~"$z"}[$__rate_interval])))
            / on (tenant) group_left (name) max without(pod) (d offset 5m) or vector(0) # e"#;
        assert_eq!(names(query), ["a_bucket", "d"]);
        assert_eq!(names("job:a:rate5m unless on() up == 1"), ["job:a:rate5m", "up"]);
        assert_eq!(names("time() - 3e5"), Vec::<String>::new());
    }

    #[test]
    fn an_alerts_operands_are_what_it_looks_at() {
        assert_eq!(operands("a > 3"), ["a"]);
        assert_eq!(operands("absent(a{x=\"y\"})"), ["a{x=\"y\"}"]);
        assert_eq!(operands("absent_over_time(a[5m])"), ["last_over_time(a[5m])"]);
        assert_eq!(
            operands(
                "(sum by (t) (rate(a[1m])) == 0 and on (t) b > bool 2) unless ignoring(x) group_left() c == 1"
            ),
            ["sum by (t) (rate(a[1m]))", "b", "c"]
        );
        assert_eq!(operands("count(a == 0) / count(a) > 0.5"), ["count(a ) / count(a)"]);
        assert_eq!(operands("a{x=\"1 > 2\"} - b < 3 * 4"), ["a{x=\"1 > 2\"} - b"]);
        assert_eq!(
            operands(r#"label_replace(absent(a{x="y"}), "s", "a", "", "") or absent(b)"#),
            ["a{x=\"y\"}", "b"]
        );
        assert_eq!(operands("a unless a offset 15m"), ["a", "a "]);
        assert_eq!(operands("count({__name__=~\"a.+\"}) > 0"), ["count({__name__=~\"a.+\"})"]);
    }

    #[test]
    fn variables_are_put_in_by_any_of_their_forms() {
        let value = |name: &str| (name == "a").then(|| "1".to_owned());
        assert_eq!(with_variables("$a ${a} ${a:regex} $b ${b} $", value), "1 1 1 $b ${b} $");
    }
}
