//! One process: what is asked of it, both ways.

use gantry_types::{ARGS_ENV_BYTES_MAX, ARGS_MAX, ENV_MAX, ProcessOptions};

use super::check;
use super::field::{FieldProblem, InvalidField};
use crate::containers::v1;

impl TryFrom<v1::ProcessOptions> for ProcessOptions {
    type Error = InvalidField;

    fn try_from(given: v1::ProcessOptions) -> Result<Self, InvalidField> {
        let entrypoint = match given.entrypoint {
            Some(entrypoint) => Some(words("entrypoint.args", entrypoint.args)?),
            None => None,
        };
        let args = words("args", given.args)?;
        let env = check::list("env", given.env, ENV_MAX, |entry| {
            check::must(
                "",
                check::optional_text("", entry, ARGS_ENV_BYTES_MAX)?,
                "of the form NAME=value",
                |entry| entry.split_once('=').is_some_and(|(name, _)| !name.is_empty()),
            )
        })?;
        let bytes: usize =
            entrypoint.iter().flatten().chain(&args).chain(&env).map(|word| word.len() + 1).sum();
        if bytes > ARGS_ENV_BYTES_MAX {
            let problem = FieldProblem::TooLong { bytes, max: ARGS_ENV_BYTES_MAX };
            return Err(InvalidField::new("args", problem));
        }
        let working_dir = given.working_dir.filter(|dir| !dir.is_empty());
        let user = given.user.filter(|user| !user.is_empty());
        Ok(Self {
            entrypoint,
            args,
            env,
            working_dir: working_dir.map(|dir| check::absolute_path("working_dir", dir)).transpose()?,
            user: user.map(|user| check::text("user", user, 256)).transpose()?,
            additional_groups: check::texts("additional_groups", given.additional_groups, 1024)?,
            terminal: given.terminal,
            stdin_open: given.stdin_open,
            privileged: given.privileged,
        })
    }
}

/// Words of a command line; unlike other lists they may be empty.
fn words(name: &str, words: Vec<String>) -> Result<Vec<String>, InvalidField> {
    check::list(name, words, ARGS_MAX, |word| check::optional_text("", word, ARGS_ENV_BYTES_MAX))
}

impl From<&ProcessOptions> for v1::ProcessOptions {
    fn from(process: &ProcessOptions) -> Self {
        Self {
            entrypoint: process.entrypoint.clone().map(|args| v1::Entrypoint { args }),
            args: process.args.clone(),
            env: process.env.clone(),
            working_dir: process.working_dir.clone(),
            user: process.user.clone(),
            additional_groups: process.additional_groups.clone(),
            terminal: process.terminal,
            stdin_open: process.stdin_open,
            privileged: process.privileged,
        }
    }
}
