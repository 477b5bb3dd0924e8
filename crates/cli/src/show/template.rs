//! `--format`: the part of Go's templates that people use with docker. `{{.Field.Of.It}}`, `{{json .Field}}`,
//! `{{upper .}}`, `{{lower .}}`, `{{len .}}`, `{{join .List ","}}`, `{{index .Map "key"}}`, `{{println}}`, the word `json`
//! for the whole, and `table` before a template for a table with headers. Loops and conditions are deliberately
//! absent: `--format json` and jq do that better.

use serde_json::Value;

use super::table::table;
use crate::failure::Failure;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    parts: Vec<Part>,
    is_table: bool,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Action { function: Function, path: Vec<String>, argument: String },
}

#[derive(Debug, Clone, Copy)]
enum Function {
    Show,
    Json,
    Upper,
    Lower,
    Len,
    Join,
    Index,
    Line,
}

impl Template {
    /// Parses what follows `--format`.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let (is_table, text) = match text.strip_prefix("table ") {
            Some(rest) => (true, rest),
            None => (false, if text == "json" { "{{json .}}" } else { text }),
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            let end = rest[start..].find("}}").ok_or_else(|| refused(rest))? + start;
            parts.push(Part::Text(unescape(&rest[..start])));
            let action = rest[start + 2..end].trim_start_matches('-').trim_end_matches('-').trim();
            parts.push(action_of(action).ok_or_else(|| refused(action))?);
            rest = &rest[end + 2..];
        }
        parts.push(Part::Text(unescape(rest)));
        Ok(Self { parts, is_table })
    }

    /// One value in the template's form.
    pub(crate) fn render(&self, value: &Value) -> Result<String, Failure> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Action { function, path, argument } => {
                    text.push_str(&apply(*function, find(value, path)?, argument));
                }
            }
        }
        Ok(text)
    }

    /// Several values: a line each, or a table whose headers are `header` of the fields' names.
    pub(crate) fn render_all(&self, values: &[Value], header: fn(&str) -> String) -> Result<String, Failure> {
        let lines = values.iter().map(|value| self.render(value)).collect::<Result<Vec<_>, _>>()?;
        if !self.is_table {
            return Ok(lines.into_iter().map(|line| line + "\n").collect());
        }
        let mut first = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => first.push_str(literal),
                Part::Action { path, .. } => {
                    first.push_str(&path.last().map(|name| header(name)).unwrap_or_default());
                }
            }
        }
        let cells = |line: &String| line.split('\t').map(str::to_owned).collect();
        Ok(table(&std::iter::once(&first).chain(&lines).map(cells).collect::<Vec<Vec<String>>>()))
    }
}

/// The two escapes that a shell's quotes leave to us.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn refused(text: &str) -> Failure {
    Failure::new(format!("the format {text:?} is not understood")).hint(
        "use {{.Field}}, {{json .Field}}, {{upper .Field}}, {{lower .Field}}, {{len .Field}}, \
         {{join .Field \",\"}} or {{index .Field \"key\"}}; or --format json",
    )
}

fn action_of(action: &str) -> Option<Part> {
    let (word, rest) = action.split_once(' ').unwrap_or((action, ""));
    let (function, rest) = match word {
        "json" => (Function::Json, rest),
        "upper" => (Function::Upper, rest),
        "lower" => (Function::Lower, rest),
        "len" => (Function::Len, rest),
        "join" => (Function::Join, rest),
        "index" => (Function::Index, rest),
        "println" => (Function::Line, "."),
        _ => (Function::Show, action),
    };
    let rest = rest.trim();
    let (path, argument) = rest.split_once(' ').unwrap_or((rest, ""));
    let argument = argument.trim();
    let argument = match function {
        Function::Join | Function::Index => argument.strip_prefix('"')?.strip_suffix('"')?.to_owned(),
        Function::Show
        | Function::Json
        | Function::Upper
        | Function::Lower
        | Function::Len
        | Function::Line => {
            if !argument.is_empty() {
                return None;
            }
            String::new()
        }
    };
    let path = path.strip_prefix('.')?;
    let path: Vec<String> = path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let is_name = |name: &String| name.chars().all(|c| c.is_alphanumeric() || c == '_');
    path.iter().all(is_name).then_some(Part::Action { function, path, argument })
}

/// The value at a path. An unknown field of the whole is a mistake; deeper, it is a key that is not there.
fn find<'a>(value: &'a Value, path: &[String]) -> Result<&'a Value, Failure> {
    let mut found = value;
    for (depth, name) in path.iter().enumerate() {
        found = match found.get(name) {
            Some(found) => found,
            None if depth == 0 => {
                let names: Vec<&str> =
                    value.as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default();
                return Err(Failure::new(format!("there is no field {name:?}"))
                    .hint(format!("the fields are {}", names.join(", "))));
            }
            None => &Value::Null,
        };
    }
    Ok(found)
}

fn apply(function: Function, value: &Value, argument: &str) -> String {
    match function {
        Function::Show => show(value),
        Function::Json => value.to_string(),
        Function::Upper => show(value).to_uppercase(),
        Function::Lower => show(value).to_lowercase(),
        Function::Len => match value {
            Value::Array(items) => items.len().to_string(),
            Value::Object(map) => map.len().to_string(),
            Value::String(text) => text.len().to_string(),
            Value::Null | Value::Bool(_) | Value::Number(_) => "0".to_owned(),
        },
        Function::Join => match value {
            Value::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(argument),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                show(value)
            }
        },
        Function::Index => show(value.get(argument).unwrap_or(&Value::Null)),
        Function::Line => "\n".to_owned(),
    }
}

/// As Go prints it.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", show(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(template: &str) -> String {
        let value =
            json!({"ID": "ab", "State": {"Pid": 7, "On": true}, "List": ["x", "y"], "Labels": {"a.b": "c"}});
        Template::parse(template).and_then(|template| template.render(&value)).expect(template)
    }

    #[test]
    fn fields_functions_and_text_are_rendered() {
        for (template, text) in [
            ("{{.ID}}\\t{{ .State.Pid }}", "ab\t7"),
            ("{{json .State}}", "{\"On\":true,\"Pid\":7}"),
            ("{{upper .ID}}{{len .List}}", "AB2"),
            ("{{join .List \", \"}}", "x, y"),
            ("{{index .Labels \"a.b\"}}", "c"),
            ("{{.List}} {{.Labels}}", "[x y] map[a.b:c]"),
            ("{{.Labels.none}}", "<no value>"),
            ("{{println}}", "\n"),
        ] {
            assert_eq!(rendered(template), text, "{template}");
        }
    }

    #[test]
    fn what_is_not_understood_is_told() {
        for template in ["{{.ID", "{{range .List}}", "{{.ID | upper}}", "{{join .List}}", "{{}}"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
        let failure =
            Template::parse("{{.Nmae}}").and_then(|t| t.render(&json!({"Name": 1}))).expect_err("unknown");
        assert!(failure.hint.expect("a hint").contains("Name"));
    }

    #[test]
    fn a_table_has_headers() {
        let template = Template::parse("table {{.ID}}\\t{{.Name}}").expect("well formed");
        let rows = [json!({"ID": "1", "Name": "a"})];
        assert_eq!(template.render_all(&rows, str::to_uppercase).expect("known"), "ID   NAME\n1    a\n");
    }
}
