//! What the API describes of itself, and requests for it about this or that.

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use staffetta_tests::text;

use crate::web::{Web, told};

/// Fewer operations than this can't be all of them.
pub(super) const MANY: usize = 40;

/// One operation of the description.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: String,
    /// `read`, `send`, `admin` or `operator`; none if it needs no key.
    pub(super) scope: Option<String>,
}

impl Route {
    /// Whether it lists what the caller has.
    pub(super) fn is_list(&self) -> bool {
        self.method == Method::GET
            && !self.path.contains('{')
            && self.scope.as_deref() == Some("read")
            && self.path != "/v1/events"
    }
}

/// All operations that `/openapi.json` describes.
pub(super) async fn routes(web: &Web) -> Vec<Route> {
    let document = told(web.request(Method::GET, "/openapi.json")).await.json();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let needed = operation["security"][0].as_object().unwrap().iter().next();
            let scope = needed.map(|(name, scopes)| scopes[0].as_str().unwrap_or(name).to_owned());
            routes.push(Route { method: method.to_uppercase().parse().unwrap(), path: path.clone(), scope });
        }
    }
    assert!(routes.len() >= MANY, "{} routes", routes.len());
    routes
}

/// What one tenant has, by the names that addresses and bodies call it.
#[derive(Clone, Debug)]
pub(super) struct Things {
    pub(super) message: String,
    pub(super) conversation: String,
    pub(super) letter: String,
    pub(super) channel: String,
    pub(super) endpoint: String,
    pub(super) contact: String,
    pub(super) number: String,
    pub(super) account: String,
    pub(super) file: String,
    pub(super) wamid: String,
}

impl Things {
    /// Nobody's.
    pub(super) fn missing() -> Self {
        let name = |name: &str| name.to_owned();
        Self {
            message: name("no-such"),
            conversation: name("c999999"),
            letter: name("d999999"),
            channel: name("no-such-channel"),
            endpoint: name("no-such-endpoint"),
            contact: name("447700900999"),
            number: name("799999"),
            account: name("798989"),
            file: name("1013859600285999"),
            wamid: name("wamid.none"),
        }
    }

    pub(super) fn all(&self) -> [&str; 10] {
        [
            &self.message,
            &self.conversation,
            &self.letter,
            &self.channel,
            &self.endpoint,
            &self.contact,
            &self.number,
            &self.account,
            &self.file,
            &self.wamid,
        ]
    }

    /// What the address may name.
    fn ids(&self, path: &str) -> Vec<&str> {
        match path.split('/').collect::<Vec<_>>()[1..] {
            ["v1", "messages", ..] => vec![&self.message],
            ["v1", "conversations", ..] => vec![&self.conversation],
            ["v1", "dead-letters", ..] => vec![&self.letter],
            ["v1", "channels", ..] => vec![&self.channel],
            ["v1", "endpoints", ..] => vec![&self.endpoint],
            ["v1", "contacts", ..] => vec![&self.contact],
            ["v1", "media", ..] => vec![&self.file],
            ["graph", _, _] => vec![&self.number, &self.account, &self.file],
            ["graph", _, _, "content"] => vec![&self.file],
            ["graph", _, _, "phone_numbers" | "message_templates"] => vec![&self.account],
            ["graph", ..] => vec![&self.number],
            _ => panic!("say what stands in {path}"),
        }
    }

    /// The addresses of a route about these things.
    pub(super) fn paths(&self, path: &str) -> Vec<String> {
        if !path.contains('{') {
            return vec![path.to_owned()];
        }
        let named = |id: &str| path.replace("{version}", "v24.0").replace("{number}", id).replace("{id}", id);
        self.ids(path).into_iter().map(named).collect()
    }

    /// A text without their names.
    pub(super) fn left_out(&self, text: &str) -> String {
        self.all().iter().fold(text.to_owned(), |text, name| text.replace(name, "…"))
    }

    /// A request that the route would take if these were the caller's own.
    pub(super) fn body(&self, request: RequestBuilder, route: &Route) -> RequestBuilder {
        let body = match (route.method.as_str(), route.path.as_str()) {
            ("GET" | "DELETE", _) => return request,
            ("POST", "/v1/media") => return file(request, &[]),
            ("POST", path) if path.ends_with("/media") => {
                return file(request, &[("messaging_product", "whatsapp"), ("type", "image/png")]);
            }
            (_, "/v1/messages") => {
                let mut command = text("walls-1", "393481300001");
                command["channel"] = self.channel.as_str().into();
                command
            }
            (_, "/v1/conversations/{id}/read") => json!({ "up_to": self.wamid }),
            (_, "/v1/endpoints/{id}/replay") => json!({ "from": "2026-01-01T00:00:00Z" }),
            (_, "/v1/contacts/{number}") => json!({ "name": "Anna" }),
            (_, path) if path.ends_with("/whatsapp_business_profile") => {
                json!({ "messaging_product": "whatsapp", "about": "x" })
            }
            (_, path) if path.starts_with("/graph/") => {
                json!({ "messaging_product": "whatsapp", "to": "393481300001", "type": "text", "text": { "body": "x" } })
            }
            _ => json!({}),
        };
        request.header("Content-Type", "application/json").body(body.to_string())
    }
}

/// A form with a small picture, after these fields.
pub(super) fn file(request: RequestBuilder, fields: &[(&str, &str)]) -> RequestBuilder {
    let part = |name: &str, rest: &str, content: &str| {
        format!("--limit\r\nContent-Disposition: form-data; name=\"{name}\"{rest}\r\n\r\n{content}\r\n")
    };
    let fields: String = fields.iter().map(|(name, value)| part(name, "", value)).collect();
    let body = fields
        + &part("file", "; filename=\"a.png\"\r\nContent-Type: image/png", "\u{89}PNG")
        + "--limit--\r\n";
    request.header("Content-Type", "multipart/form-data; boundary=limit").body(body)
}
