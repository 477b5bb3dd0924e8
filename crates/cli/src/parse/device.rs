//! `--device host[:container[:permissions]]`.

use gantry_api::containers::v1::Device;

/// A host device. What is left out the daemon fills in: the same path, all permissions.
pub(crate) fn device(text: &str) -> Result<Device, String> {
    let refused = || format!("{text:?} is not of the form /dev/host[:/dev/container[:rwm]]");
    let is_permissions = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, permissions) = match parts[..] {
        [host] => (host, "", ""),
        [host, permissions] if is_permissions(permissions) => (host, "", permissions),
        [host, container] => (host, container, ""),
        [host, container, permissions] if is_permissions(permissions) => (host, container, permissions),
        _ => return Err(refused()),
    };
    if !host.starts_with('/') || !(container.is_empty() || container.starts_with('/')) {
        return Err(refused());
    }
    Ok(Device { host_path: host.into(), container_path: container.into(), permissions: permissions.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_may_have_another_path_and_fewer_permissions() {
        let parsed = |text| device(text).map(|d| (d.host_path, d.container_path, d.permissions));
        let whole = |a: &str, b: &str, c: &str| Ok((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(parsed("/dev/fuse"), whole("/dev/fuse", "", ""));
        assert_eq!(parsed("/dev/fuse:r"), whole("/dev/fuse", "", "r"));
        assert_eq!(parsed("/dev/a:/dev/b"), whole("/dev/a", "/dev/b", ""));
        assert_eq!(parsed("/dev/a:/dev/b:rw"), whole("/dev/a", "/dev/b", "rw"));
        for text in ["", "fuse", "/dev/a:b", "/dev/a:/dev/b:x", "/a:/b:r:r"] {
            assert!(device(text).is_err(), "{text}");
        }
    }
}
