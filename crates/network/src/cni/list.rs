//! What is a network configuration? A list of plugins under one name (specification, section 1), or a single
//! plugin's as before 1.0.0. Plugins are asked in order, and in the opposite order to undo it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::plugin::{Command, Turn, run};
use super::{CNI_BYTES_MAX, CniError, CniResult, CniTarget};

pub(super) const CONFIGURATION: &str = "the network configuration";

/// A plugin's name: 1 to 64 letters, digits, `-`, `_` and `.`, the first a letter or digit. It becomes part of a path
/// (CVE-2021-20206).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PluginName(Box<str>);

impl PluginName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PluginName {
    type Err = CniError;

    fn from_str(text: &str) -> Result<Self, CniError> {
        is_name(text, 64).then(|| Self(text.into())).ok_or(CniError::Configuration {
            rule: "a plugin's type is 1 to 64 letters, digits, '-', '_' and '.', and starts with a letter or digit",
        })
    }
}

fn is_name(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// What a plugin can be asked beside its configuration, where that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Ports of the host that lead to the container.
    PortMappings,
    /// Addresses of the caller's choice.
    Ips,
    /// A hardware address of the caller's choice.
    Mac,
    /// Further names.
    Aliases,
}

impl Capability {
    /// As configurations write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PortMappings => "portMappings",
            Self::Ips => "ips",
            Self::Mac => "mac",
            Self::Aliases => "aliases",
        }
    }
}

/// Versions of the specification that have lists of addresses and results that are handed on.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// A network made by plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniList {
    name: String,
    version: String,
    /// Whether the configuration asks for no CHECK.
    unchecked: bool,
    plugins: Vec<(PluginName, Map<String, Value>)>,
}

impl CniList {
    /// Reads a configuration.
    pub fn parse(text: &[u8]) -> Result<Self, CniError> {
        let invalid = |rule| CniError::Configuration { rule };
        if text.len() > CNI_BYTES_MAX {
            return Err(invalid("it has at most 1 MiB"));
        }
        let mut all: Map<String, Value> =
            serde_json::from_slice(text).map_err(|source| CniError::Json { what: CONFIGURATION, source })?;
        let take =
            |all: &Map<String, Value>, key: &str| all.get(key).and_then(Value::as_str).map(str::to_owned);
        let name = take(&all, "name")
            .filter(|name| is_name(name, 128))
            .ok_or_else(|| invalid("it has a name of letters, digits, '-', '_' and '.'"))?;
        let version = take(&all, "cniVersion")
            .filter(|version| VERSIONS.contains(&version.as_str()))
            .ok_or_else(|| invalid("its cniVersion is one of 0.3.0, 0.3.1, 0.4.0, 1.0.0 and 1.1.0"))?;
        let unchecked = all.get("disableCheck").and_then(Value::as_bool).unwrap_or(false);
        let parts = match all.remove("plugins") {
            Some(Value::Array(plugins)) => plugins,
            Some(_) => return Err(invalid("plugins is a list")),
            None => vec![Value::Object(all)],
        };
        let plugins = parts
            .into_iter()
            .map(|part| {
                let Value::Object(part) = part else { return Err(invalid("each plugin is an object")) };
                let kind = take(&part, "type").ok_or_else(|| invalid("each plugin has a type"))?;
                Ok((kind.parse()?, part))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if plugins.is_empty() || plugins.len() > 32 {
            return Err(invalid("it has 1 to 32 plugins"));
        }
        Ok(Self { name, version, unchecked, plugins })
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether one of its plugins can be asked for this.
    pub fn can(&self, capability: Capability) -> bool {
        self.plugins.iter().any(|(_, part)| has(part, capability))
    }

    /// The plugins that are in none of the folders.
    pub fn missing(&self, folders: &[PathBuf]) -> Option<PluginName> {
        let is_there =
            |plugin: &PluginName| folders.iter().any(|folder| folder.join(plugin.as_str()).is_file());
        self.plugins.iter().map(|(plugin, _)| plugin).find(|plugin| !is_there(plugin)).cloned()
    }

    /// Gives a container its link. After an error every plugin has been asked to undo what it did.
    pub fn add(&self, target: &CniTarget<'_>) -> Result<CniResult, CniError> {
        let mut turn = Turn::take(target.input)?;
        let mut result: Option<Value> = None;
        for (plugin, configuration) in &self.plugins {
            let asked = self.configuration(configuration, target, result.as_ref());
            match run(&mut turn, plugin, Command::Add, &asked, target) {
                // A plugin that has nothing to add may answer nothing.
                Ok(answer) => result = answer.or(result),
                Err(error) => {
                    drop(self.undo(&mut turn, target, result.map(CniResult).as_ref()));
                    return Err(error);
                }
            }
        }
        Ok(CniResult(result.unwrap_or(Value::Null)))
    }

    /// Takes the link away; it may be gone already. Every plugin is asked; the first error is told.
    pub fn delete(&self, target: &CniTarget<'_>, result: Option<&CniResult>) -> Result<(), CniError> {
        self.undo(&mut Turn::take(target.input)?, target, result)
    }

    /// Asks the plugins whether the link is still as they made it. Configurations before 0.4.0 have no such question.
    pub fn check(&self, target: &CniTarget<'_>, result: &CniResult) -> Result<(), CniError> {
        if self.unchecked || self.version.starts_with("0.3.") {
            return Ok(());
        }
        let mut turn = Turn::take(target.input)?;
        for (plugin, configuration) in &self.plugins {
            let asked = self.configuration(configuration, target, Some(&result.0));
            run(&mut turn, plugin, Command::Check, &asked, target)?;
        }
        Ok(())
    }

    fn undo(
        &self,
        turn: &mut Turn,
        target: &CniTarget<'_>,
        result: Option<&CniResult>,
    ) -> Result<(), CniError> {
        let mut first = Ok(());
        for (plugin, configuration) in self.plugins.iter().rev() {
            let asked = self.configuration(configuration, target, result.map(|result| &result.0));
            let answer = run(turn, plugin, Command::Delete, &asked, target).map(drop);
            first = first.and(answer);
        }
        first
    }

    /// What one plugin is given: its own part, the network's name, what is asked of the link, and the result so far.
    fn configuration(
        &self,
        part: &Map<String, Value>,
        target: &CniTarget<'_>,
        result: Option<&Value>,
    ) -> Vec<u8> {
        let mut given = part.clone();
        let wishes = target.wishes.of(&self.name, |capability| has(part, capability));
        given.remove("capabilities");
        if !wishes.is_empty() {
            given.insert("runtimeConfig".to_owned(), Value::Object(wishes));
        }
        given.insert("name".to_owned(), self.name.clone().into());
        given.insert("cniVersion".to_owned(), self.version.clone().into());
        if let Some(result) = result {
            given.insert("prevResult".to_owned(), result.clone());
        }
        Value::Object(given).to_string().into_bytes()
    }
}

fn has(part: &Map<String, Value>, capability: Capability) -> bool {
    let all = part.get("capabilities").and_then(Value::as_object);
    all.and_then(|all| all.get(capability.as_str())).and_then(Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_a_path_is_refused() {
        for kind in ["", "../x", "a/b", "/bin/sh", ".", "..", ".hidden", "-x", "a\0", "a b"] {
            let text = serde_json::json!({"name": "n", "cniVersion": "1.0.0", "plugins": [{"type": kind}]})
                .to_string();
            assert!(
                matches!(CniList::parse(text.as_bytes()), Err(CniError::Configuration { .. })),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_single_plugin_is_a_list_of_one_and_others_are_refused() {
        let one =
            CniList::parse(br#"{"name": "n", "cniVersion": "0.4.0", "type": "bridge", "bridge": "b0"}"#);
        assert_eq!(one.expect("valid").plugins.len(), 1);
        for text in [
            "",
            "[]",
            "{}",
            r#"{"cniVersion":"1.0.0","name":"n"}"#,
            r#"{"cniVersion":"1.0.0","name":"n","plugins":[]}"#,
            r#"{"cniVersion":"1.0.0","name":"../n","type":"a"}"#,
            r#"{"cniVersion":"0.2.0","name":"n","type":"a"}"#,
            r#"{"name":"n","type":"a"}"#,
        ] {
            assert!(CniList::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
