//! What `ossify-resize` says of tensor shards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::typed::Summary;
use crate::words::Split;

/// What `ossify-resize` says of tensor shards. It has no times and no rates, so that equal work has
/// equal summaries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardsSummary {
    /// Images that became tensors.
    pub images: u64,
    /// Of these, those of each split.
    pub images_per_split: BTreeMap<Split, u64>,
    /// Shards.
    pub shards: u64,
    /// How tensors were made.
    pub tensor: TensorSummary,
    /// Images that ingest found unreadable.
    pub unreadable: u64,
    /// Images that the tables call readable and that did not become tensors.
    pub failed_images: u64,
    /// Of these, those of each rule.
    pub failed_per_rule: BTreeMap<String, u64>,
    /// The first of them; `issues.parquet` has all.
    pub failed: Vec<FailedImage>,
    /// Pictures that are in more than one split.
    pub leaks: LeakCounts,
}

impl Summary for ShardsSummary {
    const OF: &'static str = "tensor shards";
    const STAGES: &'static [&'static str] = &["resize"];
}

/// How tensors were made, in the words of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSummary {
    /// Pixels down.
    pub height: u32,
    /// Pixels across.
    pub width: u32,
    /// 1 gray, 3 colour.
    pub channels: u32,
    /// `resize.geometry`.
    pub geometry: String,
    /// `resize.filter`.
    pub filter: String,
    /// `resize.antialias`.
    pub antialias: bool,
}

/// An image that did not become a tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedImage {
    /// The image.
    pub image_id: String,
    /// One of the rules below.
    pub rule: String,
    /// What is wrong, in words.
    pub reason: String,
}

impl FailedImage {
    /// Rule: the bytes are no usable picture.
    pub const UNREADABLE: &str = "image-unreadable";
    /// Rule: the file system did not give the bytes; another time it may.
    pub const NOT_READ: &str = "image-not-read";
    /// Rule: the picture is not the one that the tables describe.
    pub const CHANGED: &str = "image-changed";
}

/// How many leaks there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeakCounts {
    /// Groups of images that show the same picture and span several splits.
    pub groups: usize,
    /// Images in these groups.
    pub images: usize,
    /// Pairs, of those that hold the groups together, whose files are the same.
    pub same_bytes: usize,
    /// Pairs whose files differ and whose pixels are the same.
    pub same_pixels: usize,
    /// Pairs whose pixels differ and whose pictures are the same.
    pub near: usize,
}
