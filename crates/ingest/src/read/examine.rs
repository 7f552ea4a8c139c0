//! Turns an image and its label file into rows.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use ossify_contract::{ImageRow, ImageStatus, label_path};
use ossify_diagnostics::{Action, Finding, Location};
use ossify_imaging::{HeaderError, ImageHeader, probe_with_stat};
use ossify_settings::MissingLabels;
use ossify_storage::{Stat, is_outage, is_url};

use super::label::{LabelFile, count_label_lines, parse_labels};
use super::label_rules::LabelRules;
use super::record::{Examined, Stray, StrayKind};
use crate::find::layout::Layout;
use crate::find::listing::Listing;
use crate::find::paths::source_stem;
use crate::find::stamp::stamp_of;
use crate::rules::Rule;
use crate::wording::count;

/// Maximum size of a label file; one with a million objects is far smaller.
const MAX_LABEL_BYTES: u64 = 64 << 20;

/// Examines the images of a dataset.
pub(crate) struct Examiner<'a> {
    pub layout: &'a Layout,
    pub rules: LabelRules,
    pub min_side_px: u32,
    pub missing_labels: MissingLabels,
}

impl Examiner<'_> {
    /// Examines the image at this index of the listing.
    ///
    /// # Errors
    /// Fails if the label file cannot be read, because its lines could not be accounted for.
    pub fn image(&self, listing: &Listing, at: usize) -> anyhow::Result<Examined> {
        let path = listing.images().get(at);
        let mut findings = Vec::new();
        let is_refused = listing.is_refused(path);
        let (stat, header) =
            if is_refused { (None, None) } else { self.header(listing, path, &mut findings)? };
        let mut labels = LabelFile::default();
        let (status, has_label, label_stat) =
            self.labels(listing, at, &mut labels, &mut findings)?;
        let look = |path: &str, stat: Option<Stat>| {
            stat.map_or_else(|| ossify_storage::stat(&self.layout.locate(path)), Ok)
        };
        let stamp = stamp_of(
            (path, look(path, stat)),
            listing.label_path_of(at).map(|path| (path, look(path, label_stat))),
        );
        let is_small = |header: &ImageHeader| {
            header.width.min(header.height) < self.min_side_px
                && self.rules.book.drops(Rule::ImageTooSmall)
        };
        let usable = header.is_some_and(|header| header.complete && !is_small(&header));
        let format = header.map_or("unknown", |header| header.format.as_str());
        let label = listing.label_path_of(at).map(str::to_owned);
        let narrow = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        findings.append(&mut labels.findings);
        let image = ImageRow {
            image_id: path.to_owned(),
            split: listing.split(),
            label_path: label.filter(|_| has_label),
            width: header.map_or(0, |header| narrow(header.width)),
            height: header.map_or(0, |header| narrow(header.height)),
            channels: header.map_or(0, |header| header.channels),
            format: format.to_owned(),
            bytes: header.map_or_else(
                || self.file_size(path, is_refused),
                |header| i64::try_from(header.bytes).unwrap_or(i64::MAX),
            ),
            exif_orientation: header.map_or(1, |header| header.exif_orientation),
            source_stem: source_stem(path).to_owned(),
            status: if usable { status } else { ImageStatus::Unreadable },
            object_count: i32::try_from(labels.objects.len()).unwrap_or(i32::MAX),
            issue_count: i32::try_from(findings.len() + usize::from(is_refused))
                .unwrap_or(i32::MAX),
        };
        Ok(Examined {
            image,
            objects: labels.objects,
            findings,
            lines: labels.lines,
            quarantined: labels.quarantined,
            stamp,
        })
    }

    fn finding(
        &self,
        rule: Rule,
        location: Location,
        message: impl Into<String>,
        help: &str,
    ) -> Option<Finding> {
        self.rules.book.finding(rule, location, message).map(|finding| finding.with_help(help))
    }

    fn file_size(&self, path: &str, is_refused: bool) -> i64 {
        if is_refused {
            return 0;
        }
        ossify_storage::stat(&self.layout.locate(path))
            .map_or(0, |stat| i64::try_from(stat.bytes()).unwrap_or(i64::MAX))
    }

    /// The metadata of the image's file, and its header; adds a finding if the image cannot be
    /// used.
    ///
    /// # Errors
    /// Fails if an object store does not answer, because that says nothing about the image.
    fn header(
        &self,
        listing: &Listing,
        path: &str,
        findings: &mut Vec<Finding>,
    ) -> anyhow::Result<(Option<Stat>, Option<ImageHeader>)> {
        let mut unreadable = |message: String, help: &str| {
            findings.extend(self.finding(
                Rule::ImageUnreadable,
                Location::file(path),
                message,
                help,
            ));
        };
        if listing.is_escaped(path) {
            unreadable("the file's name is not UTF-8".into(), "rename the file and its label file");
            return Ok((None, None));
        }
        let (stat, header) = probe_with_stat(self.layout.locate(path));
        let header = match header {
            Err(HeaderError::Io(e)) if is_outage(&e) => {
                return Err(e).context("cannot read an image");
            }
            Ok(header) => {
                let side = header.width.min(header.height);
                if !header.complete {
                    let message = format!(
                        "the {} file was cut short: its {} bytes lack the end",
                        header.format, header.bytes
                    );
                    unreadable(message, "copy or download the image again");
                } else if side < self.min_side_px {
                    let message = format!(
                        "{}x{} pixels; ingest.min_side_px is {}",
                        header.width, header.height, self.min_side_px
                    );
                    let found = self.finding(
                        Rule::ImageTooSmall,
                        Location::file(path),
                        message,
                        "restore the original, or lower ingest.min_side_px",
                    );
                    // An image that is left out of training stays in the tables, with its objects.
                    findings
                        .extend(found.map(|finding| Finding { action: Action::Kept, ..finding }));
                }
                Some(header)
            }
            Err(error) => {
                let help = match &error {
                    HeaderError::Unsupported { .. } | HeaderError::UnknownFormat(_) => {
                        "convert the image to PNG or JPEG"
                    }
                    HeaderError::Io(_) => "check the file's permissions, or where its link leads",
                    _ => "copy or export the image again",
                };
                unreadable(error.to_string(), help);
                None
            }
        };
        Ok((stat, header))
    }

    /// Reads the image's labels. Returns the image's status, whether it has a label file, and that
    /// file's metadata if it was read.
    fn labels(
        &self,
        listing: &Listing,
        at: usize,
        labels: &mut LabelFile,
        findings: &mut Vec<Finding>,
    ) -> anyhow::Result<(ImageStatus, bool, Option<Stat>)> {
        let image = listing.images().get(at);
        let expected = label_path(image);
        if listing.collides(at) {
            let message =
                "another image has the same name but for the extension, and so the same label file";
            let found = self.finding(
                Rule::StemCollision,
                Location::file(image),
                message,
                "rename one of the images and give each its own label file",
            );
            findings.extend(found.map(|finding| {
                finding.with_note(format!("lines of {expected} are quarantined, if it is there"))
            }));
            return Ok((ImageStatus::Unlabelled, listing.label_of(at).is_some(), None));
        }
        let Some(label) = listing.label_of(at) else {
            if listing.is_refused(&expected) {
                return Ok((ImageStatus::Unlabelled, false, None));
            }
            return Ok((self.without_labels(image, &expected, findings), false, None));
        };
        let path = listing.labels().get(label as usize);
        let stat = read_label(&self.layout.locate(path), |bytes| {
            *labels = parse_labels(path, bytes, &self.rules)
        })?;
        // If every line was quarantined, somebody drew an object that we lost, so the image is not
        // background.
        let status = match (labels.objects.is_empty(), labels.lines) {
            (false, _) => ImageStatus::Labelled,
            (true, 0) if !labels.is_unreadable => ImageStatus::Background,
            (true, _) => ImageStatus::Unlabelled,
        };
        Ok((status, true, Some(stat)))
    }

    fn without_labels(
        &self,
        image: &str,
        expected: &str,
        findings: &mut Vec<Finding>,
    ) -> ImageStatus {
        if self.missing_labels == MissingLabels::Background {
            return ImageStatus::Background;
        }
        let help = "add an empty label file if there is nothing to find on it, or set \
            dataset.missing_labels = \"background\"";
        findings.extend(self.finding(
            Rule::LabelMissing,
            Location::file(image),
            format!("there is no {expected}"),
            help,
        ));
        ImageStatus::Unlabelled
    }

    /// Counts the lines of a label file that two images share; the images carry the findings.
    pub fn shared_label(&self, listing: &Listing, label: u32) -> anyhow::Result<Stray> {
        let path = listing.labels().get(label as usize);
        let mut lines = 0;
        read_label(&self.layout.locate(path), |bytes| lines = count_label_lines(bytes))?;
        Ok(Stray {
            kind: StrayKind::SharedLabel,
            path: path.to_owned(),
            finding: None,
            lines,
            stamp: None,
        })
    }

    /// Counts the lines of a label file without an image.
    pub fn orphan(&self, listing: &Listing, label: u32) -> anyhow::Result<Stray> {
        let path = listing.labels().get(label as usize);
        let mut lines = 0;
        let stat = read_label(&self.layout.locate(path), |bytes| lines = count_label_lines(bytes))?;
        let help = "restore the image under the label file's name, or delete the label file";
        let found = self.finding(
            Rule::ImageMissing,
            Location::file(path),
            "no image belongs to this label file",
            help,
        );
        let finding =
            found.map(|finding| finding.with_note(format!("{} quarantined", count(lines, "line"))));
        Ok(Stray {
            kind: StrayKind::OrphanLabel,
            path: path.to_owned(),
            finding,
            lines,
            stamp: Some(stamp_of((path, Ok(stat)), None)),
        })
    }
}

thread_local! {
    /// Label files are many and small, so each thread reuses one buffer.
    static LABEL_BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Reads a label file and calls `take` with its bytes; returns its metadata.
fn read_label(path: &Path, take: impl FnOnce(&[u8])) -> anyhow::Result<Stat> {
    let failed = || format!("cannot read the label file {}", path.display());
    if is_url(path) {
        let (stat, bytes) =
            ossify_storage::read_with_stat(path, MAX_LABEL_BYTES).with_context(failed)?;
        take(&bytes);
        return Ok(stat);
    }
    let mut file = File::open(path).with_context(failed)?;
    let metadata = file.metadata().with_context(failed)?;
    let too_long = || {
        anyhow!(
            "{} has more than {} MiB; that is not a label file: move it out of the dataset",
            path.display(),
            MAX_LABEL_BYTES >> 20
        )
    };
    if metadata.len() > MAX_LABEL_BYTES {
        return Err(too_long());
    }
    LABEL_BYTES.with_borrow_mut(|buffer| {
        // Reads as many bytes as the file has at once; anything that is not a regular file is read
        // to its end, whatever its stated size.
        let length = if metadata.is_file() { metadata.len() as usize } else { 0 };
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        file.read_exact(&mut buffer[..length]).with_context(failed)?;
        if length > 0 {
            take(&buffer[..length]);
            return Ok(Stat::Local(metadata));
        }
        let mut bytes = Vec::new();
        if file.take(MAX_LABEL_BYTES + 1).read_to_end(&mut bytes).with_context(failed)? as u64
            > MAX_LABEL_BYTES
        {
            return Err(too_long());
        }
        take(&bytes);
        Ok(Stat::Local(metadata))
    })
}
