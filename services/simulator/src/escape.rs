//! The JSON that Meta signs.

/// Rewrites JSON as Meta puts it on the wire: ASCII only, every other UTF-16 unit as a `\u` escape in lower
/// case, every `/` as `\/`. Both occur inside JSON strings only, so the meaning stays the same.
pub(crate) fn escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len() + json.len() / 8);
    let mut units = [0_u16; 2];
    for c in json.chars() {
        match c {
            '/' => escaped.push_str("\\/"),
            c if c.is_ascii() => escaped.push(c),
            c => {
                for unit in c.encode_utf16(&mut units) {
                    push_unit(&mut escaped, *unit);
                }
            }
        }
    }
    escaped
}

fn push_unit(escaped: &mut String, unit: u16) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    escaped.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        escaped.push(char::from(DIGITS[usize::from((unit >> shift) & 0xf)]));
    }
}

#[cfg(test)]
mod tests {
    use super::escape;
    use crate::webhooks::signature;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_body_leaves_in_the_form_that_meta_signs() {
        let plain = r#"{"text":{"body":"Olá 😮 a/b"}}"#;
        let escaped = escape(plain);
        assert_eq!(escaped, r#"{"text":{"body":"Ol\u00e1 \ud83d\ude2e a\/b"}}"#);
        assert_eq!(
            signature(SECRET, escaped.as_bytes()),
            "sha256=2dbdf9e67ae5a028562204228f9ce471450c738c2549771808bd7780facd7403"
        );
        assert_eq!(
            signature(SECRET, plain.as_bytes()),
            "sha256=c766e129bb5849800f8e96f7429b5905bae5e6dedf2e014384d19d20fde505db"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&escaped).unwrap(),
            serde_json::from_str::<serde_json::Value>(plain).unwrap()
        );
    }

    #[test]
    fn plain_ascii_stays_as_it_is() {
        let body = r#"{"object":"whatsapp_business_account","entry":[]}"#;
        assert_eq!(escape(body), body);
        assert_eq!(
            signature(SECRET, body.as_bytes()),
            "sha256=eefab58106e73358686845848feb95c56372e7391b3dc050b6a31c8c5f347ece"
        );
    }
}
