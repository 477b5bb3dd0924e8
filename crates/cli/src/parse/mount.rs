//! `-v`, `--mount` and `--tmpfs`. Relative host paths are made absolute here, because the daemon has another
//! working folder and may be on another machine.

use std::path::Path;

use gantry_api::containers::v1::mount::Kind;
use gantry_api::containers::v1::{BindMount, Mount, MountPropagation, TmpfsMount};

use super::number::size;

/// `source:target[:options]`. A missing source folder is made.
pub(crate) fn volume(text: &str) -> Result<Mount, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        [_] => return Err(format!("{text:?} names no host folder; anonymous volumes are not available yet")),
        _ => return Err(format!("{text:?} is not of the form source:target[:options]")),
    };
    if !source.starts_with(['/', '.', '~']) {
        return Err(format!(
            "{source:?} is no path; named volumes are not available yet (write ./{source} for a folder)"
        ));
    }
    let mut bind = BindMount {
        source: absolute(source)?,
        target: target.to_owned(),
        create_source: true,
        ..BindMount::default()
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => bind.read_only = true,
            // Labels of SELinux, which Gantry does not set, and defaults.
            "rw" | "z" | "Z" | "rbind" => {}
            "bind" => bind.non_recursive = true,
            "idmap" => bind.id_mapped = true,
            other => bind.propagation = propagation(other).ok_or_else(|| unknown(other))?.into(),
        }
    }
    Ok(Mount { kind: Some(Kind::Bind(bind)) })
}

/// `type=bind,source=…,target=…` and its tmpfs form. A missing source is refused by the daemon.
pub(crate) fn mount(text: &str) -> Result<Mount, String> {
    let mut kind = "volume";
    let (mut source, mut target, mut read_only) = (None, None, false);
    let mut bind = BindMount::default();
    let mut tmpfs = TmpfsMount::default();
    for field in text.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match key {
            "type" => kind = value,
            "source" | "src" => source = Some(value),
            "target" | "dst" | "destination" => target = Some(value),
            "readonly" | "ro" => read_only = flag(value).ok_or_else(|| unknown(field))?,
            "bind-propagation" => bind.propagation = propagation(value).ok_or_else(|| unknown(field))?.into(),
            "idmap" => bind.id_mapped = flag(value).ok_or_else(|| unknown(field))?,
            "bind-recursive" => bind.non_recursive = value == "disabled",
            "bind-nonrecursive" => bind.non_recursive = flag(value).ok_or_else(|| unknown(field))?,
            "tmpfs-size" => tmpfs.size_bytes = Some(size(value)?),
            "tmpfs-mode" => tmpfs.mode = Some(octal(value)?),
            _ => return Err(unknown(field)),
        }
    }
    let target = target.ok_or_else(|| format!("{text:?} has no target"))?.to_owned();
    let kind = match kind {
        "bind" => {
            let source = absolute(source.ok_or_else(|| format!("{text:?} has no source"))?)?;
            Kind::Bind(BindMount { source, target, read_only, ..bind })
        }
        "tmpfs" => Kind::Tmpfs(TmpfsMount { target, read_only, ..tmpfs }),
        "volume" => return Err("volumes are not available yet; use type=bind or type=tmpfs".into()),
        other => return Err(format!("{other:?} is no type of a mount; use type=bind or type=tmpfs")),
    };
    Ok(Mount { kind: Some(kind) })
}

/// `target[:options]`.
pub(crate) fn tmpfs(text: &str) -> Result<Mount, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut tmpfs = TmpfsMount { target: target.to_owned(), ..TmpfsMount::default() };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => tmpfs.size_bytes = Some(size(value)?),
            Some(("mode", value)) => tmpfs.mode = Some(octal(value)?),
            None if option == "ro" => tmpfs.read_only = true,
            None if option == "rw" => tmpfs.read_only = false,
            Some(_) | None => tmpfs.options.push(option.to_owned()),
        }
    }
    Ok(Mount { kind: Some(Kind::Tmpfs(tmpfs)) })
}

fn absolute(path: &str) -> Result<String, String> {
    let path = match path.strip_prefix("~/") {
        // Docker leaves this to the shell, which does not do it after a colon or an equal sign.
        Some(rest) => Path::new(&std::env::var("HOME").unwrap_or_default()).join(rest),
        None => path.into(),
    };
    let path = std::path::absolute(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    path.into_os_string().into_string().map_err(|path| format!("{} is not UTF-8", path.display()))
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).map_err(|_| format!("{text:?} is not a mode such as 1777"))
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "" | "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn propagation(text: &str) -> Option<MountPropagation> {
    Some(match text {
        "private" => MountPropagation::Private,
        "rprivate" => MountPropagation::Rprivate,
        "slave" => MountPropagation::Slave,
        "rslave" => MountPropagation::Rslave,
        "shared" => MountPropagation::Shared,
        "rshared" => MountPropagation::Rshared,
        _ => return None,
    })
}

fn unknown(option: &str) -> String {
    format!("{option:?} is no option of a mount")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(mount: Result<Mount, String>) -> BindMount {
        match mount.expect("well formed").kind {
            Some(Kind::Bind(bind)) => bind,
            other => panic!("not a bind: {other:?}"),
        }
    }

    fn tmpfs_of(mount: Result<Mount, String>) -> TmpfsMount {
        match mount.expect("well formed").kind {
            Some(Kind::Tmpfs(tmpfs)) => tmpfs,
            other => panic!("not a tmpfs: {other:?}"),
        }
    }

    #[test]
    fn a_volume_is_a_bind_whose_source_may_be_made() {
        let mount = bind(volume("/a:/b:ro,rslave"));
        assert_eq!((mount.source.as_str(), mount.target.as_str()), ("/a", "/b"));
        assert!(mount.read_only && mount.create_source && !mount.non_recursive);
        assert_eq!(mount.propagation(), MountPropagation::Rslave);
        assert!(bind(volume("./a:/b")).source.ends_with("/a"));
        for text in ["", "/a", "name:/b", "/a:/b:ro,nonsense", "/a:/b:ro:ro"] {
            assert!(volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mount_is_written_out() {
        let mount_of = bind(mount("type=bind,src=/a,dst=/b,readonly,bind-propagation=shared"));
        assert!(mount_of.read_only && !mount_of.create_source && !mount_of.id_mapped);
        assert!(
            bind(mount("type=bind,src=/a,dst=/b,idmap")).id_mapped && bind(volume("/a:/b:idmap")).id_mapped
        );
        let tmpfs = tmpfs_of(mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700"));
        assert_eq!((tmpfs.size_bytes, tmpfs.mode), (Some(1 << 20), Some(0o700)));
        for text in ["type=bind,src=/a", "type=bind,dst=/a", "src=/a,dst=/b", "type=bind,src=/a,dst=/b,x=y"] {
            assert!(mount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_tmpfs_passes_further_options_on() {
        let mount = tmpfs_of(tmpfs("/t:size=1m,mode=700,exec,uid=5"));
        assert_eq!((mount.size_bytes, mount.mode), (Some(1 << 20), Some(0o700)));
        assert_eq!(mount.options, ["exec", "uid=5"]);
    }
}
