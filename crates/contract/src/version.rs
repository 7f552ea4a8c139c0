//! Versions of the schemas.

/// Version of the newest schemas in this crate.
pub const SCHEMA_VERSION: u32 = 3;

/// Version of the oldest outputs that can still be read.
pub(crate) const MIN_SCHEMA_VERSION: u32 = 2;

/// The version that last changed what a stage writes. The stage's manifests and fingerprints have
/// it, so that a new table of one stage does not make the outputs of all others again.
pub fn schema_version_of(stage: &str) -> u32 {
    match stage.strip_suffix("-part").unwrap_or(stage) {
        "ingest" | "resize" | "train" => 2,
        _ => SCHEMA_VERSION,
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::{MANIFEST_FILE, Manifest};
    use crate::publish::Publication;

    #[test]
    fn manifests_of_earlier_readable_versions_are_read_and_of_all_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MANIFEST_FILE);
        for stage in ["ingest", "resize", "resize-part", "train", "predict", "predict-part"] {
            let publication = Publication::begin(folder.path()).unwrap();
            let written = publication
                .commit(stage, "f", Vec::new(), serde_json::Value::Null)
                .unwrap()
                .schema_version;
            assert_eq!(written, if stage.starts_with("predict") { 3 } else { 2 }, "{stage}");
            let text = std::fs::read_to_string(&path).unwrap();
            for (version, is_read) in [(0, false), (1, false), (2, true), (3, true), (4, false)] {
                let other = text.replace(
                    &format!("\"schema_version\": {written}"),
                    &format!("\"schema_version\": {version}"),
                );
                std::fs::write(&path, other).unwrap();
                let found = Manifest::read(folder.path()).unwrap();
                let found = found.map(|manifest| manifest.schema_version);
                assert_eq!(found, is_read.then_some(version), "{stage}");
            }
        }
    }
}
