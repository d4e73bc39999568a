//! Lists in pages, and the fields of a node that were asked for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::{Call, Reply};
use crate::graph_error::GraphError;

/// Elements of a page that asks for no number of them, and the most that a page holds.
const PAGE: usize = 25;
const LARGEST_PAGE: usize = 1_000;

/// A kind of node: its fields, and those told when none is asked for.
pub(super) struct Node {
    pub(super) name: &'static str,
    pub(super) fields: &'static [&'static str],
    pub(super) usual: &'static [&'static str],
}

impl Node {
    /// Leaves the fields that `fields` asks for, and the id. Fails on one that the node can't have.
    pub(super) fn select(&self, mut known: Map<String, Value>, fields: Option<&str>) -> Reply {
        let wanted = match fields {
            None => self.usual.to_vec(),
            Some(fields) => names(fields).collect(),
        };
        if let Some(unknown) = wanted.iter().find(|name| !self.fields.contains(name)) {
            return Err(GraphError::parameter(format!(
                "Tried accessing nonexisting field ({unknown}) on node type ({})",
                self.name
            )));
        }
        known.retain(|name, _| name == "id" || wanted.contains(&name.as_str()));
        Ok(Value::Object(known))
    }
}

/// The names in `a,b{c,d},e`.
fn names(fields: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let parts = fields.split(move |c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(|part| part.split(['{', '.']).next().unwrap_or_default().trim()).filter(|name| !name.is_empty())
}

/// The page of `items`, ascending by their keys, that `limit`, `after` and `before` ask for. Fails with
/// 131059 when the element that a cursor names is gone.
pub(super) fn page(call: &Call<'_>, edge: &str, items: Vec<(String, Value)>) -> Reply {
    let limit = match call.query("limit").map(str::parse) {
        None => PAGE,
        Some(Ok(limit @ 1..=LARGEST_PAGE)) => limit,
        Some(_) => return Err(GraphError::parameter("Param limit must be a positive number.")),
    };
    let position = |cursor: &str| {
        let key = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|key| String::from_utf8(key).ok());
        let key = key.ok_or_else(|| GraphError::of(131_059))?;
        items.binary_search_by(|(known, _)| known.cmp(&key)).map_err(|_| GraphError::of(131_059))
    };
    let (from, to) = match (call.query("after"), call.query("before")) {
        (Some(after), _) => {
            let from = position(after)? + 1;
            (from, items.len().min(from + limit))
        }
        (None, Some(before)) => {
            let to = position(before)?;
            (to.saturating_sub(limit), to)
        }
        (None, None) => (0, items.len().min(limit)),
    };
    let shown = &items[from..to];
    let mut answer = json!({ "data": shown.iter().map(|(_, item)| item).collect::<Vec<_>>() });
    let (Some((first, _)), Some((last, _))) = (shown.first(), shown.last()) else { return Ok(answer) };
    let (before, after) = (URL_SAFE_NO_PAD.encode(first), URL_SAFE_NO_PAD.encode(last));
    if to < items.len() {
        answer["paging"]["next"] = json!(call.link(edge, ("after", &after)));
    }
    if from > 0 {
        answer["paging"]["previous"] = json!(call.link(edge, ("before", &before)));
    }
    answer["paging"]["cursors"] = json!({ "before": before, "after": after });
    Ok(answer)
}

impl Call<'_> {
    /// The same question for another page. Like Graph's it carries the token.
    fn link(&self, edge: &str, (name, cursor): (&str, &str)) -> String {
        let mut query: Vec<(&str, &str)> = self
            .query
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| !matches!(*name, "after" | "before" | "access_token"))
            .collect();
        query.sort_unstable();
        query.extend([("access_token", self.token().unwrap_or_default()), (name, cursor)]);
        let path = format!("http://{}/{}/{edge}", self.host, self.id);
        reqwest::Url::parse_with_params(&path, query).map_or(path, String::from)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn fields_may_have_fields() {
        let names: Vec<&str> =
            super::names("id, name,health_status{entities{id,errors}},webhook.x,").collect();
        assert_eq!(names, ["id", "name", "health_status", "webhook"]);
    }
}
