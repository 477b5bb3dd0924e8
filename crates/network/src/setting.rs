//! How is a setting below `/proc/sys/net` read and written? It is that of the calling thread's network namespace
//! when the file is opened; an open file stays with its namespace.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use crate::error::{NetworkError, Result};

/// Opens `/proc/sys/net/<path>` for writing.
pub(crate) fn open(path: &str) -> Result<File> {
    let full = Path::new("/proc/sys/net").join(path);
    OpenOptions::new().write(true).open(full).map_err(failed(path))
}

/// Writes a setting.
pub(crate) fn write(path: &str, value: &str) -> Result<()> {
    let mut file = open(path)?;
    file.write_all(value.as_bytes()).map_err(failed(path))
}

/// Writes a setting that kernels may lack: IPv6 may be compiled out or switched off at boot.
pub(crate) fn write_if_there(path: &str, value: &str) -> Result<()> {
    match write(path, value) {
        Err(NetworkError::Setting { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether the kernel has IPv6.
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// Reads a setting, without its line's end.
pub(crate) fn read(path: &str) -> Result<String> {
    let full = Path::new("/proc/sys/net").join(path);
    let mut text = String::new();
    File::open(full).and_then(|mut file| file.read_to_string(&mut text)).map_err(failed(path))?;
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// The names in a folder of settings.
pub(crate) fn entries(path: &str) -> Result<Vec<String>> {
    let folder = std::fs::read_dir(Path::new("/proc/sys/net").join(path)).map_err(failed(path))?;
    Ok(folder.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

pub(crate) fn failed(path: &str) -> impl FnOnce(std::io::Error) -> NetworkError + '_ {
    move |source| NetworkError::Setting { path: format!("/proc/sys/net/{path}"), source }
}
