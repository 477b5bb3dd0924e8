//! The filter of every list and watch: which resources a caller wants. The grammar is small on purpose, so
//! that it is the same in every language and cheap to evaluate:
//!
//! ```text
//! filter = term *( "," term )                      all terms must hold
//! term   = field                                   the field is there and not empty
//!        | field ( "==" | "!=" | "~=" ) value *( "|" value )
//! value  = 1*( any but , | " ) | '"' *( any but " and \ | "\" any ) '"'
//! ```
//!
//! `==` is "is one of", `!=` "is none of", `~=` "contains one of", where `*` stands for any run of characters.
//! A field may have several values (an image's names): `==` and `~=` hold when one does, `!=` when none does.
//! Which fields there are is each resource's own; an unknown one is an error, never an empty list.

use crate::convert::{FieldProblem, InvalidField};

/// Bytes of one filter.
const FILTER_BYTES_MAX: usize = 4096;

/// A parsed filter; the empty one takes everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    terms: Vec<Term>,
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Present,
    Is,
    IsNot,
    Contains,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    field: String,
    operator: Operator,
    values: Vec<String>,
}

impl Filter {
    /// Parses the field `filter` of a request whose resource has `fields`. One that ends with a dot is a map,
    /// of which any key may be named: `labels.`.
    pub fn parse(text: &str, fields: &[&str]) -> Result<Self, InvalidField> {
        if text.len() > FILTER_BYTES_MAX {
            let problem = FieldProblem::TooLong { bytes: text.len(), max: FILTER_BYTES_MAX };
            return Err(InvalidField::new("filter", problem));
        }
        let mut rest = text.trim();
        let mut terms = Vec::new();
        while !rest.is_empty() {
            let (term, after) = term(rest).ok_or_else(|| malformed(rest))?;
            if !fields.iter().any(|known| is_field(known, &term.field)) {
                let problem = FieldProblem::Malformed {
                    text: term.field.chars().take(160).collect(),
                    rule: "a field that can be filtered by",
                };
                return Err(InvalidField::new("filter", problem));
            }
            terms.push(term);
            rest = match after.strip_prefix(',') {
                Some(more) if !more.trim().is_empty() => more.trim_start(),
                None if after.is_empty() => after,
                Some(_) | None => return Err(malformed(after)),
            };
        }
        Ok(Self { terms })
    }

    /// Whether it takes everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether a resource passes, whose values of a field `values_of` gives; none means it is not there.
    pub fn matches<'a, V>(&self, values_of: impl Fn(&str) -> V) -> bool
    where
        V: IntoIterator<Item = std::borrow::Cow<'a, str>>,
    {
        self.terms.iter().all(|term| {
            let mut values = values_of(&term.field).into_iter();
            let named = |value: &str| term.values.iter().any(|wanted| wanted == value);
            match term.operator {
                Operator::Present => values.any(|value| !value.is_empty()),
                Operator::Is => values.any(|value| named(&value)),
                Operator::IsNot => !values.any(|value| named(&value)),
                Operator::Contains => {
                    values.any(|value| term.values.iter().any(|wanted| contains(&value, wanted)))
                }
            }
        })
    }
}

/// `value` as it must be written in a filter.
pub fn quote(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

fn is_field(known: &str, field: &str) -> bool {
    match known.strip_suffix('.') {
        Some(_) => field.len() > known.len() && field.starts_with(known),
        None => known == field,
    }
}

fn malformed(text: &str) -> InvalidField {
    let text = text.chars().take(160).collect();
    InvalidField::new("filter", FieldProblem::Malformed { text, rule: "of the form field==value,field!=a|b" })
}

/// One term and what follows it.
fn term(text: &str) -> Option<(Term, &str)> {
    let end = text.find([',', '=', '!', '~']).unwrap_or(text.len());
    let (field, rest) = text.split_at(end);
    let field = field.trim().to_owned();
    if field.is_empty() || field.contains(['"', '|']) {
        return None;
    }
    let operator = match rest.get(..2) {
        Some("==") => Operator::Is,
        Some("!=") => Operator::IsNot,
        Some("~=") => Operator::Contains,
        Some(_) | None if rest.is_empty() || rest.starts_with(',') => {
            return Some((Term { field, operator: Operator::Present, values: Vec::new() }, rest));
        }
        Some(_) | None => return None,
    };
    let mut rest = rest[2..].trim_start();
    let mut values = Vec::new();
    loop {
        let (value, after) = value(rest)?;
        values.push(value);
        match after.strip_prefix('|') {
            Some(more) => rest = more,
            None => return Some((Term { field, operator, values }, after)),
        }
    }
}

/// One value and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', '|', '"']).unwrap_or(text.len());
        let value = text[..end].trim();
        return (!value.is_empty()).then(|| (value.to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted[at + 1..].trim_start())),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// Whether `text` contains `pattern`, in which `*` stands for any run. The first place for each piece is the
/// best one, so this takes one pass.
fn contains(text: &str, pattern: &str) -> bool {
    let mut rest = text;
    pattern.split('*').all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    const FIELDS: [&str; 4] = ["name", "state", "image", "labels."];

    fn passes(filter: &str) -> bool {
        Filter::parse(filter, &FIELDS).expect(filter).matches(|field| match field {
            "name" => vec![Cow::Borrowed("web-1")],
            "state" => vec![Cow::Borrowed("running")],
            "image" => vec![Cow::Borrowed("redis:7"), Cow::Borrowed("redis:latest")],
            "labels.a,b" => vec![Cow::Borrowed("x \"y\"|z")],
            "labels.tier" => vec![Cow::Borrowed("front")],
            _ => Vec::new(),
        })
    }

    #[test]
    fn terms_are_all_needed_and_values_are_alternatives() {
        for filter in [
            "",
            "state==running|exited",
            "name==web-1,state!=exited",
            " name == web-1 , labels.tier ",
            "image==redis:7",
            "image!=nginx",
            "name~=eb",
            "image~=redis:*st",
            "labels.tier==\"front\"",
            "labels.missing!=x",
        ] {
            assert!(passes(filter), "{filter}");
        }
        for filter in [
            "state==exited",
            "name==web-1,state==exited",
            "labels.missing",
            "labels.missing==x",
            "image!=redis:7",
            "name~=1*web",
        ] {
            assert!(!passes(filter), "{filter}");
        }
    }

    #[test]
    fn a_quoted_value_may_have_any_character() {
        let value = "x \"y\"|z\\,";
        let filter =
            Filter::parse(&format!("name=={},state==a", quote(value)), &FIELDS).expect("well formed");
        let values = |field: &str| match field {
            "name" => Some(Cow::Borrowed(value)),
            _ => Some(Cow::Borrowed("a")),
        };
        assert!(filter.matches(values));
    }

    #[test]
    fn what_is_outside_the_grammar_is_refused() {
        let long = "name==".to_owned() + &"x".repeat(FILTER_BYTES_MAX);
        for filter in [
            ",",
            "name==",
            "name=x",
            "==x",
            "name==x,",
            "name==\"x",
            "name==a b\"",
            "colour==red",
            "labels.==x",
            "name==a||b",
            "name>1",
            &long,
        ] {
            let error = Filter::parse(filter, &FIELDS).expect_err(filter);
            assert_eq!(error.path, "filter");
        }
    }
}
