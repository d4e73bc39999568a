//! What a filter looks for, as each database looks for it.
//!
//! Neither database can be trusted to fold the case of `È`: SQLite knows ASCII alone, and PostgreSQL what its locale
//! knows. So both forms of each letter stand in the pattern.

/// For PostgreSQL's `~`: whatever contains `text`, in upper or lower case.
pub(crate) fn regex(text: &str) -> String {
    let mut pattern = String::new();
    for letter in text.chars() {
        match forms(letter) {
            Some(forms) => pattern.extend(['['].into_iter().chain(forms).chain([']'])),
            None if letter.is_ascii_punctuation() => pattern.extend(['\\', letter]),
            None => pattern.push(letter),
        }
    }
    pattern
}

/// For SQLite's `GLOB`: whatever contains `text`, in upper or lower case.
pub(crate) fn glob(text: &str) -> String {
    let mut pattern = String::from("*");
    for letter in text.chars() {
        match forms(letter) {
            Some(forms) => pattern.extend(['['].into_iter().chain(forms).chain([']'])),
            None if matches!(letter, '*' | '?' | '[') => pattern.extend(['[', letter, ']']),
            None => pattern.push(letter),
        }
    }
    pattern.push('*');
    pattern
}

/// The letter and its other form, if it has one.
fn forms(letter: char) -> Option<[char; 2]> {
    let single = |mut forms: Box<dyn Iterator<Item = char>>| {
        let form = forms.next()?;
        forms.next().is_none().then_some(form)
    };
    [single(Box::new(letter.to_lowercase())), single(Box::new(letter.to_uppercase()))]
        .into_iter()
        .flatten()
        .find(|form| *form != letter)
        .map(|form| [letter, form])
}

/// The aliases of all phone numbers that begin with these digits lie from the first text up to the second: a colon
/// comes right after the last digit.
pub(crate) fn number_range(digits: &str) -> (String, String) {
    (format!("p:{digits}"), format!("p:{digits}:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_looked_for_in_both_its_forms() {
        assert_eq!(regex("Perù 7"), "[Pp][eE][rR][ùÙ] 7");
        assert_eq!(glob("Perù 7"), "*[Pp][eE][rR][ùÙ] 7*");
        assert_eq!(regex("ß東😀"), "ß東😀");
    }

    #[test]
    fn signs_mean_themselves() {
        assert_eq!(regex(r"a.*\[^]"), r"[aA]\.\*\\\[\^\]");
        assert_eq!(glob("*?[^]-"), "*[*][?][[]^]-*");
    }
}
