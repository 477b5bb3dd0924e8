//! How long does a large layer take from a registry to files on the disk? About 220 MB of gzip, pulled from a local
//! registry, unpacked and synced, by Gantry and by containerd, in turn.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use gantry_tests::image::{Image, Layer};
use serde_json::json;

use crate::Bench;
use crate::engines::Engines;
use crate::peers::run;
use crate::stats::Samples;

const ROUNDS: usize = 3;
/// Bytes of files in the layer; they compress to about 40 %.
const LAYER_BYTES: u64 = 560 << 20;

/// What pulling took.
pub(crate) struct Pull {
    pub(crate) layer_bytes: u64,
    pub(crate) gantry: Samples,
    pub(crate) containerd: Samples,
}

pub(crate) fn measure(engines: &mut Engines, bench: &Bench) -> Result<Pull> {
    let pushed = image()?.push(&bench.registry, "large", "latest")?;
    let layer_bytes = std::fs::metadata(bench.registry.blob_file(&pushed.layers[0]))?.len();
    let mut pull = Pull { layer_bytes, gantry: Samples::default(), containerd: Samples::default() };
    for _ in 0..ROUNDS {
        sync()?;
        let start = Instant::now();
        engines.gantry.daemon.ok(&["pull", "-q", &pushed.reference])?;
        sync()?;
        pull.gantry.push(start.elapsed());
        engines.gantry.daemon.ok(&["rmi", &pushed.reference])?;
        if let Some(daemons) = &engines.daemons {
            sync()?;
            let start = Instant::now();
            run(&mut daemons.ctr(&["images", "pull", "--plain-http", &pushed.reference]))?;
            sync()?;
            pull.containerd.push(start.elapsed());
            run(&mut daemons.ctr(&["images", "rm", "--sync", &pushed.reference]))?;
        }
    }
    Ok(pull)
}

/// Durable is what counts: who has not synced before the answer pays after it.
fn sync() -> Result<()> {
    run(&mut Command::new("sync"))
}

/// One layer of this machine's own programs and libraries, of a size like that of a language's official image.
fn image() -> Result<Image> {
    let mut layer = Layer::new();
    let mut left = LAYER_BYTES;
    for folder in ["/usr/bin", "/usr/lib", "/usr/share"] {
        layer = layer.copy_tree(Path::new(folder), &mut left)?;
    }
    Image::new(json!({"Cmd": ["bash"]})).layer(&layer)
}
