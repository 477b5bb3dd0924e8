//! Names for containers whose creators gave none: an adjective and a noun of the harbour, with a number
//! when both are taken.

use gantry_store::Store;
use gantry_types::{ContainerId, ContainerName, Namespace};

use crate::tables::CONTAINER_NAMES;

const ADJECTIVES: [&str; 32] = [
    "amber", "brisk", "calm", "clear", "copper", "coral", "daring", "eager", "fair", "gentle", "golden",
    "hardy", "keen", "lively", "lucid", "mellow", "merry", "nimble", "noble", "patient", "plucky", "quiet",
    "rapid", "ready", "silver", "sober", "steady", "sturdy", "sunny", "swift", "tidy", "trim",
];
const NOUNS: [&str; 32] = [
    "anchor", "barge", "beacon", "bollard", "boom", "bow", "buoy", "cable", "capstan", "cargo", "chart",
    "cleat", "crane", "davit", "derrick", "dock", "fender", "ferry", "galley", "harbour", "hawser", "helm",
    "hoist", "hull", "jetty", "keel", "lantern", "mast", "pier", "quay", "rudder", "winch",
];

/// A free name for the container `id`, which is random and so decides the words.
pub(crate) fn generate(store: &Store, namespace: &Namespace, id: &ContainerId) -> ContainerName {
    let digits: Vec<usize> =
        id.as_str().bytes().map(|digit| char::from(digit).to_digit(16).map_or(0, |d| d as usize)).collect();
    let words =
        format!("{}_{}", ADJECTIVES[digits[0] * 2 + digits[1] % 2], NOUNS[digits[2] * 2 + digits[3] % 2]);
    let is_free =
        |name: &ContainerName| store.get(&CONTAINER_NAMES, &(namespace.clone(), name.clone())).is_none();
    let parse = |text: &str| text.parse::<ContainerName>().expect("words, digits and underscores are a name");
    let plain = parse(&words);
    if is_free(&plain) {
        return plain;
    }
    // Twelve random digits are taken by nobody; the transaction that takes the name checks again.
    parse(&format!("{words}_{}", id.short()))
}
