//! Reading the configuration's files and merging them. Each file is also checked by itself, so that an
//! unknown key is blamed on the file that has it.

use std::io;
use std::path::{Path, PathBuf};

use super::{Config, DEFAULT_PATH};

/// What the command line says; it wins over every file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    /// `--root`
    pub root: Option<PathBuf>,
    /// `--state`
    pub state: Option<PathBuf>,
    /// `--address`
    pub address: Option<PathBuf>,
    /// `--log-level`
    pub log_level: Option<String>,
}

/// Why there is no configuration to run with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file is there, or was named, and cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no TOML, has an unknown key, or a value of the wrong type.
    #[error("{} is not a valid configuration", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// Each value parses and one of them cannot be.
    #[error("configuration key {key} {rule}")]
    Value {
        /// The key, dotted.
        key: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
}

/// Loads what `--config` names (the default path may be missing, a named one may not) under `overrides`.
pub(crate) fn load(named: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigError> {
    let main = named.unwrap_or_else(|| Path::new(DEFAULT_PATH));
    let mut merged = toml::Table::new();
    for path in files(main, named.is_some())? {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let parse_error =
            |source: toml::de::Error| ConfigError::Parse { path: path.clone(), source: Box::new(source) };
        toml::from_str::<Config>(&text).map_err(parse_error)?;
        merge(&mut merged, toml::from_str(&text).map_err(parse_error)?);
    }
    let mut config: Config = merged
        .try_into()
        .map_err(|source| ConfigError::Parse { path: main.to_owned(), source: Box::new(source) })?;
    if let Some(root) = &overrides.root {
        config.root.clone_from(root);
    }
    if let Some(state) = &overrides.state {
        config.state.clone_from(state);
    }
    if let Some(address) = &overrides.address {
        let text = address.to_string_lossy();
        config.grpc.address = text.strip_prefix("unix://").map_or_else(|| address.clone(), PathBuf::from);
    }
    if let Some(level) = &overrides.log_level {
        config.log.level.clone_from(level);
    }
    config.check().map_err(|(key, rule)| ConfigError::Value { key, rule })?;
    Ok(config)
}

/// The main file and the drop-ins beside it, in the order they apply.
fn files(main: &Path, must_exist: bool) -> Result<Vec<PathBuf>, ConfigError> {
    let mut files = Vec::new();
    match main.try_exists() {
        Ok(true) => files.push(main.to_owned()),
        Ok(false) if must_exist => files.push(main.to_owned()),
        Ok(false) => {}
        Err(source) => return Err(ConfigError::Read { path: main.to_owned(), source }),
    }
    let folder = main.with_file_name("config.d");
    match std::fs::read_dir(&folder) {
        Ok(entries) => {
            let mut drop_ins: Vec<PathBuf> = entries
                .filter_map(Result::ok)
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
                .collect();
            drop_ins.sort();
            files.append(&mut drop_ins);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(ConfigError::Read { path: folder, source }),
    }
    Ok(files)
}

/// Lays `over` on `under`, table by table; everything that is not a table is replaced whole.
fn merge(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => merge(below, above),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::CgroupDriver;
    use super::*;

    fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temp folder");
        std::fs::create_dir(folder.path().join("config.d")).expect("a drop-in folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("a file");
        }
        folder
    }

    #[test]
    fn drop_ins_lie_on_the_main_file_and_flags_on_both() {
        let folder = folder_with(&[
            ("config.toml", "root = '/a'\n[grpc]\ngroup = 'one'\nconnections_max = 7\n"),
            ("config.d/20.toml", "[grpc]\ngroup = 'three'\n"),
            ("config.d/10.toml", "[grpc]\ngroup = 'two'\n"),
            ("config.d/readme", "not toml"),
        ]);
        let overrides = Overrides { root: Some("/b".into()), ..Overrides::default() };
        let config = load(Some(&folder.path().join("config.toml")), &overrides).expect("valid");
        assert_eq!(config.root, Path::new("/b"));
        assert_eq!(config.grpc.group, "three");
        assert_eq!(config.grpc.connections_max, 7);
    }

    #[test]
    fn an_unknown_key_is_blamed_on_its_own_file() {
        let folder = folder_with(&[("config.toml", ""), ("config.d/10.toml", "[grpc]\ngruop = 'x'\n")]);
        let error =
            load(Some(&folder.path().join("config.toml")), &Overrides::default()).expect_err("refused");
        let ConfigError::Parse { path, source } = error else { panic!("{error:?}") };
        assert!(path.ends_with("config.d/10.toml"));
        assert!(source.to_string().contains("gruop"));
    }

    #[test]
    fn tcp_without_certificates_is_refused() {
        let folder = folder_with(&[("config.toml", "[grpc]\ntcp_address = '127.0.0.1:1'\n")]);
        let error =
            load(Some(&folder.path().join("config.toml")), &Overrides::default()).expect_err("refused");
        assert!(matches!(error, ConfigError::Value { key: "grpc.tcp_address", .. }));
    }

    #[test]
    fn systemd_makes_control_groups_where_that_is_said_in_a_slice_that_can_be() {
        let read = |text: &str| {
            let folder = folder_with(&[("config.toml", text)]);
            load(Some(&folder.path().join("config.toml")), &Overrides::default())
        };
        assert_eq!(read("").expect("valid").containers.cgroup_manager, CgroupDriver::Cgroupfs);
        let config = read("[containers]\ncgroup_manager = 'systemd'\ncgroup_slice = 'machine-a.slice'\n")
            .expect("valid");
        assert_eq!(config.containers.cgroup_manager, CgroupDriver::Systemd);
        assert_eq!(config.containers.cgroup_slice, "machine-a.slice");
        for slice in ["", "a", "/a.slice", "a:b.slice", "a--b.slice", "a.scope"] {
            let error = read(&format!("containers.cgroup_slice = '{slice}'\n")).expect_err(slice);
            assert!(matches!(error, ConfigError::Value { key: "containers.cgroup_slice", .. }), "{slice}");
        }
        assert!(read("containers.cgroup_manager = 'auto'\n").is_err());
    }

    #[test]
    fn a_named_file_must_exist_and_the_printed_default_loads() {
        let folder = folder_with(&[("default.toml", &Config::default().to_toml())]);
        assert!(load(Some(&folder.path().join("missing.toml")), &Overrides::default()).is_err());
        let config = load(Some(&folder.path().join("default.toml")), &Overrides::default()).expect("valid");
        assert_eq!(config, Config::default());
    }
}
