//! `/docs`: the API's description as a page for people. It has no script and loads nothing from anywhere.

mod operation;
mod schema;
mod text;

use std::fmt::{self, Display, Formatter};

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::operation::Operation;
use self::schema::Schemas;
use self::text::{Escaped, Marked};
use crate::App;

const STYLE: &str = include_str!("docs/style.css");

/// The page needs its own style and nothing else, whatever may have got into it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Its address.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(docs))
}

/// `GET /docs`: this description as a page to read.
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "get_docs",
    tag = "about",
    security(()),
    responses((status = 200, description = "The page", body = String, content_type = "text/html")),
)]
async fn docs(State(app): State<App>) -> Response {
    let headers = [(header::CONTENT_SECURITY_POLICY, POLICY), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, Html(app.about.page.clone())).into_response()
}

/// The page of a description. `base` is where the examples find the API.
pub(crate) fn page(document: &Value, base: &str) -> String {
    Page { document, base, operations: operations(document) }.to_string()
}

struct Page<'a> {
    document: &'a Value,
    base: &'a str,
    operations: Vec<Operation<'a>>,
}

/// All operations, in the order of their paths.
fn operations(document: &Value) -> Vec<Operation<'_>> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for method in ["get", "post", "put", "patch", "delete"] {
            if let Some(operation) = item.get(method) {
                operations.push(Operation { document, method, path, operation });
            }
        }
    }
    operations
}

impl Page<'_> {
    fn tags(&self) -> impl Iterator<Item = &str> {
        let tags = self.document["tags"].as_array().into_iter().flatten();
        tags.filter_map(|tag| tag["name"].as_str()).filter(|tag| self.of_tag(tag).next().is_some())
    }

    fn of_tag<'s>(&'s self, tag: &'s str) -> impl Iterator<Item = &'s Operation<'s>> {
        self.operations.iter().filter(move |operation| operation.tag() == tag)
    }
}

impl Display for Page<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let info = &self.document["info"];
        let (title, version) = (text::of(&info["title"]), text::of(&info["version"]));
        writeln!(
            f,
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{title} API</title>\
             <style>{STYLE}</style></head><body>",
            title = Escaped(title)
        )?;
        write!(f, "<nav><a class=\"brand\" href=\"#top\">{} <small>API</small></a>", Escaped(title))?;
        for tag in self.tags() {
            write!(f, "<h2>{}</h2><ul>", Escaped(tag))?;
            for operation in self.of_tag(tag) {
                operation.write_entry(f)?;
            }
            write!(f, "</ul>")?;
        }
        write!(f, "<h2>Objects</h2><ul>")?;
        let schemas = Schemas(self.document);
        for (name, _) in schemas.all() {
            write!(f, "<li><a href=\"#schema-{0}\">{0}</a></li>", Escaped(name))?;
        }
        write!(f, "</ul></nav>\n<main id=\"top\"><header><h1>{} API</h1>", Escaped(title))?;
        write!(
            f,
            "<p class=\"version\">Version {} · <a href=\"openapi.json\">openapi.json</a></p>",
            Escaped(version)
        )?;
        write!(f, "{}", Marked(text::of(&info["description"])))?;
        writeln!(
            f,
            "<p>The examples below run as they are once these are set:</p><pre>export STAFFETTA={}\nexport \
             STAFFETTA_KEY=…</pre></header>",
            Escaped(self.base)
        )?;
        for tag in self.tags() {
            write!(f, "<section><h2>{}</h2>", Escaped(tag))?;
            for operation in self.of_tag(tag) {
                write!(f, "{operation}")?;
            }
            writeln!(f, "</section>")?;
        }
        writeln!(f, "<section><h2>Objects</h2>{schemas}</section></main></body></html>")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_a_description_holds_is_text_on_the_page() {
        let evil = "<script>alert(1)</script>\"'`<b>`";
        let document = json!({
            "info": {"title": evil, "version": evil, "description": evil},
            "tags": [{"name": evil}],
            "paths": {evil: {"post": {
                "tags": [evil], "summary": evil, "description": evil, "operationId": evil,
                "security": [{"key": [evil]}],
                "parameters": [{"name": evil, "in": evil, "description": evil, "schema": {"type": evil}}],
                "requestBody": {"content": {evil: {"schema": {"type": "object", "example": {"a": evil}, "properties": {
                    evil: {"type": "string", "enum": [evil], "description": evil}}}}}},
                "responses": {evil: {"description": evil, "content": {evil: {"schema": {"$ref": evil}}}}},
            }}},
            "components": {"schemas": {evil: {"description": evil, "properties": {evil: {"default": evil}}}}},
        });
        let page = page(&document, evil);
        assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains("alert(1)<"), "{page}");
        assert!(!page.contains("\"'"), "{page}");
    }

    #[test]
    fn an_operation_shows_what_it_needs_and_how_to_call_it() {
        let document = json!({
            "info": {"title": "T"}, "tags": [{"name": "things"}],
            "paths": {"/v1/things/{id}": {"put": {
                "tags": ["things"], "summary": "Keeps a thing", "security": [{"key": ["send"]}],
                "parameters": [{"name": "id", "in": "path", "required": true, "example": "t 1", "schema": {"type": "string"}}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                "responses": {"200": {"description": "The `thing`"}},
            }}},
            "components": {"schemas": {"Thing": {"type": "object", "example": {"name": "it's"}}}},
        });
        let page = page(&document, "http://localhost:8080");
        for part in [
            "<code class=\"scope\">send</code>",
            "The <code>thing</code>",
            "href=\"#schema-Thing\"",
            "$STAFFETTA/v1/things/t%201",
            "-X PUT",
            "it&#39;\\&#39;&#39;s",
        ] {
            assert!(page.contains(part), "no {part} in {page}");
        }
    }
}
