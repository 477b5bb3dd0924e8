//! Which entry of an index serves a platform.

use gantry_types::Platform;

use super::{Index, IndexEntry, ManifestError};

/// The entry that serves `wanted` best; among equals the first, as the spec says.
pub fn choose<'index>(index: &'index Index, wanted: &Platform) -> Result<&'index IndexEntry, ManifestError> {
    let is_image = |entry: &&IndexEntry| {
        entry.descriptor.media_type.is_manifest() || entry.descriptor.media_type.is_index()
    };
    let mut best: Option<(u32, &IndexEntry)> = None;
    for entry in index.entries.iter().filter(is_image) {
        // An entry without a platform is taken only when nothing says that it fits.
        let score = match &entry.platform {
            Some(offered) => wanted.preference(offered).map(|preference| preference + 1),
            None => Some(0),
        };
        if let Some(score) = score
            && best.is_none_or(|(best_score, _)| score > best_score)
        {
            best = Some((score, entry));
        }
    }
    best.map(|(_, entry)| entry).ok_or_else(|| {
        let mut offered: Vec<String> = Vec::new();
        for platform in index.entries.iter().filter_map(|entry| entry.platform.as_ref()) {
            // Attestations are listed as unknown/unknown.
            let text: String = platform.to_string().chars().take(64).collect();
            if platform.os != "unknown" && !offered.contains(&text) && offered.len() < 32 {
                offered.push(text);
            }
        }
        ManifestError::Platform { wanted: wanted.clone(), offered }
    })
}

#[cfg(test)]
mod tests {
    use super::super::Document;
    use super::*;

    fn index(platforms: &[(&str, &str)]) -> Index {
        let entries: Vec<String> = platforms
            .iter()
            .map(|(platform, digit)| {
                let digest = digit.repeat(64);
                format!(
                    r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{digest}",
                    "size":1,"platform":{platform}}}"#
                )
            })
            .collect();
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        match Document::parse(text.as_bytes(), None).expect("parses") {
            Document::Index(index) => index,
            Document::Manifest(_) => panic!("an index was written"),
        }
    }

    #[test]
    fn the_closest_variant_wins_and_attestations_never_do() {
        let index = index(&[
            (r#"{"os":"unknown","architecture":"unknown"}"#, "0"),
            (r#"{"os":"linux","architecture":"arm","variant":"v6"}"#, "1"),
            (r#"{"os":"linux","architecture":"arm","variant":"v7"}"#, "2"),
            (r#"{"os":"linux","architecture":"amd64"}"#, "3"),
        ]);
        let pick = |text: &str| {
            choose(&index, &text.parse().expect("a platform")).map(|e| e.descriptor.digest.short())
        };
        assert_eq!(pick("linux/arm/v7").expect("found"), "222222222222");
        assert_eq!(pick("linux/amd64").expect("found"), "333333333333");
        let error = pick("linux/s390x").expect_err("not there").to_string();
        assert!(error.contains("linux/arm/v6") && !error.contains("unknown"), "{error}");
    }
}
