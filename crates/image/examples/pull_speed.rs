//! How fast one image is pulled, unpacked and flushed: `pull_speed <reference> <folder>`. The folder must not exist
//! and is left behind. For measuring by hand beside other engines; the figures are in the commit that changes speed.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

#[path = "../tests/image/folders.rs"]
mod folders;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use gantry_image::content::ContentStore;
use gantry_image::registry::{RegistryClient, RegistryOptions};
use gantry_image::unpack::UnpackLimits;
use gantry_image::{PullRequest, Puller};
use gantry_types::Platform;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(reference), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: pull_speed <reference> <folder>".into());
    };
    let (reference, folder) = (reference.parse()?, PathBuf::from(folder));
    let content = Arc::new(ContentStore::open(&folder.join("content"))?);
    let layers = Arc::new(folders::Folders::new(&folder.join("layers")));
    let client = RegistryClient::new(RegistryOptions::default())?;
    let puller = Puller::new(content, layers, client, UnpackLimits::default());
    let platform = Platform::host();
    let request = PullRequest {
        reference: &reference,
        platform: &platform,
        credentials: None,
        insecure: false,
        progress: Arc::new(()),
    };
    let begun = Instant::now();
    let record = puller.pull(request).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let unpacked: u64 = record.layers.iter().map(|layer| layer.unpacked_bytes).sum();
    println!("{seconds:.2} s, {} bytes fetched, {unpacked} bytes unpacked", record.size_bytes);
    Ok(())
}
