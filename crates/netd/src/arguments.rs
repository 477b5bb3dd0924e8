//! The command line. Three options and no library: the program stays small.

use std::ffi::OsString;
use std::path::PathBuf;

/// What the command line says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Gantry's state folder.
    pub(crate) state: PathBuf,
    /// Whether to wait for the end of another that serves the folder.
    pub(crate) standby: bool,
    /// Where the host's resolvers are named.
    pub(crate) resolv_conf: PathBuf,
}

/// A command line that says nothing clear.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{argument:?} is not understood; usage: gantry-netd --state DIR [--standby] [--resolv-conf FILE]")]
pub(crate) struct UsageError {
    argument: OsString,
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, UsageError> {
    let mut state = None;
    let mut standby = false;
    let mut resolv_conf = PathBuf::from("/etc/resolv.conf");
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("--standby") => standby = true,
            Some("--state") => state = rest.next().map(PathBuf::from).filter(|path| path.is_absolute()),
            Some("--resolv-conf") => {
                resolv_conf = rest.next().map(PathBuf::from).ok_or(UsageError { argument })?;
            }
            Some(_) | None => return Err(UsageError { argument }),
        }
    }
    let state = state.ok_or_else(|| UsageError { argument: OsString::from("--state") })?;
    Ok(Arguments { state, standby, resolv_conf })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<Arguments, UsageError> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn the_state_folder_is_needed_and_absolute_and_the_rest_has_defaults() {
        let arguments = of(&["--state", "/run/gantry"]).expect("understood");
        assert_eq!(arguments.resolv_conf, PathBuf::from("/etc/resolv.conf"));
        assert!(!arguments.standby && arguments.state.is_absolute());
        assert!(of(&["--standby", "--resolv-conf", "/x", "--state", "/s"]).is_ok_and(|read| read.standby));
        for wrong in
            [&[][..], &["--state"], &["--state", "relative"], &["--state", "/s", "--resolv-conf"], &["x"]]
        {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }
}
