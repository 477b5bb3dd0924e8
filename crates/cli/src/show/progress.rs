//! How far a pull is: live bars on a terminal, plain lines for what was finished otherwise.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use gantry_api::images::v1::{BlobKind, BlobProgress, BlobState, PullProgress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output;

/// The progress of one pull.
#[derive(Debug)]
pub(crate) struct Progress {
    bars: Option<MultiProgress>,
    blobs: BTreeMap<String, (Option<ProgressBar>, BlobState)>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self { bars, blobs: BTreeMap::new() }
    }

    /// Shows what changed.
    pub(crate) fn update(&mut self, progress: &PullProgress) {
        for blob in progress.blobs.iter().filter(|blob| blob.kind() == BlobKind::Layer) {
            let bars = self.bars.as_ref();
            let (bar, state) = self
                .blobs
                .entry(blob.digest.clone())
                .or_insert_with(|| (bars.map(|bars| bars.add(ProgressBar::new(0))), BlobState::Unspecified));
            let changed = *state != blob.state();
            *state = blob.state();
            match bar {
                Some(bar) => show(bar, blob, changed),
                None if changed => tell(blob),
                None => {}
            }
        }
    }

    /// Says how it ended.
    pub(crate) fn finish(self, up_to_date: bool) {
        for (bar, _) in self.blobs.into_values() {
            if let Some(bar) = bar {
                bar.abandon();
            }
        }
        output::note(if up_to_date { "Image is up to date" } else { "Image is pulled" });
    }
}

fn show(bar: &ProgressBar, blob: &BlobProgress, changed: bool) {
    if changed {
        let moving =
            matches!(blob.state(), BlobState::Downloading | BlobState::Unpacking) && blob.total_bytes > 0;
        let template =
            if moving { "{prefix}: {msg:<12} [{bar:40}] {bytes}/{total_bytes}" } else { "{prefix}: {msg}" };
        // A template that does not parse would be a bug of this file; the default style shows as much.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(short(&blob.digest).to_owned());
        bar.set_message(word(blob.state()));
    }
    bar.set_length(blob.total_bytes);
    bar.set_position(blob.current_bytes);
}

/// Plain lines tell only what is finished, so that a log of them stays short.
fn tell(blob: &BlobProgress) {
    match blob.state() {
        BlobState::Done | BlobState::Present => {
            output::note(format_args!("{}: {}", short(&blob.digest), word(blob.state())));
        }
        BlobState::Unspecified | BlobState::Waiting | BlobState::Downloading | BlobState::Unpacking => {}
    }
}

fn word(state: BlobState) -> &'static str {
    match state {
        BlobState::Unspecified | BlobState::Waiting => "Waiting",
        BlobState::Downloading => "Downloading",
        BlobState::Unpacking => "Unpacking",
        BlobState::Done => "Pull complete",
        BlobState::Present => "Already exists",
    }
}

fn short(digest: &str) -> &str {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}
