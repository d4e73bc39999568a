//! The message itself: what can be told of it without asking the provider. Everything else is left to it, fields that
//! are not known here included.

use std::io;

use serde_json::Value;

use super::node::{Checked, Node, UNBOUNDED};
use super::{InvalidCommand, contacts, interactive, template};

/// Largest message, in bytes of JSON.
const SIZE_LIMIT: usize = 64 << 10;

/// Checks the message that the command's `kind` names.
///
/// # Errors
/// Names the first field that isn't as it must be, never what it holds.
pub(super) fn check(kind: &'static str, content: &Value) -> Checked {
    // The field that is too long says more than the whole that is too large.
    check_fields(kind, content)?;
    if fits(content) { Ok(()) } else { Err(InvalidCommand::new(kind, "must be at most 64 KiB of JSON")) }
}

fn check_fields(kind: &'static str, content: &Value) -> Checked {
    if kind == "contacts" {
        return contacts::check(&Node::root_list(kind, content, &(1..=257))?);
    }
    let message = Node::root(kind, content)?;
    match kind {
        "text" => text(&message),
        "image" | "video" | "audio" | "document" | "sticker" => media(&message, kind),
        "location" => location(&message),
        "reaction" => reaction(&message),
        "interactive" => interactive::check(&message),
        "template" => template::check(&message),
        _ => Ok(()),
    }
}

/// Whether the JSON stays within the limit. Nothing is kept of it.
fn fits(content: &Value) -> bool {
    struct Room(usize);
    impl io::Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Room(SIZE_LIMIT), content).is_ok()
}

fn text(message: &Node<'_, '_>) -> Checked {
    message.text("body", 4096)?;
    message.optional_flag("preview_url")
}

/// A file: of the provider's own (`id`) or at an address (`link`). Its size and form are the provider's to see.
pub(super) fn media(file: &Node<'_, '_>, kind: &str) -> Checked {
    let id = file.optional_text("id", UNBOUNDED)?.map(str::trim);
    let link = file.optional_text("link", UNBOUNDED)?;
    match (id, link) {
        (Some(_), Some(_)) => return Err(file.wrong("must have either id or link, not both")),
        (None, Some(link)) => address(file, "link", link)?,
        (None | Some(""), None) => return Err(file.wrong("must have id or link")),
        (Some(_), None) => {}
    }
    if file.optional_text("caption", 1024)?.is_some() && matches!(kind, "audio" | "sticker") {
        return Err(file.wrong_field("caption", "must be left out: this kind of file has none"));
    }
    if file.optional_text("filename", UNBOUNDED)?.is_some() && kind != "document" {
        return Err(file.wrong_field("filename", "must be left out: only a document has one"));
    }
    if file.get("voice").is_some() && kind != "audio" {
        return Err(file.wrong_field("voice", "must be left out: only audio can be a voice message"));
    }
    file.optional_flag("voice")
}

/// Checks that the text in the field `name` is an address that can be fetched or opened.
pub(super) fn address(node: &Node<'_, '_>, name: &str, text: &str) -> Checked {
    if is_address(text) {
        Ok(())
    } else {
        Err(node
            .wrong_field(name, "must be an address that starts with http:// or https:// and names a host"))
    }
}

fn is_address(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let is_web = ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let place = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match place.rsplit_once(':') {
        // A colon within the brackets of an IPv6 address parts nothing.
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (place, ""),
    };
    is_web
        && host.chars().any(char::is_alphanumeric)
        && !host.contains(char::is_whitespace)
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && !text.contains(char::is_control)
}

/// A place: numbers, or texts that hold numbers.
pub(super) fn location(place: &Node<'_, '_>) -> Checked {
    for (name, most) in [("latitude", 90.0), ("longitude", 180.0)] {
        let degrees = match place.get(name) {
            None => return Err(place.wrong_field(name, "is missing")),
            Some(Value::String(text)) => text.parse().ok(),
            Some(other) => other.as_f64(),
        };
        if degrees.is_none_or(|degrees: f64| !(-most..=most).contains(&degrees)) {
            return Err(place.wrong_field(name, format!("must be a number from -{most} to {most}")));
        }
    }
    place.optional_text("name", UNBOUNDED)?;
    place.optional_text("address", UNBOUNDED)?;
    Ok(())
}

/// Longest emoji, in characters. The longest in use are joined of about a dozen.
const EMOJI_LIMIT: usize = 32;

fn reaction(reaction: &Node<'_, '_>) -> Checked {
    reaction.text("message_id", 512)?;
    match reaction.optional_text("emoji", EMOJI_LIMIT)? {
        // An empty one takes the reaction back.
        Some(_) => Ok(()),
        None => Err(reaction.wrong_field("emoji", "is missing: an empty one takes the reaction back")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_host() {
        for good in [
            "https://a.example",
            "http://a.example/x y.pdf?z=1#4",
            "HTTPS://A.example:8443/",
            "https://user:secret@a.example",
            "https://[2001:db8::1]:8080/x",
            "https://[2001:db8::1]",
            "https://bücher.example/à",
        ] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "a.example/x",
            "ftp://a.example",
            "file:///etc/hosts",
            "https:/a.example",
            "https://",
            "https:///x",
            "https://?x",
            "https://:443/",
            "https://user@/x",
            "https://a b.example",
            "https://a.example:port/",
            "https://a.example/x\n",
            " https://a.example",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn a_message_fits_up_to_its_last_byte() {
        let of = |length: usize| Value::String("x".repeat(length));
        assert!(fits(&of(SIZE_LIMIT - 2)));
        assert!(!fits(&of(SIZE_LIMIT - 1)));
    }
}
