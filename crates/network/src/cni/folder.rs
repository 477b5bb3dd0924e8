//! Which configuration has a name? Looked for in folders as other engines look: files that end in `.conflist`, `.conf`
//! or `.json`, in the order of their names, the first that says that name. Files that are no configuration are somebody
//! else's mistake, and are passed over.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{CNI_BYTES_MAX, CniError, CniList};

/// The text of the configuration that has the name.
pub fn find(folders: &[PathBuf], name: &str) -> Result<Vec<u8>, CniError> {
    for folder in folders {
        for path in files(folder)? {
            let text = read(&path)?;
            if CniList::parse(&text).is_ok_and(|list| list.name() == name) {
                return Ok(text);
            }
        }
    }
    let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    Err(CniError::NotFound { name: name.to_owned(), folders: folders.join(", ") })
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, CniError> {
    let failed = |source| CniError::Folder { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let is_one =
            path.extension().is_some_and(|end| ["conflist", "conf", "json"].iter().any(|one| end == *one));
        if is_one && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<u8>, CniError> {
    let failed = |source| CniError::Folder { path: path.to_owned(), source };
    let mut text = Vec::new();
    // One byte more than there may be, so that a longer one is no configuration.
    let limit = u64::try_from(CNI_BYTES_MAX).expect("1 MiB") + 1;
    std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut text)).map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use gantry_types::Classified;

    use super::*;

    #[test]
    fn a_configuration_is_found_by_the_name_it_says_in_the_order_of_the_files() {
        let folder = tempfile::tempdir().expect("folder");
        let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).expect("write");
        write("10-bad.conflist", "{");
        write("20-lan.conf", r#"{"name": "lan", "cniVersion": "1.0.0", "type": "ptp"}"#);
        write(
            "30-lan.conflist",
            r#"{"name": "lan", "cniVersion": "1.0.0", "plugins": [{"type": "bridge"}]}"#,
        );
        write("40-other.txt", r#"{"name": "other", "type": "ptp"}"#);
        let folders = [folder.path().join("missing"), folder.path().to_owned()];
        assert!(String::from_utf8_lossy(&find(&folders, "lan").expect("found")).contains("ptp"));
        let error = find(&folders, "other").expect_err("another ending");
        assert_eq!(error.reason(), "CNI_CONFIGURATION_NOT_FOUND");
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
