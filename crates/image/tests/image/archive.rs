//! A writer of tars that may be wrong in every way: each entry is a header whose fields the test sets itself.

use tar::{EntryType, Header};

/// A tar in memory.
#[derive(Debug, Default, Clone)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    /// An entry with a header that `edit` may change; the checksum is made right afterwards.
    pub(crate) fn entry(
        mut self,
        kind: EntryType,
        name: &str,
        data: &[u8],
        edit: impl FnOnce(&mut Header),
    ) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        header.set_device_major(0).expect("ustar");
        header.set_device_minor(0).expect("ustar");
        edit(&mut header);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.raw(data).pad()
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        self.entry(EntryType::Regular, name, text.as_bytes(), |_| {})
    }

    pub(crate) fn folder(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, b"", |_| {})
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, name, target)
    }

    pub(crate) fn hardlink(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Link, name, target)
    }

    fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        self.entry(kind, name, b"", |header| {
            header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
        })
    }

    /// A PAX header for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length.to_string().len() + rest != length {
                length += 1;
            }
            body.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
        }
        self.entry(EntryType::XHeader, "pax", &body, |_| {})
    }

    /// Bytes as they are.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn pad(mut self) -> Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// The tar with its two blocks of zeros.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 1024]);
        self.bytes
    }

    /// The tar without an end.
    pub(crate) fn unfinished(self) -> Vec<u8> {
        self.bytes
    }
}

/// gzip at its fastest.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory takes it")
}
