//! Contact cards.

use jiff::civil::Date;

use super::node::{Checked, Node, UNBOUNDED};

/// The parts of a name; a card needs one of them beside the whole.
const NAME_PARTS: [&str; 5] = ["first_name", "last_name", "middle_name", "prefix", "suffix"];

/// The lists of a card, and the text that each of their entries holds.
const LISTS: [(&str, &str); 4] =
    [("phones", "phone"), ("emails", "email"), ("urls", "url"), ("addresses", "street")];

pub(super) fn check(people: &[Node<'_, '_>]) -> Checked {
    people.iter().try_for_each(card)
}

fn card(person: &Node<'_, '_>) -> Checked {
    let name = person.object("name")?;
    name.text("formatted_name", UNBOUNDED)?;
    let mut parts = 0;
    for part in NAME_PARTS {
        parts += usize::from(name.optional_text(part, UNBOUNDED)?.is_some());
    }
    if parts == 0 {
        let problem = format!("must have one of {} beside formatted_name", NAME_PARTS.join(", "));
        return Err(name.wrong(problem));
    }
    for (list, text) in LISTS {
        for entry in person.optional_list(list, &(0..=UNBOUNDED))? {
            entry.optional_text(text, UNBOUNDED)?;
        }
    }
    person.optional_object("org")?;
    match person.optional_text("birthday", UNBOUNDED)? {
        Some(day) if !is_day(day) => Err(person.wrong_field("birthday", "must be a day like 1999-01-31")),
        _ => Ok(()),
    }
}

fn is_day(raw: &str) -> bool {
    let digit = |byte: &u8| byte.is_ascii_digit();
    let shaped = match raw.as_bytes() {
        [year @ .., b'-', m1, m2, b'-', d1, d2] if year.len() == 4 => {
            year.iter().chain([m1, m2, d1, d2]).all(digit)
        }
        _ => false,
    };
    shaped && raw.parse::<Date>().is_ok()
}
