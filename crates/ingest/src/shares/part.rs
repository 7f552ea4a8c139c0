//! The part that a worker makes of its share of a dataset: the records of each split, in the form
//! in which they go to the tables.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ossify_contract::{
    ArtefactError, FileEntry, HashingReader, PartFile, PartFolder, PartPayload, Split, open,
};
use serde::{Deserialize, Serialize};

use crate::find::listing::Listing;
use crate::find::listing::census::Census;
use crate::read::record::Record;

pub(crate) const STAGE: &str = "ingest";
const EXTENSION: &str = "msgpack.zst";
const COMPRESSION_LEVEL: i32 = 3;
/// 2^17 bytes: the memory that a merge needs for each file.
const WINDOW_LOG: u32 = 17;

/// The splits of a part. Parts belong together if everything except the images and labels is the
/// same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartSplits {
    pub splits: Vec<SplitSummary>,
}

impl PartPayload for PartSplits {
    const STAGE: &'static str = STAGE;
    const MADE_WITH: &'static str = "configuration, data.yaml or list of images";
}

/// A split of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SplitSummary {
    pub split: Split,
    pub census: Census,
    /// Files of the census that are in the share.
    pub own_files: u64,
    pub images: u64,
    pub label_files: u64,
    /// Files that are neither images nor labels, in all shares.
    pub ignored_files: u64,
    /// Links that were not followed, in all shares.
    pub refused_links: u64,
    pub label_folders: Vec<String>,
}

impl PartSplits {
    pub fn new(listings: &[Listing]) -> Self {
        let split = |listing: &Listing| SplitSummary {
            split: listing.split(),
            census: listing.census(),
            own_files: listing.own_files(),
            images: listing.images().len() as u64,
            label_files: listing.labels().len() as u64,
            ignored_files: listing.ignored(),
            refused_links: listing.refused_links(),
            label_folders: listing.label_folders().to_vec(),
        };
        PartSplits { splits: listings.iter().map(split).collect() }
    }
}

/// Writes the records of one split.
pub(crate) struct RecordWriter {
    folder: PathBuf,
    file: BufWriter<zstd::Encoder<'static, BufWriter<PartFile>>>,
    records: u64,
}

impl RecordWriter {
    pub fn begin(folder: &PartFolder, path: PathBuf) -> Result<Self> {
        let failed = || format!("cannot write {}", path.display());
        let mut file = zstd::Encoder::new(BufWriter::new(folder.begin()?), COMPRESSION_LEVEL)
            .with_context(failed)?;
        file.window_log(WINDOW_LOG).with_context(failed)?;
        Ok(RecordWriter { folder: path, file: BufWriter::new(file), records: 0 })
    }

    pub fn write(&mut self, record: &Record) -> Result<()> {
        self.records += 1;
        rmp_serde::encode::write(&mut self.file, record)
            .with_context(|| format!("cannot write to {}", self.folder.display()))
    }

    pub fn finish(self, split: Split) -> Result<FileEntry> {
        let failed = || format!("cannot write to {}", self.folder.display());
        let file = self
            .file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .with_context(failed)?;
        let file = file.finish().with_context(failed)?;
        let file =
            file.into_inner().map_err(std::io::IntoInnerError::into_error).with_context(failed)?;
        Ok(file.finish(split.as_str(), EXTENSION, self.records)?)
    }
}

/// Reads the records of one split.
pub(crate) struct RecordReader {
    folder: PathBuf,
    entry: FileEntry,
    /// The outer buffer is for the many small reads of records.
    file: BufReader<zstd::Decoder<'static, BufReader<HashingReader<File>>>>,
    left: u64,
}

impl RecordReader {
    pub fn open(folder: &Path, entry: &FileEntry) -> Result<Self, ArtefactError> {
        let path = folder.join(&entry.path);
        let file = open(&path)?;
        let file = zstd::Decoder::new(HashingReader::new(file))
            .map_err(ArtefactError::io("cannot read", &path))?;
        Ok(RecordReader {
            folder: folder.to_path_buf(),
            entry: entry.clone(),
            file: BufReader::new(file),
            left: entry.rows.unwrap_or(0),
        })
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.entry.path)
    }

    /// The next record; `None` after the last.
    pub fn next(&mut self) -> Result<Option<Record>, ArtefactError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        rmp_serde::decode::from_read(&mut self.file).map(Some).map_err(|e| {
            ArtefactError::corrupt(
                self.path(),
                format!(
                    "not a record of this version ({e}); run this partition again with --force"
                ),
            )
        })
    }

    /// Checks that the file matches its manifest. Only then may the records be used.
    pub fn verify(self) -> Result<(), ArtefactError> {
        self.file.into_inner().finish().into_inner().verify(&self.folder, &self.entry)
    }
}
