//! Environment variables of flags and files. A name alone passes the client's own value on, and nothing when it
//! has none; files are read here because the daemon may be on another machine.

use crate::failure::Failure;

/// The entries of files, then those of flags; the daemon lets later ones win.
pub(crate) fn entries(files: &[String], flags: &[String]) -> Result<Vec<String>, Failure> {
    let mut entries = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::io(&format!("cannot read {path}"), &error))?;
        entries.extend(file(&text, |name| std::env::var(name).ok()).map_err(|(number, line)| {
            Failure::new(format!("{path}: line {number}: {line:?} is not of the form NAME=value"))
                .hint("a name has no blanks; comments begin with #")
        })?);
    }
    for flag in flags {
        if flag.is_empty() || flag.starts_with('=') {
            return Err(Failure::new(format!("{flag:?} is not of the form NAME=value or NAME")));
        }
        entries.extend(entry(flag, |name| std::env::var(name).ok()));
    }
    Ok(entries)
}

/// The entries of one file; the number and the text of its first bad line otherwise.
fn file(text: &str, own: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, (usize, String)> {
    let mut entries = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err((index + 1, line.to_owned()));
        }
        entries.extend(entry(line, &own));
    }
    Ok(entries)
}

fn entry(text: &str, own: impl Fn(&str) -> Option<String>) -> Option<String> {
    if text.contains('=') { Some(text.to_owned()) } else { own(text).map(|value| format!("{text}={value}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_comments_blanks_values_and_names() {
        let own = |name: &str| (name == "OWN").then(|| "mine".to_owned());
        let entries = file("# c\n\nA=b # c\n  B==\nOWN\nABSENT\nEMPTY=\n", own);
        assert_eq!(entries, Ok(["A=b # c", "B==", "OWN=mine", "EMPTY="].map(str::to_owned).to_vec()));
        assert_eq!(file("A=1\nbad name=2", own), Err((2, "bad name=2".into())));
    }
}
