//! Every object of a root filesystem that the runtime touches, replaced by every kind of thing. Each container
//! is refused, or confined; the host is what it was (classes 1.1 and 1.4 of the threat table).

use crate::hostile_root::{CONFINED, EVILS, Evil, HostileRoot, OBJECTS};

fn every_replacement(bare_dev: bool) {
    let Some(root) = HostileRoot::new_or_skip(bare_dev) else { return };
    let (mut confined, mut refused) = (0, 0);
    for object in OBJECTS {
        for evil in EVILS {
            let case = format!("{evil:?} at /{object}, /dev of the image: {}", root.has_bare_dev());
            root.replace(object, evil);
            match root.run(false, CONFINED) {
                Ok(outcome) => {
                    assert_eq!(outcome.code, 0, "{case}: it runs unconfined: {outcome:?}");
                    confined += 1;
                }
                Err(_) => refused += 1,
            }
            root.assert_host_is_untouched(&case);
            root.restore(object);
        }
    }
    // Both happen, or the matrix says nothing.
    assert!(confined > 20 && refused > 20, "{confined} confined, {refused} refused");
    let honest = root.run(false, CONFINED).expect("an honest image starts");
    assert_eq!(honest.code, 0, "{honest:?}");
}

#[test]
fn a_replaced_object_is_refused_or_harmless() {
    every_replacement(false);
}

#[test]
fn a_replaced_object_is_refused_or_harmless_with_the_images_own_dev() {
    every_replacement(true);
}

#[test]
fn a_terminal_is_safe_whatever_is_at_the_console_cve_2025_52565() {
    let Some(root) = HostileRoot::new_or_skip(true) else { return };
    for evil in EVILS {
        for object in ["dev/console", "dev/pts", "dev/ptmx"] {
            root.replace(object, evil);
            if let Ok(outcome) = root.run(true, CONFINED) {
                assert_eq!(outcome.code, 0, "{evil:?} at /{object}");
            }
            root.assert_host_is_untouched(&format!("{evil:?} at /{object}"));
            root.restore(object);
        }
    }
}

#[test]
fn a_null_device_of_the_image_masks_nothing_cve_2025_31133() {
    let Some(root) = HostileRoot::new_or_skip(true) else { return };
    for evil in [Evil::AbsoluteLink, Evil::Device, Evil::File] {
        root.replace("dev/null", evil);
        if let Ok(outcome) = root.run(false, CONFINED) {
            assert_eq!(outcome.code, 0, "{evil:?}: /secret is readable");
        }
        root.restore("dev/null");
    }
}
