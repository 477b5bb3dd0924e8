//! Giving an image one more name.

use gantry_types::{Labels, Namespace, Reference};

use crate::assemble::Daemon;
use crate::error::Error;
use crate::images;
use crate::tables::EventKind;

impl Daemon {
    /// Lets `new_name` stand for the image that `text` means; a name in use moves.
    pub(crate) async fn tag_image(
        &self,
        namespace: &Namespace,
        text: &str,
        new_name: &Reference,
    ) -> Result<(), Error> {
        let fetching = self.pulls.fetching().await;
        let (_, row) = images::find(&self.store, namespace, text)?;
        self.name_image(namespace, new_name, row.value.image.clone(), &Labels::new(), EventKind::ImageTag)
            .await?;
        drop(fetching);
        self.collect_if_due().await;
        Ok(())
    }
}
