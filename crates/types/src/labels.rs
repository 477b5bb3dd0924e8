//! Labels: what callers write on resources. Gantry gives no label a meaning of its own, and an image's
//! labels stay the image's (see the threat table on labels that turned into commands).

use std::collections::BTreeMap;

/// Key to value, in key order. Bounded by [`crate::LABELS_MAX`] and [`crate::LABEL_BYTES_MAX`].
pub type Labels = BTreeMap<String, String>;
