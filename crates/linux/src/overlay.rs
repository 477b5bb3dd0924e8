//! How a root filesystem is stacked from layers: a detached overlay mount. Layers are told one by one
//! (`lowerdir+`, Linux 6.7), or joined in one string where the kernel is older; the string is then limited to
//! 255 bytes by fsconfig(2), which a caller meets as E2BIG before anything is made. The folders are Gantry's
//! own, never a container's: they are given as paths.

use std::os::fd::OwnedFd;

use crate::error::{Errno, Object, Result, SyscallError};
use crate::mount::{FsContext, MountAttributes};

/// An overlay to be made.
#[derive(Debug, Default)]
pub struct Overlay<'a> {
    /// Read-only layers, the topmost first; at least one, or two when there is no upper.
    pub lower: &'a [&'a str],
    /// Where writes go, and the empty work folder on the same filesystem; `None` makes the whole read-only.
    pub upper_and_work: Option<(&'a str, &'a str)>,
    /// Writes need not survive a power cut (`volatile`).
    pub volatile: bool,
    /// Further options; without a value they are flags.
    pub options: &'a [(&'a str, Option<&'a str>)],
}

impl Overlay<'_> {
    /// Makes the superblock and a detached mount of it.
    pub fn mount(&self, attributes: MountAttributes) -> Result<OwnedFd> {
        let context = FsContext::open("overlay")?;
        self.set_lower(&context)?;
        if let Some((upper, work)) = self.upper_and_work {
            context.set_string("upperdir", upper)?;
            context.set_string("workdir", work)?;
        }
        if self.volatile {
            context.set_flag("volatile")?;
        }
        for (key, value) in self.options {
            match value {
                Some(value) => context.set_string(key, value)?,
                None => context.set_flag(key)?,
            }
        }
        context.create()?;
        context.mount(attributes)
    }

    fn set_lower(&self, context: &FsContext) -> Result<()> {
        let mut layers = self.lower.iter();
        let Some(first) = layers.next() else { return Ok(()) };
        match context.set_string("lowerdir+", first) {
            Ok(()) => layers.try_for_each(|layer| context.set_string("lowerdir+", layer)),
            // Older kernels do not know the option.
            Err(error) if error.errno == Errno::INVAL => context.set_string("lowerdir", &joined(self.lower)?),
            Err(error) => Err(error),
        }
    }
}

/// All layers in one value. A colon separates, so that one in a name is escaped.
fn joined(layers: &[&str]) -> Result<String> {
    const VALUE_BYTES_MAX: usize = 255;
    let value = layers
        .iter()
        .map(|layer| layer.replace('\\', "\\\\").replace(':', "\\:"))
        .collect::<Vec<_>>()
        .join(":");
    if value.len() > VALUE_BYTES_MAX {
        return Err(SyscallError::new("fsconfig", Object::Name("lowerdir"), Errno::TOOBIG));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use crate::path::{RootDir, read_bounded};

    #[test]
    fn the_topmost_layer_wins_and_writes_go_to_the_upper_folder() {
        if !crate::testing::is_root_or_skipped() {
            return;
        }
        let base = tempfile::tempdir().expect("a temporary folder");
        let folder = |name: &str| {
            let path = base.path().join(name);
            fs::create_dir(&path).expect("create_dir");
            path.to_str().expect("utf-8").to_owned()
        };
        let (top, bottom, upper, work) = (folder("to:p"), folder("bottom"), folder("upper"), folder("work"));
        fs::write(format!("{top}/both"), "top").expect("write");
        fs::write(format!("{bottom}/both"), "bottom").expect("write");
        fs::write(format!("{bottom}/only"), "bottom").expect("write");
        let lower = [top.as_str(), bottom.as_str()];
        let overlay = Overlay { lower: &lower, upper_and_work: Some((&upper, &work)), ..Overlay::default() };
        let root = RootDir::new(overlay.mount(MountAttributes::empty()).expect("overlay"));
        let read = |path: &str| read_bounded(root.open_file(path).expect("open"), 100).expect("read");
        assert_eq!(read("both"), b"top");
        assert_eq!(read("only"), b"bottom");
        root.create_dir_all("new/folder", 0o755).expect("mkdir");
        assert!(base.path().join("upper/new/folder").is_dir());
    }

    #[test]
    fn joined_layers_escape_colons_and_keep_within_the_kernels_limit() {
        assert_eq!(joined(&["/a:b", "/c\\d"]).expect("short"), "/a\\:b:/c\\\\d");
        let long = "x".repeat(200);
        assert_eq!(joined(&[&long, &long]).expect_err("long").errno, Errno::TOOBIG);
    }
}
