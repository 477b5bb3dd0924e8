//! What is fuzzed: everything that parses what strangers write. A target answers whether the bytes were taken; an error of
//! its own is a broken promise, such as a text that does not come back from what it was parsed to.

mod api;
mod images;
mod runtime;

use anyhow::Result;

/// One parser.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Well-formed inputs, to begin with.
    pub(crate) samples: fn() -> Vec<Vec<u8>>,
    /// Words of the format.
    pub(crate) words: &'static [&'static str],
    pub(crate) run: fn(&[u8]) -> Result<bool>,
}

pub(crate) fn all() -> Vec<Target> {
    [images::all(), runtime::all(), api::all()].concat()
}

/// Texts as samples.
fn texts(samples: &[&str]) -> Vec<Vec<u8>> {
    samples.iter().map(|sample| sample.as_bytes().to_vec()).collect()
}

/// The text of an input; parsers of text are only ever given valid UTF-8.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
