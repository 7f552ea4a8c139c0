use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ossify_contract::{Fingerprint, WorkFolder};
use ossify_storage::{Mirror, Moved, Requests, Trust, check_local, check_url, is_url};

use crate::args::StageArgs;
use crate::environment::PREFIX;
use crate::error::ConfigError;
use crate::layers::Layers;
use crate::reporter::{Reporter, Verbosity};
use crate::schema::Effect;
use crate::sections::Settings;

/// What a stage is given.
#[derive(Clone, Debug)]
pub struct Context {
    /// The resolved configuration.
    pub settings: Settings,
    /// Folder of the dataset, or its URL.
    pub dataset: PathBuf,
    /// The dataset as it was named: its folder, or the YAML file that describes it.
    pub named_dataset: PathBuf,
    /// The work folder; of one in an object store, its mirror on this machine.
    pub out: WorkFolder,
    /// Whether to run although the output is there.
    pub force: bool,
    /// Whether every error in the data is a gate that was not met.
    pub strict: bool,
    /// Where to say things.
    pub reporter: Reporter,
    mirror: Option<Arc<Mirror>>,
    layers: Layers,
}

impl Context {
    /// The context that these arguments and the environment give.
    ///
    /// # Errors
    /// Fails where the configuration does not fit.
    pub fn resolve(args: &StageArgs) -> Result<Self, ConfigError> {
        let mut layers = Layers::defaults();
        if let Some(config) = &args.config {
            layers.add_file(config)?;
        }
        layers.add_environment(variables(std::env::vars_os())?.into_iter())?;
        for assignment in &args.set {
            layers.add_set(assignment)?;
        }
        let settings = layers.resolve()?;
        let out = args.work_folder()?;
        let verbosity = match (args.quiet, args.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        };
        let reporter = Reporter::new(verbosity);
        let storage = &settings.storage;
        ossify_storage::configure(Requests {
            in_flight: storage.requests,
            retries: storage.retries,
            timeout: Duration::from_secs(storage.timeout_s),
        });
        let named_dataset =
            args.dataset.clone().unwrap_or_else(|| PathBuf::from(&settings.dataset.path));
        let is_known = |path: &Path| if is_url(path) { check_url(path) } else { check_local(path) };
        is_known(&named_dataset)
            .map_err(|source| ConfigError::Dataset { path: named_dataset.clone(), source })?;
        check_local(&out)
            .map_err(|source| ConfigError::WorkFolder { path: out.clone(), source })?;
        let dataset = folder_of(&named_dataset);
        check_apart(&out, &dataset)?;
        let mirror = is_url(&out)
            .then(|| Mirror::open(&out, Path::new(&storage.cache), (storage.cache_gb * 1e9) as u64))
            .transpose();
        let mirror =
            mirror.map_err(|source| ConfigError::WorkFolder { path: out.clone(), source })?;
        let out =
            WorkFolder::new(mirror.as_ref().map_or(out, |mirror| mirror.root().to_path_buf()));
        Ok(Context {
            settings,
            dataset,
            named_dataset,
            out,
            force: args.force,
            strict: args.strict,
            reporter,
            mirror,
            layers,
        })
    }

    /// Brings folders of the work folder up to date, where that lies in an object store.
    ///
    /// # Errors
    /// Fails where the store does not answer.
    pub fn pull(&self, folders: &[String]) -> anyhow::Result<()> {
        let Some(mirror) = &self.mirror else { return Ok(()) };
        let moved = mirror
            .pull(folders, |damage| self.reporter.warn(damage))
            .with_context(|| format!("cannot read the work folder {}", mirror.url().display()))?;
        self.tell_moved("fetched from", mirror, moved);
        Ok(())
    }

    /// Sends what was published in these folders, where the work folder lies in an object store.
    /// With `--force`, objects that are there already are read before they count as sent.
    ///
    /// # Errors
    /// Fails where the store does not answer, and where another process published one of these
    /// folders meanwhile. What was made stays in the mirror: a second run sends it.
    pub fn push(&self, folders: &[String]) -> anyhow::Result<()> {
        let Some(mirror) = &self.mirror else { return Ok(()) };
        let trust = if self.force { Trust::Content } else { Trust::Size };
        let moved = mirror.push(folders, trust).with_context(|| {
            format!("cannot write to the work folder {}", mirror.url().display())
        })?;
        self.tell_moved("sent to", mirror, moved);
        Ok(())
    }

    fn tell_moved(&self, way: &str, mirror: &Mirror, moved: Moved) {
        if moved.files > 0 {
            self.reporter.detail(format_args!(
                "{} files, {:.1} MB, {way} {}",
                moved.files,
                moved.bytes as f64 / 1e6,
                mirror.url().display()
            ));
        }
    }

    /// The work folder as it was named.
    pub fn out_name(&self) -> std::path::Display<'_> {
        self.mirror.as_ref().map_or(self.out.root(), |mirror| mirror.url()).display()
    }

    /// Threads that read the dataset: where each waits for an object store most of the time, as
    /// many as requests may be in flight.
    pub fn reading_threads(&self) -> usize {
        if is_url(&self.dataset) {
            self.threads().max(self.settings.storage.requests)
        } else {
            self.threads()
        }
    }

    /// Threads to use: as configured, or one a processor.
    pub fn threads(&self) -> usize {
        match self.settings.general.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }

    /// Seed of everything random.
    pub fn seed(&self) -> u64 {
        self.settings.general.seed
    }

    /// The beginning of a stage's fingerprint: its name, the program's version, and the resolved
    /// values of these sections that decide the output. The stage adds its inputs.
    pub fn fingerprint(&self, stage: &str, sections: &[&str]) -> Fingerprint {
        self.fingerprint_of(stage, sections, &[Effect::Output, Effect::Length])
    }

    /// As [`Context::fingerprint`], of the keys with these effects alone.
    pub fn fingerprint_of(
        &self,
        stage: &str,
        sections: &[&str],
        effects: &[Effect],
    ) -> Fingerprint {
        let mut fingerprint = Fingerprint::new(stage);
        let schema_version = ossify_contract::schema_version_of(stage);
        fingerprint.add(env!("CARGO_PKG_VERSION")).add(schema_version.to_string());
        for section in sections {
            fingerprint.add(section).add(self.layers.canonical(section, effects));
        }
        fingerprint
    }

    /// The resolved configuration as a conf file with the origin of each value.
    pub fn print_config(&self) -> String {
        self.layers.print()
    }
}

/// The environment's variables for keys, as text.
fn variables(
    all: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    all.filter(|(name, _)| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
        .map(|(name, value)| {
            let not_utf8 =
                |name: &OsString| ConfigError::NotUtf8(name.to_string_lossy().into_owned());
            let name = name.into_string().map_err(|name| not_utf8(&name))?;
            let value = value.into_string().map_err(|_| not_utf8(&OsString::from(&name)))?;
            Ok((name, value))
        })
        .collect()
}

/// The folder of a dataset, which may be named by the YAML file in it.
fn folder_of(named: &Path) -> PathBuf {
    let extension = named.extension().and_then(|extension| extension.to_str());
    // A store is asked for a folder first: not all answer for a folder as if it were an object.
    if !matches!(extension, Some("yaml" | "yml"))
        || ossify_storage::is_dir(named).unwrap_or(false)
        || !ossify_storage::is_file(named).unwrap_or(false)
    {
        return named.to_path_buf();
    }
    match named.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Folders of a dataset that hold images and labels, or may.
const DATASET_FOLDERS: [&str; 10] = [
    "train",
    "training",
    "valid",
    "val",
    "validation",
    "test",
    "testing",
    "images",
    "labels",
    "annotations",
];
/// Folders of a work folder.
const WORK_FOLDERS: [&str; 7] =
    ["tables", "shards", "features", "runs", "predictions", "reports", "parts"];

/// Refuses a work folder whose files would lie among those of the dataset.
fn check_apart(out: &Path, dataset: &Path) -> Result<(), ConfigError> {
    let (real_out, real_dataset) = (resolved(out), resolved(dataset));
    let is_one_of = |inner: &Path, names: &[&str]| {
        let first = inner.components().next();
        first
            .and_then(|first| first.as_os_str().to_str())
            .is_some_and(|first| names.contains(&first))
    };
    let relation = if real_out == real_dataset {
        "is"
    } else if real_out
        .strip_prefix(&real_dataset)
        .is_ok_and(|inner| is_one_of(inner, &DATASET_FOLDERS))
    {
        "lies among the images and labels of"
    } else if real_dataset
        .strip_prefix(&real_out)
        .is_ok_and(|inner| is_one_of(inner, &WORK_FOLDERS))
    {
        "would write its output around"
    } else {
        return Ok(());
    };
    let (out, dataset) = (out.to_path_buf(), dataset.to_path_buf());
    Err(ConfigError::OutInDataset { out, relation, dataset })
}

/// The path without links and dots, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    if is_url(path) {
        return ossify_storage::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    for existing in absolute.ancestors() {
        if let (Ok(real), Ok(rest)) = (existing.canonicalize(), absolute.strip_prefix(existing)) {
            return real.join(rest);
        }
    }
    absolute
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn a_variable_that_is_not_utf8_is_refused_and_others_are_no_concern() {
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let read = |name: &[u8], value: &[u8]| {
            variables([(text(name), text(value))].into_iter()).map_err(|e| e.to_string())
        };
        assert_eq!(read(b"LESSOPEN\xff", b"\xff"), Ok(Vec::new()));
        assert_eq!(read(b"OSSIFY__A__B", b"1"), Ok(vec![("OSSIFY__A__B".into(), "1".into())]));
        for (name, value) in [(&b"OSSIFY__A__B"[..], &b"\xff"[..]), (b"OSSIFY__A__\xff", b"1")] {
            assert!(read(name, value).unwrap_err().contains("not UTF-8"));
        }
    }

    #[test]
    fn a_work_folder_among_the_files_of_the_dataset_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = folder.path().join("data");
        std::fs::create_dir_all(dataset.join("train/images")).unwrap();
        std::os::unix::fs::symlink(&dataset, folder.path().join("link")).unwrap();
        let check = |out: &Path, dataset: &Path| {
            check_apart(out, dataset).map_err(|error| error.to_string())
        };
        for out in ["data", "data/", "link", "data/../data", "data/train", "link/labels/x"] {
            let error = check(&folder.path().join(out), &dataset).unwrap_err();
            assert!(error.contains("name another folder with --out"), "{out}: {error}");
        }
        for out in ["work", "data/work", "data-2", "data/trains", "."] {
            assert_eq!(check(&folder.path().join(out), &dataset), Ok(()), "{out}");
        }
        let error = check(folder.path(), &folder.path().join("tables/data")).unwrap_err();
        assert!(error.contains("would write its output around"), "{error}");
        let url = |url: &str| PathBuf::from(url);
        assert!(check(&url("s3://bucket/data/"), &url("s3://bucket/data")).is_err());
        assert!(check(&url("s3://bucket/data/images"), &url("s3://bucket/data")).is_err());
        assert_eq!(check(&url("s3://bucket/work"), &url("s3://bucket/data")), Ok(()));
        assert_eq!(check(&url("s3://other/data"), &url("s3://bucket/data")), Ok(()));
    }

    #[test]
    fn a_dataset_may_be_named_by_its_description() {
        let folder = tempfile::tempdir().unwrap();
        let yaml = folder.path().join("data.yaml");
        assert_eq!(folder_of(&yaml), yaml);
        std::fs::write(&yaml, "").unwrap();
        assert_eq!(folder_of(&yaml), folder.path());
        let folder_like_a_file = folder.path().join("folder.yml");
        std::fs::create_dir(&folder_like_a_file).unwrap();
        assert_eq!(folder_of(&folder_like_a_file), folder_like_a_file);
    }
}
