//! Which folder does a spec's `linux.cgroupsPath` mean? The specification leaves three things to the runtime; here
//! they are as in crun and runc: a relative path is taken from the hierarchy's root, no path is the container's
//! id below a given parent, and with the systemd driver the path is `slice:prefix:name`. Pure.

use super::compile::CgroupPlanError;

/// Where a container's control group is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder below every hierarchy's mountpoint: `/machine/one`, absolute and clean.
    Folder(String),
    /// A unit of systemd's, which makes the folder.
    Unit(Unit),
}

/// A transient unit of systemd's (systemd.unit(5), systemd.slice(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The slice it is in: `machine.slice`, `-.slice` for the root.
    pub slice: String,
    /// Its name: `gantry-one.scope`, or that of a slice.
    pub name: String,
}

impl Location {
    /// The folder that `path` means; an empty one is `id` below `parent`, which is absolute or empty.
    pub fn folder(path: &str, id: &str, parent: &str) -> Result<Self, CgroupPlanError> {
        let text = if path.is_empty() { format!("{parent}/{id}") } else { path.to_owned() };
        let mut parts: Vec<&str> = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        super::compile::check_path(&format!("/{}", parts.join("/")))
            .map(|path| Self::Folder(format!("/{path}")))
    }

    /// The unit that `path`, `slice:prefix:name`, means. Empty is `system.slice:gantry:` with the id; an empty slice
    /// is `system.slice`; a name that ends in `.slice` is that slice, without the prefix.
    pub fn unit(path: &str, id: &str) -> Result<Self, CgroupPlanError> {
        let refuse = || CgroupPlanError::Unit { path: path.chars().take(80).collect() };
        let (slice, prefix, name) = match path.split(':').collect::<Vec<_>>()[..] {
            [""] => ("", "gantry", id),
            [slice, prefix, name] if !name.is_empty() => (slice, prefix, name),
            _ => return Err(refuse()),
        };
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        let name = match (name.strip_suffix(".slice").is_some(), prefix) {
            (true, _) => name.to_owned(),
            (false, "") => format!("{name}.scope"),
            (false, prefix) => format!("{prefix}-{name}.scope"),
        };
        let unit = Unit { slice: slice.to_owned(), name };
        if unit.is_valid() { Ok(Self::Unit(unit)) } else { Err(refuse()) }
    }

    /// The folder below every hierarchy's mountpoint, absolute.
    pub fn path(&self) -> String {
        match self {
            Self::Folder(path) => path.clone(),
            Self::Unit(unit) => unit.path(),
        }
    }
}

impl Unit {
    /// Where systemd puts it: a slice's dashes are its ancestors (`a-b.slice` is in `a.slice`).
    pub fn path(&self) -> String {
        let mut path = String::new();
        let stem = self.slice.strip_suffix(".slice").unwrap_or(&self.slice);
        if stem != "-" {
            let ends = stem.match_indices('-').map(|(end, _)| end).chain([stem.len()]);
            path.extend(ends.map(|end| format!("/{}.slice", &stem[..end])));
        }
        format!("{path}/{}", self.name)
    }

    /// Names that systemd would take: its characters, its length, no empty ancestor in a slice.
    fn is_valid(&self) -> bool {
        const NAME_BYTES_MAX: usize = 255;
        let plain = |name: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
            (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
        };
        let is_slice = |name: &str| {
            let stem = name.strip_suffix(".slice");
            stem.is_some_and(|stem| stem == "-" || stem.split('-').all(|part| !part.is_empty()))
        };
        plain(&self.slice) && plain(&self.name) && is_slice(&self.slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_from_the_root_and_none_is_the_id() {
        for (path, folder) in [
            ("/machine/one", "/machine/one"),
            ("machine/one", "/machine/one"),
            ("", "/gantry-runtime/c1"),
            ("/a//b/./c/", "/a/b/c"),
            ("../../a", "/a"),
        ] {
            let location = Location::folder(path, "c1", "/gantry-runtime").expect(path);
            assert_eq!(location.path(), folder);
        }
        assert_eq!(Location::folder("", "c1", "").expect("good").path(), "/c1");
        for path in ["/", "a b", "/a\nb", "..", "/a/.."] {
            assert!(Location::folder(path, "c1", "").is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_unit_is_in_its_slices_ancestors() {
        for (path, folder) in [
            ("system.slice:docker:one", "/system.slice/docker-one.scope"),
            (":libpod:one", "/system.slice/libpod-one.scope"),
            ("-.slice:a:one", "/a-one.scope"),
            (
                "kube-pods-burst.slice:cri:one",
                "/kube.slice/kube-pods.slice/kube-pods-burst.slice/cri-one.scope",
            ),
            ("machine.slice::one", "/machine.slice/one.scope"),
            ("machine.slice:x:machine-y.slice", "/machine.slice/machine-y.slice"),
            ("", "/system.slice/gantry-c1.scope"),
        ] {
            assert_eq!(Location::unit(path, "c1").expect(path).path(), folder);
        }
        for path in [
            "/system.slice/x",
            "a:b",
            "a.slice:b:",
            "a:b:c",
            "a--b.slice:p:n",
            "a.slice:b:c/d",
            "a.slice:b:c:d",
        ] {
            assert!(Location::unit(path, "c1").is_err(), "{path}");
        }
    }
}
