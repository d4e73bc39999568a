//! Lists of the provider's, with links of our own from page to page: the provider's carry its token.

use axum::http::{HeaderMap, header};
use serde_json::{Value, json};
use staffetta_runtime::config::ApiConfig;

use super::fields::{keep, value};

/// Where the client finds us: as the operator says, or else as the request does.
pub(super) fn origin(config: &ApiConfig, headers: &HeaderMap) -> String {
    if let Some(url) = &config.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let host = text(header::HOST).filter(|host| !host.is_empty() && host.bytes().all(plain));
    let proxied = text(header::HeaderName::from_static("x-forwarded-proto"));
    let scheme =
        if proxied.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")) { "https" } else { "http" };
    format!("{scheme}://{}", host.unwrap_or("localhost"))
}

/// An address with a query.
pub(super) fn with_query<'a>(address: &str, query: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut link = address.to_owned();
    for (n, (name, value)) in query.into_iter().enumerate() {
        link.push(if n == 0 { '?' } else { '&' });
        link.push_str(name);
        link.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~,".contains(&byte) {
                link.push(char::from(byte));
            } else {
                link.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    link
}

/// A page of the provider's list for the client: items that it may see, and of them what it may see. `address` is where
/// the client asked, `query` what.
pub(super) fn page(
    mut list: Value,
    is_own: impl Fn(&Value) -> bool,
    known: &[&str],
    address: &str,
    query: &[(String, String)],
) -> Value {
    let mut items = match list["data"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    items.retain(is_own);
    items.iter_mut().for_each(|item| keep(item, known));
    let mut page = json!({ "data": items });
    let mut paging = json!({});
    for (link, cursor) in [("next", "after"), ("previous", "before")] {
        let Some(place) = list["paging"]["cursors"][cursor].as_str() else { continue };
        paging["cursors"][cursor] = json!(place);
        if list["paging"][link].is_string() {
            let query = query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let rest = query.filter(|(name, _)| !matches!(*name, "after" | "before"));
            paging[link] = json!(with_query(address, rest.chain([(cursor, place)])));
        }
    }
    if paging.as_object().is_some_and(|paging| !paging.is_empty()) {
        page["paging"] = paging;
    }
    page
}

/// Where the page after this one of the provider's begins, if there is one.
pub(crate) fn after(list: &Value) -> Option<&str> {
    let next = list["paging"]["next"].is_string();
    list["paging"]["cursors"]["after"].as_str().filter(|_| next)
}

/// How many items of a page are asked for, if the client said so; never so many that the answer is too large.
pub(super) fn limit(query: &[(String, String)]) -> Option<&str> {
    value(query, "limit").map(|limit| match limit.parse::<u32>() {
        Ok(250..) => "250",
        _ => limit,
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_page_leads_on_through_us_and_shows_its_own_alone() {
        let list = json!({
            "data": [{"id": "1", "secret": 1}, {"id": "2"}],
            "paging": {
                "cursors": {"before": "b=", "after": "a="},
                "next": "https://graph.example/v24.0/W/phone_numbers?access_token=EAA&after=a=",
                "more": "https://graph.example",
            },
            "summary": {"total_count": 7},
        });
        let query = [("limit", "2"), ("after", "z"), ("fields", "id,status")];
        let query = query.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let page = page(
            list.clone(),
            |item| item["id"] == "1",
            &["id"],
            "https://us.example/graph/v1.0/W/x",
            &query,
        );
        let expected = json!({
            "data": [{"id": "1"}],
            "paging": {
                "cursors": {"before": "b=", "after": "a="},
                "next": "https://us.example/graph/v1.0/W/x?limit=2&fields=id,status&after=a%3D",
            },
        });
        assert_eq!(page, expected);
        assert_eq!(after(&list), Some("a="));
    }

    #[test]
    fn a_list_without_pages_has_none() {
        assert_eq!(page(json!({"data": []}), |_| true, &[], "x", &[]), json!({"data": []}));
        assert_eq!(after(&json!({"paging": {"cursors": {"after": "a"}}})), None);
    }

    #[test]
    fn the_client_finds_us_where_it_was_told() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("api.example:8080"));
        assert_eq!(origin(&ApiConfig::default(), &headers), "http://api.example:8080");
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        assert_eq!(origin(&ApiConfig::default(), &headers), "https://api.example:8080");
        let config = ApiConfig { public_url: Some("https://wa.example/api/".into()), ..ApiConfig::default() };
        assert_eq!(origin(&config, &headers), "https://wa.example/api");
        headers.insert(header::HOST, HeaderValue::from_static("a\"b"));
        assert_eq!(origin(&ApiConfig::default(), &headers), "https://localhost");
    }

    #[test]
    fn a_page_is_never_too_long() {
        let of = |limit: &str| super::limit(&[("limit".to_owned(), limit.to_owned())]).map(str::to_owned);
        assert_eq!(
            (of("7").as_deref(), of("9999").as_deref(), of("x").as_deref()),
            (Some("7"), Some("250"), Some("x"))
        );
    }
}
