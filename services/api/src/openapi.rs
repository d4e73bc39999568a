//! The API's own description, OpenAPI 3.1: made from the handlers, so that it can't say anything else than they do.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::problem::Kind;

const ABOUT: &str = "\
Send WhatsApp messages over HTTP, ask how far they have come, and hear what happens. Every request shows an API key as a \
bearer token; what belongs to another tenant looks as if it did not exist.

Lists answer `{\"items\": […], \"next\": \"…\"}`: give `next` as `cursor` to get the next page; null ends the list.

Errors are `application/problem+json` (RFC 9457). Decide by `type` and by the status: both are stable.

Each answer to a known key says how many requests it has left: `RateLimit-Policy: \"default\";q=1000;w=1` (1000 within one \
second) and `RateLimit: \"default\";r=998;t=1` (998 left, all again within one second).";

/// What the operations are about, in the order in which a reader wants them.
const TAGS: [&str; 12] = [
    "messages",
    "conversations",
    "contacts",
    "channels",
    "templates",
    "media",
    "events",
    "endpoints",
    "dead letters",
    "graph",
    "admin",
    "about",
];

/// Problems that any request of a tenant's may meet.
const COMMON: [(&str, &str, &str); 5] = [
    ("401", "Unauthorized", "`unauthorized`: no API key, or one that is not known"),
    ("403", "Forbidden", "`forbidden`: the key lacks the scope"),
    ("429", "RateLimited", "`rate-limited`: repeat after `Retry-After` seconds"),
    ("500", "Internal", "`internal`: a fault of Staffetta's; it is logged"),
    ("503", "Unavailable", "`unavailable`: repeat after `Retry-After` seconds"),
];

/// Its address.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(document))
}

/// `GET /openapi.json`: this document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "get_openapi",
    tag = "about",
    security(()),
    responses((status = 200, description = "The document", body = Value)),
)]
async fn document(State(app): State<App>) -> Json<Value> {
    Json(app.about.document.clone())
}

/// What the handlers say of themselves, with what holds for all of them.
pub(crate) fn finished(document: utoipa::openapi::OpenApi) -> Value {
    let mut document =
        serde_json::to_value(document).expect("the description is JSON: it has texts for keys");
    document["info"] = json!({
        "title": "Staffetta", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT,
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    });
    let mut tags = TAGS.map(Value::from).to_vec();
    for (path, item) in entries(&mut document["paths"]) {
        for (method, operation) in entries(item) {
            finish(path, method, operation);
            for tag in operation["tags"].as_array().into_iter().flatten() {
                if !tags.contains(tag) {
                    tags.push(tag.clone());
                }
            }
        }
    }
    document["tags"] = tags.into_iter().map(|name| json!({"name": name})).collect();
    let components = &mut document["components"];
    components["schemas"]["Problem"] = problem();
    components["responses"] =
        COMMON.map(|(_, name, text)| (name.to_owned(), answer(text))).into_iter().collect();
    components["securitySchemes"] = json!({
        "key": {
            "type": "http", "scheme": "bearer",
            "description": "A tenant's API key. An operation names the scope that the key needs: read, send or admin.",
        },
        "operator": {"type": "http", "scheme": "bearer", "description": "A key of whoever runs Staffetta."},
    });
    document
}

/// An operation needs a key unless it says otherwise: one that may read in order to read, and one that may send for
/// everything else.
fn finish(path: &str, method: &str, operation: &mut Value) {
    let reads = matches!(method, "get" | "head");
    let is_admin = path.starts_with("/admin/");
    if operation["security"].is_null() {
        operation["security"] = match (is_admin, reads) {
            (true, _) => json!([{"operator": []}]),
            (false, true) => json!([{"key": ["read"]}]),
            (false, false) => json!([{"key": ["send"]}]),
        };
    }
    // A summary that repeats the address tells nothing.
    if let Some(summary) = operation["summary"].as_str()
        && let Some((_, rest)) = summary.strip_prefix('`').and_then(|summary| summary.split_once("`: "))
    {
        let mut letters = rest.trim_end_matches('.').chars();
        let capital = letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>());
        operation["summary"] = json!(capital);
    }
    // The facade's problems are Meta's.
    if path.starts_with("/graph/") {
        return;
    }
    let is_open = operation["security"].as_array().is_some_and(|needed| needed.contains(&json!({})));
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, response) in responses.iter_mut() {
        if status.starts_with(['4', '5']) && response["content"].is_null() {
            response["content"] = problem_content();
        }
    }
    for (status, name, _) in COMMON.iter().filter(|_| !is_open) {
        responses.entry(*status).or_insert_with(|| json!({"$ref": format!("#/components/responses/{name}")}));
    }
}

fn problem() -> Value {
    let types: Vec<String> = Kind::ALL.iter().map(|kind| kind.address()).collect();
    json!({
        "type": "object",
        "description": "What went wrong (RFC 9457).",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "description": "What kind of problem it is. It never changes.", "enum": types},
            "title": {"type": "string", "description": "The kind, for people."},
            "status": {"type": "integer", "description": "The HTTP status."},
            "detail": {"type": "string", "description": "For people; may change."},
            "field": {"type": "string", "description": "The field or parameter that is wrong."},
            "id": {"type": "string", "description": "The message's id: repeat the request with it."},
            "state": {"type": "string", "description": "How far the message has come."},
        },
    })
}

fn problem_content() -> Value {
    json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}})
}

fn answer(text: &str) -> Value {
    json!({"description": text, "content": problem_content()})
}

fn entries(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flat_map(Map::iter_mut)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn document() -> Value {
        finished(crate::routes().into_openapi())
    }

    fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
        let paths = document["paths"].as_object().into_iter().flatten();
        paths.flat_map(|(path, item)| {
            let item = item.as_object().into_iter().flatten();
            item.map(move |(method, operation)| (format!("{method} {path}"), operation))
        })
    }

    /// `STAFFETTA_WRITE_OPENAPI=1 cargo test -p staffetta-api openapi` writes it anew.
    #[test]
    fn the_document_in_docs_is_this_one() {
        let document = document();
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        if std::env::var_os("STAFFETTA_WRITE_OPENAPI").is_some() {
            let text = serde_json::to_string_pretty(&document).unwrap();
            std::fs::write(file, text + "\n").unwrap();
        }
        let kept: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert!(
            kept == document,
            "docs/openapi.json is not what the handlers say: see this test for how to write it"
        );
    }

    /// The router lists its paths only for whoever debugs it.
    #[test]
    fn every_address_that_is_served_is_described() {
        let (router, document) = crate::routes().split_for_parts();
        let router = format!("{router:?}");
        let described: BTreeSet<&str> = document.paths.paths.keys().map(String::as_str).collect();
        let paths = router.split('"').filter(|text| text.starts_with('/'));
        // The fallback stands among them.
        let served: BTreeSet<&str> =
            paths.filter(|path| *path != "/" && !path.starts_with("/{*__")).collect();
        assert!(served.len() > 15, "{router}");
        assert_eq!(served, described);
    }

    #[test]
    fn operations_have_names_of_their_own_and_say_what_they_do() {
        let document = document();
        let mut names = BTreeSet::new();
        for (place, operation) in operations(&document) {
            let name = operation["operationId"].as_str().unwrap_or_default();
            assert!(names.insert(name.to_owned()), "{place}: another operation is called {name} too");
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!(!summary.is_empty() && !summary.starts_with('`'), "{place}: {summary}");
            assert!(operation["tags"][0].is_string(), "{place} has no tag");
            let needed = operation["security"][0].as_object().unwrap();
            for (scheme, scopes) in needed {
                assert!(document["components"]["securitySchemes"][scheme].is_object(), "{place}: {scheme}");
                let known = scopes
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|scope| ["read", "send", "admin"].iter().any(|known| scope == known));
                assert!(known, "{place}: {scopes}");
            }
        }
    }

    #[test]
    fn a_problem_is_named_as_it_is_in_its_answer() {
        let document = document();
        let known: BTreeSet<String> = Kind::ALL.iter().map(|kind| kind.address()).collect();
        for (place, operation) in operations(&document).filter(|(place, _)| !place.contains(" /graph/")) {
            for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
                if !status.starts_with(['4', '5']) || answer["$ref"].is_string() {
                    continue;
                }
                let text = answer["description"].as_str().unwrap_or_default();
                let slugs = text
                    .split('`')
                    .skip(1)
                    .step_by(2)
                    .filter(|text| text.contains('-') || *text == "forbidden");
                for slug in
                    slugs.filter(|slug| slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
                {
                    assert!(
                        known.contains(&format!("/problems/{slug}")),
                        "{place}: no problem is called {slug}"
                    );
                }
                assert!(answer["content"]["application/problem+json"].is_object(), "{place}: {status}");
            }
        }
    }

    #[test]
    fn whatever_is_referred_to_is_there() {
        let document = document();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
