//! What a stage reads of the outputs of earlier stages.

use std::path::{Path, PathBuf};

use crate::error::{ArtefactError, Result};
use crate::manifest::{FileEntry, Fingerprint, Manifest};

/// The files of an output folder that a stage reads. They alone decide what the stage makes, so
/// that a change of any other file reruns nothing.
#[derive(Clone, Debug)]
pub struct Inputs {
    folder: PathBuf,
    files: Vec<FileEntry>,
}

impl Inputs {
    /// These files of an output, by their names. They are there with their sizes, and not read.
    ///
    /// # Errors
    /// [`ArtefactError::Corrupt`] where the manifest does not list one of them, or it is not there.
    pub fn declare<N: AsRef<str>>(
        folder: impl Into<PathBuf>,
        manifest: &Manifest,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Self> {
        let folder = folder.into();
        let entry = |name: N| {
            let name = name.as_ref();
            manifest.file(name).cloned().ok_or_else(|| {
                let reason = format!(
                    "its manifest lists no {name}; {}",
                    manifest.how_to_make_again(&folder)
                );
                ArtefactError::corrupt(&folder, reason)
            })
        };
        let files = names.into_iter().map(entry).collect::<Result<Vec<_>>>()?;
        manifest.require_files(&folder, &files)?;
        Ok(Inputs { folder, files })
    }

    /// These files of a folder.
    pub fn of(folder: impl Into<PathBuf>, files: Vec<FileEntry>) -> Self {
        Inputs { folder: folder.into(), files }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files, as the manifest had them.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// Hash of the files' names and contents, whenever and however they were made: 32 hexadecimal
    /// digits.
    pub fn hash(&self) -> String {
        let mut fingerprint = Fingerprint::new("content");
        for file in &self.files {
            fingerprint.add(&file.path).add(&file.xxh3);
        }
        fingerprint.finish()
    }

    /// Checks size and hash of each file.
    ///
    /// # Errors
    /// [`ArtefactError::Corrupt`] where a file is not what the manifest said when it was declared.
    pub fn verify(&self) -> Result<()> {
        self.files.iter().try_for_each(|file| file.verify(&self.folder))
    }

    /// Whether the folder now holds other files under these names, or no output at all.
    ///
    /// # Errors
    /// Fails where the manifest cannot be read.
    pub fn have_changed(&self) -> Result<bool> {
        if self.files.is_empty() {
            return Ok(false);
        }
        let Some(manifest) = Manifest::read(&self.folder)? else { return Ok(true) };
        let is_same =
            |file: &FileEntry| manifest.file(&file.path).is_some_and(|now| now.xxh3 == file.xxh3);
        Ok(!self.files.iter().all(is_same))
    }
}

fn any_changed(inputs: &[Inputs]) -> Result<bool> {
    for input in inputs {
        if input.have_changed()? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Begins an output whose name and fingerprint follow from its inputs: reads the inputs, has
/// `begin` lock the output, and looks at the inputs again. Where they were published anew
/// meanwhile, all starts over from the new ones: or the output would be called after the old ones
/// and be made of the new ones.
///
/// # Errors
/// Those of `read`, `begin`, and of reading manifests.
pub fn begin_unchanged<S, B, E: From<ArtefactError>>(
    mut read: impl FnMut() -> Result<S, E>,
    inputs: impl Fn(&S) -> &[Inputs],
    mut begin: impl FnMut(&S) -> Result<B, E>,
) -> Result<(S, B), E> {
    loop {
        let state = read()?;
        let begun = begin(&state)?;
        if !any_changed(inputs(&state))? {
            return Ok((state, begun));
        }
    }
}

/// Refuses to go on where inputs were published anew while a stage read them.
///
/// # Errors
/// [`ArtefactError::Corrupt`] with the folder and what to do.
pub fn refuse_changed(inputs: &[Inputs]) -> Result<()> {
    for input in inputs {
        if input.have_changed()? {
            let reason = "published anew while this stage was reading it; run this stage again";
            return Err(ArtefactError::corrupt(&input.folder, reason));
        }
    }
    Ok(())
}

/// What `read` gives, which reads these inputs; where they were published anew meanwhile, that is
/// the error, whatever `read` came upon.
///
/// # Errors
/// Those of [`refuse_changed`] and of `read`.
pub fn read_unchanged<T, E: From<ArtefactError>>(
    inputs: &[Inputs],
    read: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let result = read();
    refuse_changed(inputs)?;
    result
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::publish::Publication;

    fn publish(folder: &Path, files: &[(&str, &str)]) -> Manifest {
        let publication = Publication::begin(folder).unwrap();
        let describe = |(name, content): &(&str, &str)| {
            publication.write(name, content.as_bytes()).unwrap();
            publication.describe(name, None).unwrap()
        };
        let entries = files.iter().map(describe).collect();
        publication.commit("resize", "f", entries, serde_json::Value::Null).unwrap()
    }

    fn read(folder: &Path) -> Result<Vec<Inputs>> {
        Ok(vec![Inputs::declare(folder, &Manifest::require(folder, "")?, ["a"])?])
    }

    #[test]
    fn files_that_are_not_declared_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), &[("a", "1"), ("page.html", "1")]);
        let inputs = read(folder.path()).unwrap();
        publish(folder.path(), &[("a", "1"), ("page.html", "2"), ("leaks", "")]);
        assert!(!inputs[0].have_changed().unwrap());
        assert_eq!(read(folder.path()).unwrap()[0].hash(), inputs[0].hash());
        publish(folder.path(), &[("a", "2"), ("page.html", "2")]);
        assert!(inputs[0].have_changed().unwrap());
        assert_ne!(read(folder.path()).unwrap()[0].hash(), inputs[0].hash());
        assert!(inputs[0].verify().is_err() && refuse_changed(&inputs).is_err());
        publish(folder.path(), &[("page.html", "2")]);
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("lists no a; run ossify-resize again with --force"), "{error}");
    }

    #[test]
    fn a_read_of_inputs_that_are_published_anew_meanwhile_says_so_however_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), &[("a", "1")]);
        let inputs = read(folder.path()).unwrap();
        read_unchanged(&inputs, || inputs[0].verify()).unwrap();
        for content in ["2", "3"] {
            let inputs = read(folder.path()).unwrap();
            let result = read_unchanged(&inputs, || {
                publish(folder.path(), &[("a", content)]);
                if content == "2" { Ok(()) } else { inputs[0].verify() }
            });
            let error = result.unwrap_err().to_string();
            assert!(error.contains("published anew while this stage was reading it"), "{error}");
        }
        let inputs = read(folder.path()).unwrap();
        std::fs::write(folder.path().join("a"), "4").unwrap();
        let error = read_unchanged(&inputs, || inputs[0].verify()).unwrap_err().to_string();
        assert!(error.contains("not the bytes that manifest.json says"), "{error}");
    }

    #[test]
    fn only_files_that_are_declared_have_to_be_there() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), &[("a", "1"), ("page.html", "1")]);
        std::fs::remove_file(folder.path().join("page.html")).unwrap();
        read(folder.path()).unwrap()[0].verify().unwrap();
        assert!(Manifest::require_whole(folder.path(), "").is_err());
        for change in [|path| std::fs::write(path, "longer"), |path| std::fs::remove_file(path)] {
            change(folder.path().join("a")).unwrap();
            let error = read(folder.path()).unwrap_err().to_string();
            assert!(
                error.ends_with(
                    "a: missing, or not of the size that manifest.json says; \
                     run ossify-resize again with --force"
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn inputs_that_are_published_before_the_lock_is_taken_start_the_stage_over() {
        let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        publish(folder.path(), &[("a", "old")]);
        let attempts = Cell::new(0);
        let begin = |inputs: &Vec<Inputs>| {
            attempts.set(attempts.get() + 1);
            let publication = Publication::begin(out.path().join(inputs[0].hash()))?;
            if attempts.get() == 1 {
                publish(folder.path(), &[("a", "new")]);
            }
            Ok::<_, ArtefactError>(publication)
        };
        let begun = begin_unchanged(|| read(folder.path()), |inputs| inputs.as_slice(), begin);
        let (inputs, publication) = begun.unwrap();
        assert_eq!(attempts.get(), 2);
        assert_eq!(inputs[0].hash(), read(folder.path()).unwrap()[0].hash());
        assert!(publication.folder().ends_with(inputs[0].hash()));
        inputs[0].verify().unwrap();
    }
}
