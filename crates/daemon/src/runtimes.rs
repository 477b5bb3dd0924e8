//! Which programme makes a container? Gantry's own runtime, inside the shim, unless the container (or the
//! configuration's default) names another: one of `[runtimes]`, a well-known one where distributions put it, or a
//! programme's path. Whoever may create containers may run anything as root already, so a path is no new right.

use std::io;
use std::path::{Path, PathBuf};

use gantry_types::{Class, Classified, ContainerOptions, Mount, RuntimeName};

use crate::config::{Config, Runtime};

/// Runtimes that need no configuration, and the arguments that each gets where it has none. runsc would keep what a
/// container writes in a file of its own, which a restarted container has lost and a killed shim leaves in the way.
const WELL_KNOWN: [(&str, &[&str]); 4] =
    [("crun", &[]), ("runc", &[]), ("youki", &[]), ("runsc", &["--overlay2=none"])];
/// Where they are looked for; the daemon's own search path is whoever's started it.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Why a container cannot have the runtime that it asks for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuntimeError {
    /// Neither configured nor found.
    #[error("there is no runtime {name:?}")]
    Unknown { name: RuntimeName, known: Vec<String> },
    /// It is named, and its programme cannot be used.
    #[error("the programme {} of runtime {name:?} cannot be used", path.display())]
    Programme { name: RuntimeName, path: PathBuf, source: io::Error },
    /// The container asks for what only Gantry's own runtime does.
    #[error("runtime {name:?} cannot give {what}")]
    Unsupported { name: RuntimeName, what: &'static str },
}

impl Classified for RuntimeError {
    fn class(&self) -> Class {
        match self {
            Self::Unknown { .. } => Class::InvalidArgument,
            Self::Programme { .. } | Self::Unsupported { .. } => Class::FailedPrecondition,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "RUNTIME_UNKNOWN",
            Self::Programme { .. } => "RUNTIME_UNUSABLE",
            Self::Unsupported { .. } => "RUNTIME_UNSUPPORTED",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown { known, .. } => format!(
                "known are {}; others are configured as [runtimes.<name>], or given by an absolute path",
                known.join(", ")
            ),
            Self::Programme { .. } => {
                "install it, or correct its path in [runtimes] of the daemon's configuration".into()
            }
            Self::Unsupported { .. } => "leave that out, or use --runtime gantry".into(),
        })
    }
}

/// The runtime that `options` ask for; `None` is Gantry's own. Its programme is there.
pub(crate) fn find(config: &Config, options: &ContainerOptions) -> Result<Option<Runtime>, RuntimeError> {
    let Some(name) = options.runtime.as_ref().filter(|name| !name.is_own()) else { return Ok(None) };
    let runtime = named(config, name)?;
    check_programme(&runtime.path).map_err(|source| RuntimeError::Programme {
        name: name.clone(),
        path: runtime.path.clone(),
        source,
    })?;
    Ok(Some(runtime))
}

/// Refuses what only Gantry's own runtime does.
pub(crate) fn check(options: &ContainerOptions) -> Result<(), RuntimeError> {
    let Some(name) = options.runtime.as_ref().filter(|name| !name.is_own()) else { return Ok(()) };
    let refuse = |what| Err(RuntimeError::Unsupported { name: name.clone(), what });
    if options.init {
        return refuse("an init of Gantry's");
    }
    if options.own_user_namespace().is_some() {
        // Its root filesystem is mapped by whoever mounts it, in whose folders a mapped root could not look for it.
        return refuse("a user namespace of the container's own");
    }
    let shared = |mount: &Mount| match mount {
        Mount::Bind { propagation, .. } => {
            propagation.as_deref().is_some_and(|given| matches!(given, "shared" | "rshared"))
        }
        Mount::Tmpfs { .. } => false,
    };
    if options.mounts.iter().any(shared) {
        // Its mounts are made in the shim's mount namespace, from which none come back.
        return refuse("mounts that the machine sees");
    }
    Ok(())
}

fn named(config: &Config, name: &RuntimeName) -> Result<Runtime, RuntimeError> {
    if let Some(configured) = config.runtimes.get(name) {
        return Ok(configured.clone());
    }
    let path = Path::new(name.as_str());
    let well_known = WELL_KNOWN.iter().find(|(known, _)| path.file_name().is_some_and(|file| file == *known));
    let path = if name.is_path() {
        Some(path.to_owned())
    } else {
        well_known.and_then(|(known, _)| installed(known))
    };
    let args = well_known.into_iter().flat_map(|(_, args)| *args).map(ToString::to_string).collect();
    match path {
        Some(path) => Ok(Runtime { path, args, ..Runtime::default() }),
        None => Err(RuntimeError::Unknown { name: name.clone(), known: known(config) }),
    }
}

/// What a caller could have asked for.
fn known(config: &Config) -> Vec<String> {
    let configured = config.runtimes.keys().map(ToString::to_string);
    let found = WELL_KNOWN
        .map(|(name, _)| name)
        .into_iter()
        .filter(|name| installed(name).is_some())
        .map(str::to_owned);
    let mut names: Vec<String> = configured.chain(found).collect();
    names.sort();
    names.dedup();
    names.insert(0, RuntimeName::OWN.to_owned());
    names
}

fn installed(name: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

fn check_programme(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let status = std::fs::metadata(path)?;
    if status.is_file() && status.permissions().mode() & 0o111 != 0 {
        Ok(())
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(name: &str) -> ContainerOptions {
        ContainerOptions { runtime: Some(name.parse().expect("valid")), ..ContainerOptions::default() }
    }

    #[test]
    fn none_and_gantry_are_its_own() {
        let config = Config::default();
        assert!(matches!(find(&config, &ContainerOptions::default()), Ok(None)));
        assert!(matches!(find(&config, &asking("gantry")), Ok(None)));
    }

    #[test]
    fn a_configured_name_wins_and_a_path_needs_no_configuration() {
        let mut config = Config::default();
        let other = Runtime { path: "/bin/sh".into(), args: vec!["--debug".into()], root: "/x".into() };
        config.runtimes.insert("crun".parse().expect("valid"), other.clone());
        assert_eq!(find(&config, &asking("crun")).expect("there"), Some(other));
        let by_path = find(&config, &asking("/bin/sh")).expect("there").expect("another");
        assert_eq!((by_path.path, by_path.args.len()), ("/bin/sh".into(), 0));
    }

    #[test]
    fn runsc_gets_its_arguments_by_its_path_too_unless_the_configuration_has_others() {
        let mut config = Config::default();
        let found =
            |config: &Config, name: &str| named(config, &name.parse().expect("valid")).expect("known");
        assert_eq!(found(&config, "/opt/runsc").args, ["--overlay2=none"]);
        assert!(found(&config, "/opt/youki").args.is_empty());
        let configured = Runtime { path: "/opt/runsc".into(), ..Runtime::default() };
        config.runtimes.insert("runsc".parse().expect("valid"), configured.clone());
        assert_eq!(found(&config, "runsc"), configured);
    }

    #[test]
    fn an_unknown_name_is_told_what_is_known_and_a_missing_programme_where_it_should_be() {
        let mut config = Config::default();
        config.runtimes.insert(
            "mine".parse().expect("valid"),
            Runtime { path: "/no/such/programme".into(), ..Runtime::default() },
        );
        let unknown = find(&config, &asking("yours")).expect_err("unknown");
        assert_eq!(unknown.reason(), "RUNTIME_UNKNOWN");
        assert!(
            unknown.hint().expect("a hint").contains("gantry, ")
                && unknown.hint().expect("a hint").contains("mine")
        );
        let missing = find(&config, &asking("mine")).expect_err("missing");
        assert_eq!((missing.class(), missing.reason()), (Class::FailedPrecondition, "RUNTIME_UNUSABLE"));
        assert!(missing.to_string().contains("/no/such/programme"));
        let no_file = find(&config, &asking("/tmp")).expect_err("a folder");
        assert_eq!(no_file.reason(), "RUNTIME_UNUSABLE");
    }

    #[test]
    fn what_only_gantrys_own_runtime_gives_is_refused_with_others() {
        let with_init = ContainerOptions { init: true, ..asking("crun") };
        assert_eq!(check(&with_init).expect_err("init").reason(), "RUNTIME_UNSUPPORTED");
        let shared = Mount::Bind {
            source: "/a".into(),
            target: "/b".into(),
            read_only: false,
            recursive: true,
            propagation: Some("rshared".into()),
            create_source: false,
            id_mapped: false,
        };
        let shared = ContainerOptions { mounts: vec![shared], ..asking("crun") };
        assert_eq!(check(&shared).expect_err("shared").reason(), "RUNTIME_UNSUPPORTED");
        assert!(
            check(&ContainerOptions { runtime: None, init: true, ..ContainerOptions::default() }).is_ok()
        );
    }
}
