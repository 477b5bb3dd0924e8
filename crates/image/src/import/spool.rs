//! Reading the archive once: documents into memory, everything else into the content store under its digest.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};

use gantry_types::{Digest, MANIFEST_BYTES_MAX};

use super::ImportError;
use super::archive::{Belongs, belongs};
use crate::content::ContentStore;
use crate::unpack::{Kind, TarReader, UnpackLimits};

/// Members of one archive.
const MEMBERS_MAX: u64 = 100_000;

/// What the archive had in it.
#[derive(Debug, Default)]
pub(super) struct Spool {
    documents: BTreeMap<String, Vec<u8>>,
    /// Members of a docker archive: where their bytes are now, and how many.
    members: BTreeMap<String, (Digest, u64)>,
    /// Links of a docker archive: equal layers are stored once.
    links: BTreeMap<String, String>,
}

impl Spool {
    /// Reads the archive to its end.
    pub(super) fn read(
        source: impl Read,
        content: &ContentStore,
        limits: UnpackLimits,
        id: &str,
    ) -> Result<Self, ImportError> {
        let mut spool = Self::default();
        // The archive holds several layers, each of which may have the layer's limit.
        let bytes_max = limits.bytes_max.saturating_mul(2);
        let limits = UnpackLimits { bytes_max, entries_max: MEMBERS_MAX };
        let mut reader = TarReader::new(BufReader::with_capacity(256 << 10, source), limits);
        while let Some(entry) = reader.next_entry()? {
            let Ok(name) = String::from_utf8(entry.path) else { continue };
            match entry.kind {
                Kind::File { size } => spool.file(&mut reader, content, name, size, id)?,
                Kind::Symlink { target } => spool.link(&name, &target),
                Kind::Hardlink { target } => {
                    if let Ok(target) = String::from_utf8(target) {
                        spool.links.insert(name, target);
                    }
                }
                Kind::Folder | Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => {}
            }
        }
        reader.finish()?;
        Ok(spool)
    }

    /// A small document by its name.
    pub(super) fn document(&self, name: &str) -> Option<&[u8]> {
        self.documents.get(name).map(Vec::as_slice)
    }

    /// A member by its name, through at most one link.
    pub(super) fn member(&self, name: &str) -> Option<(Digest, u64)> {
        let target = self.links.get(name).map_or(name, String::as_str);
        self.members.get(target).cloned()
    }

    fn file<R: std::io::BufRead>(
        &mut self,
        reader: &mut TarReader<R>,
        content: &ContentStore,
        name: String,
        size: u64,
        id: &str,
    ) -> Result<(), ImportError> {
        let expected = match belongs(&name) {
            Belongs::Nowhere => return Ok(()),
            Belongs::Document => {
                if size > MANIFEST_BYTES_MAX {
                    return Err(ImportError::Manifest {
                        source: crate::manifest::ManifestError::Field {
                            kind: "archive",
                            field: "size of a document",
                        },
                    });
                }
                let mut bytes = Vec::new();
                reader.data(|piece| {
                    bytes.extend_from_slice(piece);
                    Ok::<(), ImportError>(())
                })?;
                self.documents.insert(name, bytes);
                return Ok(());
            }
            Belongs::Blob(digest) => Some(digest),
            Belongs::Member => None,
        };
        if let Some(digest) = &expected
            && content.size(digest)? == Some(size)
        {
            self.members.insert(name, (digest.clone(), size));
            return Ok(());
        }
        let mut ingest = content.ingest_afresh(&format!("import-{id}"))?;
        reader.data(|piece| ingest.write(piece).map_err(ImportError::from))?;
        match ingest.commit(expected.as_ref(), Some(size)) {
            Ok(digest) => {
                self.members.insert(name, (digest, size));
                Ok(())
            }
            Err(crate::content::ContentError::DigestMismatch { found, .. }) => {
                Err(ImportError::Member { name, found })
            }
            Err(source) => Err(ImportError::Content { source }),
        }
    }

    /// `docker save` links a layer that comes twice: `<id>/layer.tar -> ../<other id>/layer.tar`.
    fn link(&mut self, name: &str, target: &[u8]) {
        let Ok(target) = std::str::from_utf8(target) else { return };
        let target = match target.strip_prefix("../") {
            Some(beside) => beside.to_owned(),
            None => match name.rsplit_once('/') {
                Some((folder, _)) => format!("{folder}/{target}"),
                None => target.to_owned(),
            },
        };
        self.links.insert(name.to_owned(), target);
    }
}
