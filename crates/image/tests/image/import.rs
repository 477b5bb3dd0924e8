//! Archives as docker, podman and skopeo write them, and archives that lie.

use gantry_image::import::{ImportError, ImportFormat, ImportOptions, Imported, Importer};
use gantry_image::unpack::UnpackLimits;
use gantry_types::{Class, Classified as _, ImageConfig, Platform, RequestId};

use crate::archive::{Archive, gzip, zstd};
use crate::pull::{Machine, options};
use crate::sample::{MANIFEST_TYPE, Sample, digest};

/// Like [`Archive::file`], for bytes.
fn with(archive: Archive, name: &str, bytes: &[u8]) -> Archive {
    archive.entry(tar::EntryType::Regular, name, bytes, |_| {})
}

fn layout(sample: &Sample, index: &str) -> Archive {
    let mut archive = Archive::default().file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    for blob in sample.layers.iter().chain([&sample.config, &sample.manifest]) {
        archive = with(archive, &format!("blobs/sha256/{}", digest(blob).hex()), blob);
    }
    archive.file("index.json", index)
}

fn index(sample: &Sample) -> String {
    format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{MANIFEST_TYPE}","digest":"{}","size":{},
        "annotations":{{"io.containerd.image.name":"docker.io/library/hello:v1"}}}}]}}"#,
        digest(&sample.manifest),
        sample.manifest.len()
    )
}

fn docker_save(sample: &Sample) -> Archive {
    let config = format!("{}.json", digest(&sample.config).hex());
    let list = format!(
        r#"[{{"Config":"{config}","RepoTags":["hello:v2"],"Layers":["a/layer.tar","b/layer.tar"]}}]"#
    );
    let archive = with(Archive::default(), &config, &sample.config).folder("a").file("a/VERSION", "1.0");
    let archive = with(archive, "a/layer.tar", &sample.tars[0]);
    with(archive, "b/layer.tar", &sample.tars[1]).file("manifest.json", &list)
}

fn import(machine: &Machine, bytes: &[u8]) -> Result<Vec<Imported>, ImportError> {
    let (content, layers) = (machine.content.clone(), machine.layers.clone());
    let importer = Importer::new(content, layers, UnpackLimits::default());
    let (platform, id) = (Platform::host(), "test".parse().expect("an id"));
    importer.import(bytes, &auto(&platform, &id), &())
}

fn auto<'a>(platform: &'a Platform, id: &'a RequestId) -> ImportOptions<'a> {
    ImportOptions { format: ImportFormat::Auto, platform, config: None, created: None, id }
}

#[test]
fn a_root_filesystem_becomes_an_image_of_one_layer() {
    let tar = Archive::default().folder("./").folder("./bin").file("./bin/hello", "hello").finish();
    let config = ImageConfig { command: vec!["/bin/hello".into()], ..ImageConfig::default() };
    let (platform, id) = (Platform::host(), "test".parse().expect("an id"));
    for bytes in [tar.clone(), gzip(&tar), zstd(&tar)] {
        let machine = Machine::new(options());
        let importer =
            Importer::new(machine.content.clone(), machine.layers.clone(), UnpackLimits::default());
        let how = ImportOptions { config: Some(&config), ..auto(&platform, &id) };
        let images = importer.import(&bytes[..], &how, &()).expect("imports");
        let record = &images[0].record;
        assert_eq!(record.config.command, ["/bin/hello"]);
        assert_eq!(record.layers[0].diff_id, digest(&tar));
        assert_eq!(record.layers[0].unpacked_bytes, tar.len() as u64);
        assert!(machine.layer(record, 0).join("bin/hello").exists());
    }
}

#[test]
fn a_layout_is_imported_in_every_compression() {
    let sample = Sample::small();
    let tar = layout(&sample, &index(&sample)).finish();
    for bytes in [tar.clone(), gzip(&tar), zstd(&tar)] {
        let machine = Machine::new(options());
        let images = import(&machine, &bytes).expect("imports");
        assert_eq!(images.len(), 1);
        assert_eq!(images[0].names[0].familiar(), "hello:v1");
        assert_eq!(images[0].record.manifest, digest(&sample.manifest));
        assert!(machine.layer(&images[0].record, 1).join("large").exists());
    }
}

#[test]
fn what_docker_saves_is_imported_and_gets_one_digest() {
    let sample = Sample::small();
    let tar = docker_save(&sample).finish();
    let machine = Machine::new(options());
    let first = import(&machine, &tar).expect("imports");
    assert_eq!(first[0].names[0].familiar(), "hello:v2");
    assert_eq!(first[0].record.config.command, ["/hello"]);
    assert_eq!(first[0].record.layers[0].diff_id, digest(&sample.tars[0]));
    assert!(machine.layer(&first[0].record, 0).join("hello").exists());
    let mut again = import(&machine, &tar).expect("imports again");
    again[0].record.learn_sizes(&first[0].record);
    assert_eq!(again, first);
    machine.content.verify(&first[0].record.manifest).expect("the made manifest is stored");
}

#[test]
fn archives_that_lie_or_miss_something_are_refused() {
    let sample = Sample::small();
    let wrong_blob = with(Archive::default(), &format!("blobs/sha256/{}", "a".repeat(64)), b"not that");
    let no_blobs = Archive::default().file("oci-layout", "{}").file("index.json", &index(&sample));
    let no_layer = Archive::default()
        .file("manifest.json", r#"[{"Config":"c.json","Layers":["../../etc/passwd"]}]"#)
        .file("c.json", "{}");
    let mut swapped = sample.clone();
    swapped.tars.swap(0, 1);
    let huge = Archive::default()
        .entry(tar::EntryType::Regular, "index.json", b"", |header| header.set_size(8 << 30))
        .unfinished();
    for (what, bytes, class) in [
        ("no archive", b"hello".to_vec(), Class::DataLoss),
        ("an empty tar", Archive::default().finish(), Class::InvalidArgument),
        ("a blob under a wrong name", wrong_blob.finish(), Class::DataLoss),
        ("blobs missing", no_blobs.finish(), Class::DataLoss),
        ("a member outside", no_layer.finish(), Class::DataLoss),
        ("layers in the wrong order", docker_save(&swapped).finish(), Class::DataLoss),
        ("an endless index", huge, Class::DataLoss),
    ] {
        let machine = Machine::new(options());
        let error = import(&machine, &bytes).expect_err(what);
        assert_eq!(error.class(), class, "{what}: {error:?}");
        assert_eq!(machine.folders(), 0, "{what}");
    }
}

#[test]
fn an_image_for_another_platform_is_not_imported() {
    let sample = Sample::small();
    let tar = layout(&sample, &index(&sample)).finish();
    let machine = Machine::new(options());
    let importer = Importer::new(machine.content.clone(), machine.layers.clone(), UnpackLimits::default());
    let platform = "linux/s390x".parse().expect("a platform");
    let id = "test".parse().expect("an id");
    let error = importer.import(&tar[..], &auto(&platform, &id), &()).expect_err("refused");
    assert_eq!(error.class(), Class::NotFound);
}
