//! Making images of a tar archive that a client streams.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use gantry_image::ImageRecord;
use gantry_image::import::{ImportFormat, ImportOptions, Imported};
use gantry_types::{ContainerId, ImageConfig, Labels, Namespace, Platform, Reference};
use tokio::sync::mpsc;

use crate::assemble::Daemon;
use crate::clock;
use crate::error::Error;
use crate::tables::EventKind;

/// A checked request.
#[derive(Debug)]
pub(crate) struct Import {
    pub namespace: Namespace,
    pub format: ImportFormat,
    /// The name for a root filesystem, or for the only image of an archive.
    pub name: Option<Reference>,
    pub platform: Platform,
    /// How to run a root filesystem.
    pub config: Option<ImageConfig>,
    pub labels: Labels,
}

impl Daemon {
    /// Returns the names that stand for what was in the archive.
    pub(crate) async fn import_images(
        &self,
        import: Import,
        chunks: mpsc::Receiver<Bytes>,
    ) -> Result<Vec<Reference>, Error> {
        let fetching = self.pulls.fetching().await;
        let pulls = Arc::clone(&self.pulls);
        let reader = ChunkReader { chunks, current: Bytes::new() };
        let Import { namespace, format, name, platform, config, labels } = import;
        let created =
            jiff::Timestamp::from_nanosecond(clock::unix_ns().into()).map(|time| time.to_string()).ok();
        let id = ContainerId::from_random(&rand::random()).as_str().parse()?;
        let imported = self
            .blocking
            .run(move || {
                let (platform, config, created) = (&platform, config.as_ref(), created.as_deref());
                let options = ImportOptions { format, platform, config, created, id: &id };
                pulls.importer.import(reader, &options, &())
            })
            .await?;
        let images = name_all(name, imported)?;
        let mut names = Vec::new();
        for (name, image) in images {
            self.name_image(&namespace, &name, image, &labels, EventKind::ImageImport).await?;
            names.push(name);
        }
        drop(fetching);
        self.collect_if_due().await;
        Ok(names)
    }
}

/// Which name stands for which image: the caller's for the only one, else those of the archive.
fn name_all(
    name: Option<Reference>,
    imported: Vec<Imported>,
) -> Result<Vec<(Reference, ImageRecord)>, Error> {
    match (name, imported.len()) {
        (Some(name), 1) => Ok(imported.into_iter().map(|image| (name.clone(), image.record)).collect()),
        (Some(_), images) => Err(Error::ImportNameForSeveral { images }),
        (None, _) if imported.iter().any(|image| image.names.is_empty()) => Err(Error::ImportNameless),
        (None, _) => Ok(imported
            .into_iter()
            .flat_map(|image| image.names.into_iter().map(move |name| (name, image.record.clone())))
            .collect()),
    }
}

/// Chunks of a stream as a reader; the end of the stream is the end of the file.
struct ChunkReader {
    chunks: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let taken = self.current.split_to(buffer.len().min(self.current.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}
