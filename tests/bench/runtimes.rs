//! What do a runtime's commands cost one by one? `create`, `start` and `delete` of `/bin/true` from the shell, with a wait
//! for its end between the last two that is not counted.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use gantry_tests::wait::{seconds, until_true};

use crate::engines::Engines;
use crate::peers::{Runtime, unique_name};
use crate::stats::Samples;
use crate::table::Table;

/// One runtime's three commands.
pub(crate) struct Phases {
    pub(crate) name: &'static str,
    pub(crate) create: Samples,
    pub(crate) start: Samples,
    pub(crate) delete: Samples,
}

pub(crate) fn phases(engines: &Engines, rounds: usize, table: &mut Table) -> Vec<Phases> {
    let mut rows: Vec<Phases> = Vec::new();
    for _ in 0..rounds {
        for runtime in &engines.runtimes {
            let mut row = Phases {
                name: runtime.name,
                create: Samples::default(),
                start: Samples::default(),
                delete: Samples::default(),
            };
            if let Err(error) = (0..20).try_for_each(|_| once(runtime, &mut row)) {
                table.not_measured(&format!("`{}` command by command", runtime.name), &error);
                continue;
            }
            match rows.iter_mut().find(|found| found.name == row.name) {
                Some(found) => {
                    found.create.extend(row.create);
                    found.start.extend(row.start);
                    found.delete.extend(row.delete);
                }
                None => rows.push(row),
            }
        }
    }
    rows
}

fn once(runtime: &Runtime, row: &mut Phases) -> Result<()> {
    let id = unique_name();
    let pid_file = runtime.bundle.join("pid");
    let bundle = runtime.bundle.to_str().context("a path in UTF-8")?;
    let pid_path = pid_file.to_str().context("a path in UTF-8")?;
    let timed = |samples: &mut Samples, words: &[&str]| {
        let start = Instant::now();
        runtime.run(words)?;
        samples.push(start.elapsed());
        anyhow::Ok(())
    };
    timed(&mut row.create, &["create", "--bundle", bundle, "--pid-file", pid_path, &id])?;
    let process = format!("/proc/{}/stat", fs::read_to_string(&pid_file)?.trim());
    timed(&mut row.start, &["start", &id])?;
    until_true("the process to end", seconds(10), || Ok(has_ended(Path::new(&process))))?;
    timed(&mut row.delete, &["delete", &id])
}

/// Gone, or a zombie that nobody has reaped yet (proc_pid_stat(5)).
fn has_ended(stat: &Path) -> bool {
    let text = fs::read_to_string(stat).unwrap_or_default();
    text.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
}
