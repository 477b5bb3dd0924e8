//! Which folder does a spec's `linux.cgroupsPath` mean? The specification leaves two things to the runtime; here
//! they are as in crun and runc: a relative path is taken from the hierarchy's root, and no path is the container's
//! id there. Pure. Deliberately absent: systemd's `slice:prefix:name` ([`crate::systemd`]).

use super::compile::CgroupPlanError;

/// The folder below every hierarchy's mountpoint that `path` means, absolute and clean: `/machine/one`. An empty one
/// is `id` itself.
pub fn folder(path: &str, id: &str) -> Result<String, CgroupPlanError> {
    let text = if path.is_empty() { id } else { path };
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    super::compile::check_path(&format!("/{}", parts.join("/"))).map(|path| format!("/{path}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_path_is_taken_from_the_root_and_none_is_the_id() {
        for (path, folder) in [
            ("/machine/one", "/machine/one"),
            ("machine/one", "/machine/one"),
            ("", "/c1"),
            ("/a//b/./c/", "/a/b/c"),
            ("../../a", "/a"),
        ] {
            assert_eq!(super::folder(path, "c1").expect(path), folder);
        }
        for path in ["/", "a b", "/a\nb", "..", "/a/.."] {
            assert!(super::folder(path, "c1").is_err(), "{path:?}");
        }
    }
}
