//! `list`: every container below the root. One that goes while it is looked at is left out.

use super::{Outcome, status};
use crate::containers::Containers;
use crate::failure::Failure;
use crate::options::Listing;
use crate::output;

pub(super) fn list(options: &Listing, containers: &Containers) -> Outcome {
    let mut found = Vec::new();
    for id in containers.ids()? {
        match containers.find(&id) {
            Ok((folder, record)) => {
                let status = status(&folder, &record)?;
                found.push((record, status));
            }
            Err(Failure::UnknownContainer { .. }) => {}
            Err(failure) => return Err(failure),
        }
    }
    if options.json {
        let states: Vec<_> = found.iter().map(|(record, status)| record.state(*status)).collect();
        output::compact(&states)?;
    } else if options.quiet {
        output::text(&found.iter().map(|(record, _)| record.id.clone() + "\n").collect::<String>())?;
    } else {
        let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
        let rows = found.iter().map(|(record, status)| {
            let state = record.state(*status);
            let bundle = state.bundle.display().to_string();
            let texts = [state.id, &state.pid.to_string(), state.status, &bundle, state.created, state.owner];
            texts.map(str::to_owned)
        });
        output::text(&table(&std::iter::once(header).chain(rows).collect::<Vec<_>>()))?;
    }
    Ok(None)
}

/// Columns as wide as their widest text, and the last one as it is.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let pad = if column + 1 == N { 0 } else { widths[column] + 3 - cell.chars().count() };
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', pad));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_as_wide_as_their_widest_text() {
        let rows = [["ID", "X"], ["longer", "y"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "ID       X\nlonger   y\n");
    }
}
