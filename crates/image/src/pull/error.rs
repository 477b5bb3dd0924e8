//! Why a pull failed.

use gantry_types::{Class, Classified, Resource};

use crate::content::ContentError;
use crate::layer::LayerError;
use crate::layers::LayerStoreError;
use crate::manifest::ManifestError;
use crate::registry::RegistryError;

/// A failed pull. What was fetched before it is kept.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry did not give it.
    #[error("cannot pull {image}")]
    Registry {
        /// The image, in its short form.
        image: String,
        /// Why.
        source: RegistryError,
    },
    /// What the registry gave is no image that can be used.
    #[error("image {image} cannot be used")]
    Manifest {
        /// The image.
        image: String,
        /// Why.
        source: ManifestError,
    },
    /// A layer failed.
    #[error("a layer of {image} failed")]
    Layer {
        /// The image.
        image: String,
        /// Why.
        source: LayerError,
    },
    /// A document cannot be kept.
    #[error("a document of {image} cannot be kept")]
    Content {
        /// The image.
        image: String,
        /// Why.
        source: ContentError,
    },
    /// The layer store failed.
    #[error("the layers of {image} cannot be looked up")]
    Layers {
        /// The image.
        image: String,
        /// Why.
        source: LayerStoreError,
    },
}

impl PullError {
    fn classified(&self) -> &dyn Classified {
        match self {
            Self::Registry { source, .. } => source,
            Self::Manifest { source, .. } => source,
            Self::Layer { source, .. } => source,
            Self::Content { source, .. } => source,
            Self::Layers { source, .. } => source,
        }
    }

    fn image(&self) -> &str {
        match self {
            Self::Registry { image, .. }
            | Self::Manifest { image, .. }
            | Self::Layer { image, .. }
            | Self::Content { image, .. }
            | Self::Layers { image, .. } => image,
        }
    }
}

impl Classified for PullError {
    fn class(&self) -> Class {
        self.classified().class()
    }

    fn reason(&self) -> &'static str {
        self.classified().reason()
    }

    fn resource(&self) -> Option<Resource> {
        Some(Resource { kind: "image", name: self.image().to_owned() })
    }

    fn hint(&self) -> Option<String> {
        self.classified().hint()
    }
}
