//! Scores of detectors, as plain numbers: [`average_precision`] as the COCO protocol has it,
//! [`froc`] as radiology reads it, and [`ranking`] of images by a score (AUROC); and [`nms`], by
//! which a detector comes to its objects.
//!
//! Each is filled image by image and then scored under weights of the images: an image of weight 2
//! counts as two copies of it, so that a bootstrap resample is a pass over numbers. Training,
//! prediction and evaluation share this code and thus mean the same by a score.

#![warn(missing_docs)]

pub mod average_precision;
pub mod boxes;
pub mod froc;
pub mod nms;
pub mod ranking;
