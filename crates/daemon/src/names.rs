//! Names for containers whose creators gave none: an adjective and a noun of the harbour, with digits of the
//! id when somebody has that name already.

use gantry_types::{ContainerId, ContainerName};

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

/// An adjective and a noun for the container `id`, which is random and so decides them.
pub(crate) fn words(id: &ContainerId) -> ContainerName {
    name(&pair(id))
}

/// The same with digits of the id, which nobody else has.
pub(crate) fn with_digits(id: &ContainerId) -> ContainerName {
    name(&format!("{}_{}", pair(id), id.short()))
}

fn pair(id: &ContainerId) -> String {
    let digits: Vec<usize> =
        id.as_str().bytes().map(|digit| char::from(digit).to_digit(16).map_or(0, |d| d as usize)).collect();
    format!("{}_{}", ADJECTIVES[digits[0] * 2 + digits[1] % 2], NOUNS[digits[2] * 2 + digits[3] % 2])
}

fn name(text: &str) -> ContainerName {
    text.parse().expect("words, digits and underscores are a name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_decides_the_name() {
        let id = ContainerId::from_random(&[0xff; 32]);
        assert_eq!(words(&id).as_str(), "trim_winch");
        assert_eq!(with_digits(&id).as_str(), "trim_winch_ffffffffffff");
    }
}
