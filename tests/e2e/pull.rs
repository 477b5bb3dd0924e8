//! Do images arrive whole, or not at all? Against a real registry that is damaged, cut off and brought back on purpose.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use gantry_tests::daemon::Daemon;
use gantry_tests::fixture::{busybox, busybox_layer};
use gantry_tests::image::{Image, Layer};
use gantry_tests::proxy::Proxy;
use gantry_tests::registry::Registry;
use gantry_tests::trial::World;
use serde_json::json;

tests![
    an_image_is_pulled_by_tag_and_listed,
    an_image_is_pulled_by_digest,
    a_bare_manifest_without_an_index_is_pulled,
    a_digest_the_registry_does_not_have_is_an_error,
    an_unknown_image_is_an_error_with_a_hint,
    a_registry_that_nobody_runs_is_an_error,
    a_damaged_blob_is_refused_and_nothing_is_listed,
    a_truncated_blob_is_refused_and_nothing_is_listed,
    a_pull_cut_off_in_the_middle_resumes_with_what_it_has,
    a_registry_with_a_password_asks_for_it,
    layers_are_stacked_and_whiteouts_hide_what_is_below,
    pulling_again_moves_no_layer,
    many_clients_pulling_one_image_fetch_it_once,
    a_tag_is_added_and_removed_by_itself,
    an_image_in_use_is_not_removed,
    a_saved_archive_is_imported,
];

fn an_image_is_pulled_by_tag_and_listed(world: &World) -> Result<()> {
    let daemon = Daemon::start()?;
    let pushed = &world.shared.busybox;
    let said = daemon.gantry(&["pull", &pushed.reference])?;
    ensure!(said.code == 0 && said.stdout.contains(&pushed.reference), "{said}");
    let listed = daemon.ok(&["images"])?;
    ensure!(listed.contains(&pushed.repository) && listed.contains("latest"), "{listed}");
    let id = daemon.ok(&["images", "-q", "--no-trunc"])?;
    ensure!(id.contains("sha256:") && id.lines().count() == 1, "{id}");
    world.done(daemon);
    Ok(())
}

fn an_image_is_pulled_by_digest(world: &World) -> Result<()> {
    let daemon = Daemon::start()?;
    let pushed = &world.shared.busybox;
    let reference = format!("{}@{}", pushed.repository, pushed.digest);
    daemon.ok(&["pull", "-q", &reference])?;
    daemon.gantry(&["run", "--rm", &reference, "echo", "by digest"])?.exits(0)?.prints("by digest")?;
    world.done(daemon);
    Ok(())
}

fn a_bare_manifest_without_an_index_is_pulled(world: &World) -> Result<()> {
    let daemon = Daemon::start()?;
    let pushed = busybox(None)?.push_bare(&world.shared.registry, "bare", "1.0")?;
    daemon.ok(&["pull", "-q", &pushed.reference])?;
    daemon.gantry(&["run", "--rm", &pushed.reference, "true"])?.exits(0)?;
    world.done(daemon);
    Ok(())
}

fn a_digest_the_registry_does_not_have_is_an_error(world: &World) -> Result<()> {
    let daemon = Daemon::start()?;
    let digest = format!("sha256:{}", "ab".repeat(32));
    let said = daemon.gantry(&["pull", &format!("{}@{digest}", world.shared.busybox.repository)])?;
    ensure!(said.code != 0, "{said}");
    said.complains("not in registry")?;
    world.done(daemon);
    Ok(())
}

fn an_unknown_image_is_an_error_with_a_hint(world: &World) -> Result<()> {
    let daemon = Daemon::start()?;
    let reference = world.shared.registry.reference("nobody/nothing:1");
    let said = daemon.gantry(&["pull", &reference])?;
    ensure!(said.code == 1, "{said}");
    said.complains(&reference)?.complains("not in registry")?;
    daemon.gantry(&["run", &reference])?.exits(125)?.complains(&reference)?;
    ensure!(daemon.ok(&["ps", "-aq"])?.is_empty());
    world.done(daemon);
    Ok(())
}

fn a_registry_that_nobody_runs_is_an_error(world: &World) -> Result<()> {
    let daemon = Daemon::start()?;
    let mut registry = Registry::start()?;
    registry.pause();
    let reference = registry.reference("busybox:latest");
    let said = daemon.gantry(&["pull", &reference])?;
    ensure!(said.code == 1, "{said}");
    said.complains(&registry.host())?.complains("refused")?;
    world.done(daemon);
    Ok(())
}

fn a_damaged_blob_is_refused_and_nothing_is_listed(world: &World) -> Result<()> {
    refuses_blob_after(world, |blob| {
        let place = blob.len() / 2;
        blob[place] ^= 1;
    })
}

fn a_truncated_blob_is_refused_and_nothing_is_listed(world: &World) -> Result<()> {
    refuses_blob_after(world, |blob| blob.truncate(blob.len() / 2))
}

fn refuses_blob_after(world: &World, damage: fn(&mut Vec<u8>)) -> Result<()> {
    let daemon = Daemon::start()?;
    let registry = Registry::start()?;
    let pushed = busybox(None)?.push(&registry, "damaged", "latest")?;
    let file = registry.blob_file(&pushed.layers[0]);
    let whole = fs::read(&file)?;
    let mut blob = whole.clone();
    damage(&mut blob);
    fs::write(&file, blob)?;
    let said = daemon.gantry(&["pull", &pushed.reference])?;
    ensure!(said.code == 1, "{said}");
    ensure!(daemon.ok(&["images", "-q"])?.is_empty(), "a broken image is listed");
    // The registry mended, the same daemon pulls it: nothing of the damage was kept.
    fs::write(&file, whole)?;
    daemon.ok(&["pull", "-q", &pushed.reference])?;
    daemon.gantry(&["run", "--rm", &pushed.reference, "true"])?.exits(0)?;
    world.done(daemon);
    Ok(())
}

fn a_pull_cut_off_in_the_middle_resumes_with_what_it_has(world: &World) -> Result<()> {
    let daemon = Daemon::start()?;
    let image = busybox(None)?.layer(&noise("large", 6 << 20))?;
    let pushed = image.push(&world.shared.registry, "cut-off", "latest")?;
    let proxy = Proxy::start(&world.shared.registry.host())?;
    let reference = format!("{}/cut-off:latest", proxy.host());
    let whole: u64 = pushed.layers.iter().map(|layer| size(world, layer)).sum::<Result<u64>>()?;
    proxy.cut_after(whole - (2 << 20));
    let said = daemon.gantry(&["pull", &reference])?;
    ensure!(said.code == 1, "{said}");
    ensure!(daemon.ok(&["images", "-q"])?.is_empty(), "half an image is listed");
    proxy.mend();
    daemon.ok(&["pull", "-q", &reference])?;
    ensure!(proxy.passed() < whole * 3 / 4, "{} of {whole} bytes were fetched again", proxy.passed());
    daemon.gantry(&["run", "--rm", &reference, "ls", "/large"])?.exits(0)?.prints("/large")?;
    world.done(daemon);
    Ok(())
}

fn size(world: &World, digest: &str) -> Result<u64> {
    let file = world.shared.registry.blob_file(digest);
    Ok(fs::metadata(&file).with_context(|| format!("looking at {}", file.display()))?.len())
}

/// A layer with one file of bytes that do not compress.
fn noise(name: &str, size: usize) -> Layer {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let content: Vec<u8> = (0..size)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .collect();
    Layer::new().file(name, 0o644, &content)
}

fn a_registry_with_a_password_asks_for_it(world: &World) -> Result<()> {
    let registry = Registry::start_with_password("alice", "open sesame")?;
    let pushed = busybox(None)?.push(&registry, "private", "latest")?;
    let stranger = Daemon::start()?;
    let said = stranger.gantry(&["pull", &pushed.reference])?;
    ensure!(said.code == 1, "{said}");
    said.complains("credentials")?;
    let alice = Daemon::prepare()?;
    let auth = json!({"auths": {registry.host(): {"username": "alice", "password": "open sesame"}}});
    fs::write(alice.path("auth.json"), auth.to_string())?;
    alice.write_config(&format!("images.credentials_file = \"{}\"\n", alice.path("auth.json").display()))?;
    let mut alice = alice;
    alice.restart()?;
    alice.ok(&["pull", "-q", &pushed.reference])?;
    ensure!(!alice.log().contains("open sesame"), "the password is in the log");
    world.done(stranger);
    world.done(alice);
    Ok(())
}

fn layers_are_stacked_and_whiteouts_hide_what_is_below(world: &World) -> Result<()> {
    let daemon = Daemon::start()?;
    let lower = Layer::new()
        .folder("data", 0o755)
        .file("data/kept", 0o644, b"lower")
        .file("data/changed", 0o644, b"lower")
        .file("data/gone", 0o644, b"lower")
        .folder("closed", 0o755)
        .file("closed/below", 0o644, b"lower");
    let upper = Layer::new()
        .file("data/changed", 0o600, b"upper")
        .whiteout("data/gone")
        .opaque("closed")
        .file("closed/above", 0o644, b"upper");
    let image = busybox(None)?.layer(&lower)?.layer(&upper)?;
    let pushed = image.push(&world.shared.registry, "layered", "latest")?;
    daemon.ok(&["pull", "-q", &pushed.reference])?;
    let script = "cat /data/kept /data/changed; ls /data /closed; stat -c %a /data/changed";
    daemon
        .gantry(&["run", "--rm", &pushed.reference, "sh", "-c", script])?
        .exits(0)?
        .prints("lowerupper/closed:\nabove\n\n/data:\nchanged\nkept\n600")?;
    world.done(daemon);
    Ok(())
}

fn pulling_again_moves_no_layer(world: &World) -> Result<()> {
    let daemon = Daemon::start()?;
    let proxy = Proxy::start(&world.shared.registry.host())?;
    let reference = format!("{}/busybox:latest", proxy.host());
    daemon.ok(&["pull", "-q", &reference])?;
    proxy.mend();
    daemon.ok(&["pull", "-q", &reference])?;
    ensure!(proxy.passed() < 20_000, "{} bytes were fetched again", proxy.passed());
    world.done(daemon);
    Ok(())
}

fn many_clients_pulling_one_image_fetch_it_once(world: &World) -> Result<()> {
    let daemon = Daemon::start()?;
    let pushed =
        busybox(None)?.layer(&noise("crowd", 1 << 20))?.push(&world.shared.registry, "crowd", "latest")?;
    let proxy = Proxy::start(&world.shared.registry.host())?;
    let reference = format!("{}/crowd:latest", proxy.host());
    let pulls: Vec<_> = (0..6).map(|_| daemon.begin(&["pull", "-q", &reference])).collect::<Result<_>>()?;
    for pull in pulls {
        pull.finish()?.ok()?;
    }
    let whole: u64 = pushed.layers.iter().map(|layer| size(world, layer)).sum::<Result<u64>>()?;
    ensure!(proxy.passed() < whole * 3 / 2, "{} bytes passed for an image of {whole}", proxy.passed());
    world.done(daemon);
    Ok(())
}

fn a_tag_is_added_and_removed_by_itself(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    daemon.ok(&["tag", &image, "mine:v1"])?;
    daemon.gantry(&["run", "--rm", "mine:v1", "echo", "tagged"])?.exits(0)?.prints("tagged")?;
    daemon.ok(&["rmi", "mine:v1"])?;
    daemon.gantry(&["run", "--rm", &image, "true"])?.exits(0)?;
    daemon.ok(&["rmi", &image])?;
    ensure!(daemon.ok(&["images", "-q"])?.is_empty());
    world.done(daemon);
    Ok(())
}

fn an_image_in_use_is_not_removed(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    daemon.ok(&["create", "--name", "user", &image])?;
    let said = daemon.gantry(&["rmi", &image])?;
    ensure!(said.code == 1, "{said}");
    said.complains("user")?;
    daemon.ok(&["rm", "user"])?;
    daemon.ok(&["rmi", &image])?;
    world.done(daemon);
    Ok(())
}

fn a_saved_archive_is_imported(world: &World) -> Result<()> {
    let daemon = Daemon::start()?;
    let archive = daemon.path("rootfs.tar");
    Image::new(json!({})).layer(&busybox_layer()?)?.write_archive(&archive, "imported:v1")?;
    daemon.ok(&["import", &archive.display().to_string()])?;
    daemon
        .gantry(&["run", "--rm", "imported:v1", "/bin/echo", "from a file"])?
        .exits(0)?
        .prints("from a file")?;
    world.done(daemon);
    Ok(())
}
