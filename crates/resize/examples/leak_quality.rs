//! Measures how well leaks are found in a dataset that has been ingested and resized:
//!
//!     cargo run --release --example leak_quality -- OUT [DATASET/planted.json]
//!     cargo run --release --example leak_quality -- growth
//!
//! The first form prints the cost of hashing and comparing an image, every pair that is found
//! across the splits, the recall over pairs of train whose names agree before `.rf.` (as if they
//! were in different splits), the pairs found there whose names differ, and, for a synthetic
//! dataset, the recall for each kind of planted leak. The second form prints how the time of the
//! search grows with the number of images.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement by hand")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ossify_contract::{
    ArtefactError, FingerprintRow, Manifest, ShardReader, Split, read_table, shards_of,
};
use ossify_resize::leaks::{
    HashIndexBuilder, ImageHashes, Leaks, MEMORY_BYTES, Picture, Scratch, find_leaks, radius,
};
use ossify_resize::{MIRRORED_BITS, TensorView, perceptual_hash};

/// The default of `resize.leak_candidates_per_image`.
const CANDIDATES_PER_IMAGE: f64 = 1.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [word] if word == "growth" => growth(),
        [out] => quality(Path::new(out), None),
        [out, planted] => quality(Path::new(out), Some(Path::new(planted))),
        _ => eprintln!("usage: leak_quality OUT [planted.json] | growth"),
    }
}

/// The rows of `fingerprints` with their tensors.
struct Dataset {
    rows: Vec<FingerprintRow>,
    shards: Vec<(PathBuf, ShardReader)>,
    /// Shard and row of each image.
    locations: HashMap<String, (usize, usize)>,
}

impl Dataset {
    fn open(out: &Path) -> Self {
        let folder = out.join("shards");
        let manifest = Manifest::open(&folder, "run ossify-resize first").unwrap();
        let mut shards: Vec<(PathBuf, ShardReader)> = Vec::new();
        let mut locations = HashMap::new();
        for file in Split::ALL.iter().flat_map(|split| shards_of(&manifest, *split)) {
            let path = folder.join(&file.path);
            let reader = ShardReader::open(&path).unwrap();
            locations.extend(
                reader
                    .iter()
                    .enumerate()
                    .map(|(row, image)| (image.image_id.to_owned(), (shards.len(), row))),
            );
            shards.push((path, reader));
        }
        Dataset {
            rows: read_table(folder.join("fingerprints.parquet")).unwrap(),
            shards,
            locations,
        }
    }

    fn with_view<T>(
        &self,
        row: usize,
        use_it: impl FnOnce(&TensorView) -> T,
    ) -> Result<T, ArtefactError> {
        let (shard, at) = self.locations[&self.rows[row].image_id];
        let reader = &self.shards[shard].1;
        let (tensor, image) = (reader.tensor(at)?, reader.get(at).unwrap());
        Ok(use_it(&TensorView {
            pixels: &tensor,
            shape: reader.shape(),
            source: (image.width, image.height),
            transform: image.transform,
        }))
    }

    /// Leaks among `rows`, each with the split that it is assigned to.
    fn leaks(&self, rows: &[(usize, Split)]) -> Leaks {
        let hashes: Vec<ImageHashes> = rows
            .iter()
            .map(|(row, split)| ImageHashes {
                split: *split,
                ..ImageHashes::from(&self.rows[*row])
            })
            .collect();
        find_leaks(&hashes, CANDIDATES_PER_IMAGE, |at| self.with_view(rows[at].0, Picture::new))
            .unwrap()
    }

    fn name(&self, row: usize) -> &str {
        self.rows[row].image_id.rsplit('/').next().unwrap()
    }

    fn stem(&self, row: usize) -> &str {
        self.name(row).split(".rf.").next().unwrap()
    }

    fn size(&self, row: usize) -> (u32, u32) {
        self.with_view(row, |view| view.source).unwrap()
    }
}

fn quality(out: &Path, planted: Option<&Path>) {
    let dataset = Dataset::open(out);
    println!("{} images", dataset.rows.len());
    costs(&dataset);

    println!("\nacross the splits");
    let rows: Vec<(usize, Split)> = dataset.rows.iter().map(|row| row.split).enumerate().collect();
    report(&dataset, &rows, planted.is_none());
    if let Some(planted) = planted {
        recall_of_planted(&dataset, planted);
    }

    println!("\ntrain, each stem's images in different splits in turn");
    let mut turns: HashMap<&str, usize> = HashMap::new();
    let mut rows = Vec::new();
    for row in (0..dataset.rows.len()).filter(|row| dataset.rows[*row].split == Split::Train) {
        let turn = turns.entry(dataset.stem(row)).or_default();
        rows.push((row, Split::ALL[*turn % 3]));
        *turn += 1;
    }
    let leaks = report(&dataset, &rows, false);
    let mut same_stem: BTreeMap<(&str, (u32, u32)), Vec<usize>> = BTreeMap::new();
    for (at, (row, _)) in rows.iter().enumerate() {
        same_stem.entry((dataset.stem(*row), dataset.size(*row))).or_default().push(at);
    }
    for (words, wanted) in
        [("stems of three images of one size", Some(3)), ("all stems, images of one size", None)]
    {
        let (mut pairs, mut found, mut by_distance) = (0, 0, BTreeMap::<u32, (u32, u32)>::new());
        for ((stem, _), members) in same_stem
            .iter()
            .filter(|(_, members)| wanted.is_none_or(|wanted| members.len() == wanted))
        {
            if wanted.is_some_and(|wanted| turns[stem] != wanted) {
                continue;
            }
            for (i, a) in members.iter().enumerate() {
                for b in members[i + 1..].iter().filter(|b| rows[**b].1 != rows[*a].1) {
                    let is_found = leaks.group(*a).is_some() && leaks.group(*a) == leaks.group(*b);
                    let hash = |at: usize| dataset.rows[rows[at].0].perceptual_hash;
                    let count = by_distance.entry((hash(*a) ^ hash(*b)).count_ones()).or_default();
                    *count = (count.0 + 1, count.1 + u32::from(is_found));
                    pairs += 1;
                    found += u32::from(is_found);
                }
            }
        }
        println!(
            "{words}: {found} of {pairs} pairs found ({:.2}%)",
            100.0 * f64::from(found) / f64::from(pairs.max(1))
        );
        println!("  by hash distance, pairs and found: {by_distance:?}");
    }
    for pair in leaks.pairs.iter().filter(|pair| {
        dataset.stem(rows[pair.row as usize].0) != dataset.stem(rows[pair.other_row as usize].0)
    }) {
        let names = [pair.row, pair.other_row].map(|row| dataset.name(rows[row as usize].0));
        println!("other name: {names:?} {} bits, {:?}", pair.hash_distance, pair.alignment);
    }
}

fn costs(dataset: &Dataset) {
    let rows = dataset.rows.len().min(1000);
    let timed = |words: &str, work: &dyn Fn(&TensorView) -> u64| {
        let started = Instant::now();
        let sum = (0..rows)
            .fold(0_u64, |sum, row| sum.wrapping_add(dataset.with_view(row, work).unwrap()));
        println!(
            "{words}: {:.1} us an image ({sum:x})",
            started.elapsed().as_secs_f64() * 1e6 / rows as f64
        );
    };
    timed("reading and checking a tensor, first time", &|_| 0);
    timed("reading", &|view| u64::from(view.pixels[0]));
    timed("perceptual hash", &perceptual_hash);
    timed("picture to compare", &|view| {
        std::hint::black_box(Picture::new(view));
        1
    });
    let same = (0..rows).all(|row| {
        dataset.with_view(row, perceptual_hash).unwrap() == dataset.rows[row].perceptual_hash
    });
    println!("hashes are those of the table: {same}");
}

fn report(dataset: &Dataset, rows: &[(usize, Split)], list: bool) -> Leaks {
    let count = |split: Split| rows.iter().filter(|(_, its)| *its == split).count() as u64;
    let [a, b, c] = Split::ALL.map(count);
    let started = Instant::now();
    let leaks = dataset.leaks(rows);
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{} pairs of different splits, radius {} bits: {} candidates, {:?}, {seconds:.2} s",
        a * b + a * c + b * c,
        radius(rows.len(), CANDIDATES_PER_IMAGE),
        leaks.candidates,
        leaks.counts()
    );
    if list {
        for pair in &leaks.pairs {
            let names =
                [pair.row, pair.other_row].map(|row| &dataset.rows[rows[row as usize].0].image_id);
            println!(
                "  {:?} {names:?} {} bits, {:?}",
                pair.tier, pair.hash_distance, pair.alignment
            );
        }
    }
    leaks
}

fn recall_of_planted(dataset: &Dataset, planted: &Path) {
    let planted: serde_json::Value =
        serde_json::from_slice(&std::fs::read(planted).unwrap()).unwrap();
    let rows: Vec<(usize, Split)> = dataset.rows.iter().map(|row| row.split).enumerate().collect();
    let leaks = dataset.leaks(&rows);
    let at: HashMap<&str, usize> = dataset
        .rows
        .iter()
        .enumerate()
        .map(|(row, fingerprint)| (fingerprint.image_id.as_str(), row))
        .collect();
    let mut kinds: BTreeMap<&str, (u32, u32, BTreeMap<u32, u32>)> = BTreeMap::new();
    let mut families: HashMap<usize, usize> = HashMap::new();
    for leak in planted["leaks"].as_array().unwrap() {
        let row = |key: &str| at.get(leak[key].as_str().unwrap()).copied();
        let (Some(image), Some(original)) = (row("path"), row("original")) else { continue };
        families.insert(image, original);
        let (count, found, distances) = kinds.entry(leak["kind"].as_str().unwrap()).or_default();
        *count += 1;
        let distance = (dataset.rows[image].perceptual_hash
            ^ dataset.rows[original].perceptual_hash)
            .count_ones();
        *distances.entry(distance).or_default() += 1;
        *found +=
            u32::from(leaks.group(image).is_some() && leaks.group(image) == leaks.group(original));
    }
    for (kind, (count, found, distances)) in kinds {
        println!("{kind}: {found} of {count} found; by hash distance {distances:?}");
    }
    let family = |row: u32| families.get(&(row as usize)).copied().unwrap_or(row as usize);
    for pair in leaks.pairs.iter().filter(|pair| family(pair.row) != family(pair.other_row)) {
        let names = [pair.row, pair.other_row].map(|row| &dataset.rows[row as usize].image_id);
        println!(
            "not planted: {:?} {names:?} {} bits, {:?}",
            pair.tier, pair.hash_distance, pair.alignment
        );
    }
}

/// Search times over random hashes, one in a hundred of which has a near hash in another split.
fn growth() {
    let mut before: Option<(usize, f64)> = None;
    for images in [10_000, 40_000, 160_000, 640_000, 2_560_000, 10_240_000] {
        let mut state = 7_u64;
        let mut bits = move || {
            // SplitMix64, Steele and others, "Fast Splittable Pseudorandom Number Generators"
            // (2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut hashes = Vec::with_capacity(images);
        for i in 0..images {
            let near = (0..4).fold(0_u64, |flips, _| flips | 1 << (bits() % 64));
            hashes.push(match i.checked_sub(13) {
                Some(earlier) if i % 100 == 0 => {
                    hashes[earlier] ^ near ^ if i % 200 == 0 { MIRRORED_BITS } else { 0 }
                }
                _ => bits(),
            });
        }
        let mut candidates = 0;
        let started = Instant::now();
        let mut index = HashIndexBuilder::new(&Scratch::new(std::env::temp_dir(), MEMORY_BYTES));
        for (row, hash) in hashes.iter().enumerate() {
            index
                .push(
                    [Split::Train, Split::Train, Split::Valid, Split::Train, Split::Test][row % 5],
                    row as u32,
                    *hash,
                )
                .unwrap();
        }
        let done = index.finish().unwrap().for_each_candidate(
            radius(images, CANDIDATES_PER_IMAGE),
            &mut |_| {
                candidates += 1;
                Ok(())
            },
        );
        done.unwrap();
        let seconds = started.elapsed().as_secs_f64();
        let exponent = before.map_or(f64::NAN, |(images_before, seconds_before)| {
            (seconds / seconds_before).ln() / (images as f64 / images_before as f64).ln()
        });
        println!(
            "{images} images, radius {}: {candidates} candidates, {seconds:.3} s, {:.1} us an \
            image, exponent {exponent:.2}",
            radius(images, CANDIDATES_PER_IMAGE),
            seconds * 1e6 / images as f64
        );
        before = Some((images, seconds));
    }
}
