//! Roles of the database and what they may start, as options.

use serde::Serialize;

/// A role, and the process types that it may start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StartRole {
    /// The role's name.
    pub role: String,
    /// The types' names; none for all types.
    pub process_types: Vec<String>,
}

/// Reads `ROLE` or `ROLE:TYPE,TYPE`. A name with a colon, a comma or a double quote stands in double quotes, which are
/// doubled inside.
pub fn parse_start_role(text: &str) -> Result<StartRole, String> {
    let (role, mut rest) = name(text)?;
    // PostgreSQL takes the name for everybody even in quotes, and `migrate` closes what anybody may call.
    if role == "public" {
        return Err(
            "public is everybody: name a role, of which those who may start can be members".to_owned()
        );
    }
    let mut process_types = Vec::new();
    let mut before = ':';
    while let Some(next) = rest.strip_prefix(before) {
        let (process_type, left) = name(next)?;
        process_types.push(process_type);
        (rest, before) = (left, ',');
    }
    if rest.is_empty() { Ok(StartRole { role, process_types }) } else { Err(FORM.to_owned()) }
}

const FORM: &str = "write ROLE, or ROLE:TYPE,TYPE; a name with a colon or a comma stands in double quotes";

/// The name that a text begins with, and what comes after it.
fn name(text: &str) -> Result<(String, &str), String> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find([':', ',', '"']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        return if name.is_empty() { Err(FORM.to_owned()) } else { Ok((name.to_owned(), rest)) };
    };
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"').ok_or("a double quote has no other")?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None if name.is_empty() => return Err(FORM.to_owned()),
            None => return Ok((name, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_and_its_types_are_told_apart() {
        for (text, role, types) in [
            ("web", "web", &[][..]),
            ("web:nightly", "web", &["nightly"]),
            ("web:a b,c", "web", &["a b", "c"]),
            (r#""a:b":"x,y",z,"q""r""#, "a:b", &["x,y", "z", "q\"r"]),
        ] {
            let expected = types.iter().map(|it| (*it).to_owned()).collect();
            let parsed = parse_start_role(text);
            assert_eq!(parsed, Ok(StartRole { role: role.to_owned(), process_types: expected }), "{text}");
        }
        for text in [
            "public",
            "\"public\":a",
            "",
            ":a",
            "web:",
            "web:a,",
            "web,a",
            "web:a:b",
            "\"web",
            "\"\"",
            "\"a\"b",
            "a\"b",
        ] {
            assert!(parse_start_role(text).is_err(), "{text}");
        }
    }
}
