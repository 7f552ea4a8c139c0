//! Only decodes the JPEGs of a dataset and resizes them to tensors in memory: decode_resize DATASET
//! THREADS
//!
//! Prints the seconds that it took, to compare with the resize stage, which also makes hashes,
//! shards and checks.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use ossify_imaging::{decode_picture, read_file, to_tensor_into};
use ossify_vocabulary::{Channels, Filter, Geometry, Limits, TensorSpec};
use rayon::prelude::*;

const SPEC: TensorSpec = TensorSpec {
    side_px: 224,
    channels: Channels::Rgb,
    geometry: Geometry::Stretch,
    filter: Filter::Bilinear,
    antialias: true,
};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dataset, threads] = arguments.as_slice() else {
        anyhow::bail!("usage: decode_resize DATASET THREADS");
    };
    let files = jpegs(Path::new(dataset))?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.parse().context("THREADS is a number")?)
        .build()?;
    let start = Instant::now();
    pool.install(|| {
        files.par_iter().try_for_each_init(
            || vec![0; SPEC.bytes()],
            |tensor, file| decode_and_resize(file, tensor),
        )
    })?;
    println!("{:.4}", start.elapsed().as_secs_f64());
    Ok(())
}

/// `DATASET/*/images/*.jpg`, the same files that the peers use.
fn jpegs(dataset: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for split in entries(dataset)? {
        let images = split.join("images");
        if images.is_dir() {
            files.extend(
                entries(&images)?
                    .into_iter()
                    .filter(|file| file.extension().is_some_and(|extension| extension == "jpg")),
            );
        }
    }
    files.sort();
    anyhow::ensure!(!files.is_empty(), "no */images/*.jpg in {}", dataset.display());
    Ok(files)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn decode_and_resize(file: &Path, tensor: &mut [u8]) -> Result<()> {
    let limits = Limits::default();
    let at = || file.display().to_string();
    let bytes = read_file(file, &limits).with_context(at)?;
    let picture = decode_picture(&bytes, &limits, &SPEC).with_context(at)?;
    to_tensor_into(&picture, &SPEC, tensor).with_context(at)?;
    std::hint::black_box(tensor);
    Ok(())
}
