//! Which unit does a `linux.cgroupsPath` of the form `slice:prefix:name` mean, and which folder is its? (runc's
//! docs/systemd.md made the form the custom.) Pure.

use gantry_types::{Class, Classified};

/// The unit that holds a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The slice that it is in: `machine-one.slice`.
    pub slice: String,
    /// Its name: `box-c1.scope`.
    pub unit: String,
}

/// Bytes of a unit's name (systemd.unit(5)).
const NAME_BYTES_MAX: usize = 255;

impl Scope {
    /// Reads the form. An empty path is `system.slice:gantry:<id>`, an empty slice `system.slice`.
    pub fn parse(path: &str, id: &str) -> Result<Self, ScopeError> {
        let refused = |rule| ScopeError { path: path.chars().take(NAME_BYTES_MAX).collect(), rule };
        let parts: Vec<&str> = match path {
            "" => vec!["", "gantry", id],
            path => path.split(':').collect(),
        };
        let [slice, prefix, name] = parts[..] else {
            return Err(refused("it is not of the form slice:prefix:name"));
        };
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        if !is_slice(slice) {
            return Err(refused("its first part is not the name of a slice"));
        }
        if name.is_empty() || name.strip_suffix(".slice").is_some() {
            return Err(refused("its last part is not the name of a scope"));
        }
        let dash = if prefix.is_empty() { "" } else { "-" };
        let unit = format!("{prefix}{dash}{name}.scope");
        if !is_name(&unit) {
            return Err(refused("it makes no unit's name: letters, digits and _.-@\\ are, up to 255 bytes"));
        }
        Ok(Self { slice: slice.to_owned(), unit })
    }

    /// The folder below the hierarchy's root, absolute: every dash of a slice's name is a slice above it
    /// (systemd.slice(5)).
    pub fn folder(&self) -> String {
        let mut folder = String::new();
        let stem = self.slice.strip_suffix(".slice").unwrap_or(&self.slice);
        // The root slice is the hierarchy's root.
        if stem != "-" {
            let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
            folder.extend(ends.map(|end| format!("/{}.slice", &stem[..end])));
        }
        format!("{folder}/{}", self.unit)
    }
}

/// Why a path names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("linux.cgroupsPath {path:?}: {rule}")]
pub struct ScopeError {
    /// The path.
    pub path: String,
    /// What it should be.
    pub rule: &'static str,
}

impl Classified for ScopeError {
    fn class(&self) -> Class {
        Class::InvalidArgument
    }

    fn reason(&self) -> &'static str {
        "CGROUP_SCOPE_INVALID"
    }

    fn hint(&self) -> Option<String> {
        Some("say for example system.slice:box:c1, or use the cgroupfs driver for a path".to_owned())
    }
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-@\\".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}

/// Whether it is the name of a slice.
pub fn is_slice(text: &str) -> bool {
    let Some(stem) = text.strip_suffix(".slice") else { return false };
    let parts = !stem.is_empty() && stem.split('-').all(|part| !part.is_empty());
    is_name(text) && (stem == "-" || parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_three_parts_is_a_unit_in_its_slices() {
        for (path, unit, folder) in [
            ("system.slice:docker:c1", "docker-c1.scope", "/system.slice/docker-c1.scope"),
            ("a-b-c.slice:x:c1", "x-c1.scope", "/a.slice/a-b.slice/a-b-c.slice/x-c1.scope"),
            ("", "gantry-c1.scope", "/system.slice/gantry-c1.scope"),
            (":x:c1", "x-c1.scope", "/system.slice/x-c1.scope"),
            ("-.slice:x:c1", "x-c1.scope", "/x-c1.scope"),
            ("user.slice::c1", "c1.scope", "/user.slice/c1.scope"),
        ] {
            let scope = Scope::parse(path, "c1").expect(path);
            assert_eq!((scope.unit.as_str(), scope.folder().as_str()), (unit, folder), "{path}");
        }
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        let long = format!("a.slice:x:{}", "y".repeat(255));
        for path in [
            "/a/b",
            "a:b",
            "a.slice:b:c:d",
            "a:b:c",
            "a/../b.slice:x:y",
            "-a.slice:x:y",
            "a--b.slice:x:y",
            ".slice:x:y",
            "a.slice:x:",
            "a.slice:x:y.slice",
            "a.slice:x:../y",
            "a.slice:x y:z",
            &long,
        ] {
            assert!(Scope::parse(path, "c1").is_err(), "{path}");
        }
    }
}
