use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ossify_contract::{EpochMetrics, SCORES, SplitMetrics};

use crate::rounding::single;

/// Writes an event file that TensorBoard opens: epochs as steps, `loss/train`, `loss/valid` and so
/// on.
///
/// The format is TFRecord around `Event` messages, as in TensorFlow's `record_writer.cc` and
/// `event.proto`; of the messages so little is used that they are encoded here.
pub struct EventFile {
    path: PathBuf,
    /// Seconds since 1970 when the run began.
    began: f64,
}

impl EventFile {
    /// Rewrites the file with the epochs that a run already has: a run that was killed may have
    /// written epochs that its checkpoint does not know.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn begin(run: &Path, began: f64, epochs: &[EpochMetrics]) -> Result<Self> {
        let folder = run.join("tensorboard");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
        let file = EventFile { path: folder.join("events.out.tfevents.ossify"), began };
        let mut event = Vec::new();
        double(1, began, &mut event);
        bytes(3, b"brain.Event:2", &mut event);
        let mut records = record(&event);
        epochs.iter().for_each(|epoch| records.extend(file.record(epoch)));
        // In place, so that a TensorBoard that watches keeps watching.
        let write = || -> std::io::Result<()> { File::create(&file.path)?.write_all(&records) };
        write().with_context(|| format!("cannot write {}", file.path.display()))?;
        Ok(file)
    }

    /// Adds an epoch.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn add(&self, epoch: &EpochMetrics) -> Result<()> {
        let append = || -> std::io::Result<()> {
            let mut file = BufWriter::new(OpenOptions::new().append(true).open(&self.path)?);
            file.write_all(&self.record(epoch))?;
            file.flush()
        };
        append().with_context(|| format!("cannot append to {}", self.path.display()))
    }

    fn record(&self, epoch: &EpochMetrics) -> Vec<u8> {
        let mut summary = Vec::new();
        for (split, metrics) in [("train", Some(&epoch.train)), ("valid", epoch.valid.as_ref())] {
            let scores = SCORES.iter().map(|score| (score.key, score.of));
            for (name, pick) in ERRORS.into_iter().chain(scores) {
                if let Some(score) = metrics.and_then(pick) {
                    value(&format!("{name}/{split}"), score, &mut summary);
                }
            }
        }
        value("learning_rate", epoch.learning_rate, &mut summary);
        value("images_per_sec", epoch.images_per_sec, &mut summary);
        let mut event = Vec::new();
        double(1, self.began + epoch.elapsed_secs, &mut event);
        varint(2 << 3, &mut event);
        varint(u64::from(epoch.epoch), &mut event);
        bytes(5, &summary, &mut event);
        record(&event)
    }
}

type Scalar = (&'static str, fn(&SplitMetrics) -> Option<f64>);
/// What is best at 0.
const ERRORS: [Scalar; 4] = [
    ("loss", |metrics| Some(metrics.loss)),
    ("classification_loss", |metrics| Some(metrics.classification_loss)),
    ("box_loss", |metrics| Some(metrics.box_loss)),
    ("box_mse", |metrics| metrics.box_mse),
];

/// A `Summary.Value`: tag 1, simple_value 2.
fn value(tag: &str, value: f64, summary: &mut Vec<u8>) {
    let mut message = Vec::new();
    bytes(1, tag.as_bytes(), &mut message);
    varint(2 << 3 | 5, &mut message);
    message.extend(single(value).to_le_bytes());
    bytes(1, &message, summary);
}

fn double(field: u64, value: f64, out: &mut Vec<u8>) {
    varint(field << 3 | 1, out);
    out.extend(value.to_le_bytes());
}

fn bytes(field: u64, value: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(value.len() as u64, out);
    out.extend(value);
}

/// Seven bits a byte, low ones first.
fn varint(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// Length, its checksum, the message, its checksum.
fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length).to_le_bytes(), message, &masked_crc(message).to_le_bytes()]
        .concat()
}

/// TFRecord's mask over CRC-32C.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_masked_crc_32c() {
        // RFC 3720, appendix B.4, and the customary check value.
        for (bytes, crc) in [(&b"123456789"[..], 0xe306_9283_u32), (&[0; 32], 0x8a91_36aa)] {
            assert_eq!(masked_crc(bytes), crc.rotate_right(15).wrapping_add(0xa282_ead8));
        }
    }

    #[test]
    fn records_are_whole_and_a_resumed_run_tells_each_epoch_once() {
        let folder = tempfile::tempdir().unwrap();
        let epoch = |epoch| EpochMetrics {
            epoch,
            valid: Some(SplitMetrics::default()),
            ..Default::default()
        };
        let file = EventFile::begin(folder.path(), 1e9, &[]).unwrap();
        (1..=3).for_each(|number| file.add(&epoch(number)).unwrap());
        let undisturbed = std::fs::read(&file.path).unwrap();
        let resumed = EventFile::begin(folder.path(), 1e9, &[epoch(1), epoch(2)]).unwrap();
        resumed.add(&epoch(3)).unwrap();
        assert!(std::fs::read(&file.path).unwrap() == undisturbed);
        let mut rest = &undisturbed[..];
        let mut records = 0;
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked_crc(&rest[..8]).to_le_bytes());
            assert_eq!(
                rest[12 + length..16 + length],
                masked_crc(&rest[12..12 + length]).to_le_bytes()
            );
            rest = &rest[16 + length..];
            records += 1;
        }
        assert_eq!(records, 4);
    }
}
