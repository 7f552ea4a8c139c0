//! The summary of a manifest, as a type.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ArtefactError, Result};
use crate::manifest::{MANIFEST_FILE, Manifest};
use crate::publish::Publication;

/// The summary of a manifest, as a type.
pub trait Summary: Serialize + DeserializeOwned {
    /// What the manifest is of, as in "not the manifest of a run".
    const OF: &'static str;
    /// The stages that write it.
    const STAGES: &'static [&'static str];

    /// The value under `summary` in a manifest.
    ///
    /// # Errors
    /// Fails where a value has no JSON form.
    fn to_json(&self, folder: &Path) -> Result<serde_json::Value> {
        serde_json::to_value(self)
            .map_err(|e| ArtefactError::corrupt(folder, format!("cannot encode the summary: {e}")))
    }
}

impl Manifest {
    /// The summary of this manifest, which lies in `folder`.
    ///
    /// # Errors
    /// [`ArtefactError::Corrupt`] where another stage wrote the manifest, or its summary lacks
    /// something; it says what to run again.
    pub fn summary_of<S: Summary>(&self, folder: &Path) -> Result<S> {
        let corrupt = |reason: String| ArtefactError::corrupt(folder.join(MANIFEST_FILE), reason);
        if !S::STAGES.contains(&self.stage.as_str()) {
            return Err(corrupt(format!(
                "not the manifest of {}: ossify-{} wrote it",
                S::OF,
                self.stage
            )));
        }
        S::deserialize(&self.summary).map_err(|e| {
            let stage = &self.stage;
            corrupt(format!(
                "not the manifest of {} ({e}); run ossify-{stage} again with --force",
                S::OF
            ))
        })
    }
}

impl Publication {
    /// As [`Publication::current`], with the summary. An output whose summary cannot be read, such
    /// as that of another version, is not the one that is asked for: the stage makes it again.
    pub fn current_summary<S: Summary>(folder: &Path, fingerprint: &str) -> Option<(Manifest, S)> {
        let manifest = Publication::current(folder, fingerprint)?;
        let summary = manifest.summary_of(folder).ok()?;
        Some((manifest, summary))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tables::TablesSummary;

    #[test]
    fn a_summary_that_lacks_something_is_refused_in_words_and_made_again_by_its_stage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let publish = |stage: &str, summary: serde_json::Value| {
            Publication::begin(path).unwrap().commit(stage, "f", Vec::new(), summary).unwrap()
        };
        let whole = TablesSummary { quarantined_share: 0.25, ..TablesSummary::default() };
        let json = whole.to_json(path).unwrap();
        let manifest = publish("ingest", json.clone());
        assert_eq!(manifest.summary_of::<TablesSummary>(path).unwrap(), whole);
        let current = Publication::current_summary::<TablesSummary>(path, "f").unwrap();
        assert_eq!(current, (manifest, whole));
        assert!(Publication::current_summary::<TablesSummary>(path, "g").is_none());

        // As a version wrote it that did not know of rare classes that are kept.
        let mut older = json;
        older["classes"].as_object_mut().unwrap().remove("rare_kept");
        let manifest = publish("ingest", older.clone());
        let error = manifest.summary_of::<TablesSummary>(path).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "not the manifest of label tables (missing field `rare_kept`); \
                 run ossify-ingest again with --force"
            ),
            "{error}"
        );
        assert!(Publication::current_summary::<TablesSummary>(path, "f").is_none());
        let error = publish("train", older).summary_of::<TablesSummary>(path).unwrap_err();
        assert!(error.to_string().ends_with("label tables: ossify-train wrote it"), "{error}");
    }
}
