//! Which pictures stand in more than one split: the same files, the same pixels, and near copies.
//!
//! A score on a picture that was trained on is no test, and dataset exporters copy pictures after they turned,
//! brightened or encoded them again. The three kinds are told apart, because the first two are beyond doubt and
//! the third is judged: [`for_each_candidate`] finds pairs whose perceptual hashes are near, and [`lay_on`]
//! looks at both pictures.

mod alike;
mod candidates;
mod exact;
mod groups;
mod picture;

use std::collections::HashMap;
use std::convert::Infallible;

use ossify_contract::{FingerprintRow, LeakRow, LeakTier, Split};
use rayon::prelude::*;
use serde::Serialize;

pub use alike::{Alike, LEAST_CORRELATION, lay_on};
pub use candidates::{Candidate, Hashed, for_each_candidate, radius};
use exact::same_files_and_pixels;
use groups::Groups;
pub use picture::Picture;

/// Candidates that are looked at together, on all threads; each has two pictures of up to 100 KB in memory.
const BATCH: usize = 128;

/// What is known of an image before pictures are compared: a row of `fingerprints` without its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print {
    /// The part of the dataset.
    pub split: Split,
    /// XXH3 of the file's bytes.
    pub bytes_xxh3: u64,
    /// XXH3 of the decoded pixels.
    pub pixels_xxh3: u64,
    /// See [`crate::perceptual_hash`].
    pub perceptual_hash: u64,
}

impl From<&FingerprintRow> for Print {
    fn from(row: &FingerprintRow) -> Self {
        let FingerprintRow { split, bytes_xxh3, pixels_xxh3, perceptual_hash, .. } = *row;
        Print { split, bytes_xxh3, pixels_xxh3, perceptual_hash }
    }
}

/// Two images of different splits that show the same picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeakPair {
    /// The row that comes first.
    pub row: u32,
    /// The other row.
    pub other_row: u32,
    /// How alike they are.
    pub tier: LeakTier,
    /// Bits in which the perceptual hashes differ, as they stand or with one picture mirrored.
    pub hash_distance: u32,
    /// How the other lies on the first, for near pairs.
    pub alike: Option<Alike>,
}

/// How many leaks there are, for a summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
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

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leaks {
    /// The pairs that hold the groups together, `n - 1` for a group of `n` images; in order of rows.
    pub pairs: Vec<LeakPair>,
    /// The rows of groups in order, each with its group's number: from 0 in order of the groups' first rows.
    pub members: Vec<(u32, i32)>,
    /// How many pairs the search by hashes named, of which most are no leaks.
    pub candidates: u64,
}

impl Leaks {
    /// The group of a row.
    pub fn group(&self, row: usize) -> Option<i32> {
        let at = self.members.binary_search_by(|(member, _)| (*member as usize).cmp(&row)).ok()?;
        Some(self.members[at].1)
    }

    /// How many there are.
    pub fn counts(&self) -> LeakCounts {
        let pairs = |tier: LeakTier| self.pairs.iter().filter(|pair| pair.tier == tier).count();
        LeakCounts {
            groups: self.members.iter().map(|(_, group)| *group as usize + 1).max().unwrap_or(0),
            images: self.members.len(),
            same_bytes: pairs(LeakTier::SameBytes),
            same_pixels: pairs(LeakTier::SamePixels),
            near: pairs(LeakTier::Near),
        }
    }

    /// The row of the table `leaks` for a pair; `image` and `other` are id and split of its rows.
    pub fn row(&self, pair: &LeakPair, (image_id, split): (String, Split), (other_image_id, other_split): (String, Split)) -> LeakRow {
        LeakRow {
            leak_group: self.group(pair.row as usize).unwrap_or(-1),
            tier: pair.tier,
            image_id,
            split,
            other_image_id,
            other_split,
            hash_distance: pair.hash_distance as i32,
            correlation: pair.alike.map(|alike| alike.correlation),
            rotation_degrees: pair.alike.map(|alike| alike.rotation_degrees),
            mirrored: pair.alike.is_some_and(|alike| alike.mirrored),
        }
    }
}

/// Finds the images that stand in more than one split, at most 2^31 of them.
///
/// About `candidates_per_image` pairs an image are compared at most, see [`radius`]; with 0 none is, and near copies are
/// not looked for. `picture` gives the picture of a row, by its number, and is called from any thread and more than once for a
/// row. The result depends on the prints and pictures alone. Memory beyond the prints: 36 bytes an image of the
/// search by hashes, of which 16 stay; 24 bytes while equal hashes are sorted; 12 and a pair for each image in a
/// leak; and the pictures of [`BATCH`] candidates, 25 MB.
///
/// # Errors
/// Those of `picture`.
pub fn find_leaks<E: Send>(prints: &[Print], candidates_per_image: f64, picture: impl Fn(usize) -> Result<Picture, E> + Sync) -> Result<Leaks, E> {
    let mut groups = Groups::default();
    let (mut pairs, repeats) = same_files_and_pixels(prints, &mut groups);
    let mut hashed: Vec<Hashed> = prints.iter().map(|print| Hashed { split: print.split, hash: print.perceptual_hash }).collect();
    // One of several copies stands for all that its split has.
    repeats.iter().for_each(|(_, repeat)| hashed[*repeat as usize].hash = 0);
    let mut near = Near { picture: &picture, groups: &mut groups, pairs: Vec::new(), waiting: Vec::new(), candidates: 0 };
    if candidates_per_image > 0.0 {
        let radius = affordable_radius(&hashed, candidates_per_image);
        for_each_candidate(&hashed, radius, &mut |candidates| near.take(candidates))?;
        near.look_at_waiting()?;
    }
    let candidates = near.candidates;
    let found = near.pairs;
    pairs.extend(with_repeats(&found, &repeats, &mut groups));
    pairs.extend(found);
    pairs.sort_unstable_by_key(|pair| (pair.row, pair.other_row));
    Ok(Leaks { pairs, members: groups.numbered(), candidates })
}

/// The widest radius for which there are no more candidates than are wanted. Where pictures look more alike than those
/// by which [`radius`] was measured, it is narrower than that.
fn affordable_radius(hashed: &[Hashed], candidates_per_image: f64) -> u32 {
    /// Among few images many candidates take no time.
    const FEW_IMAGES: usize = 1000;
    let widest = radius(hashed.len(), candidates_per_image);
    let mut by_distance = vec![0_u64; widest as usize + 1];
    let counted: Result<(), Infallible> = for_each_candidate(hashed, widest, &mut |candidates| {
        candidates.iter().for_each(|candidate| by_distance[candidate.hash_distance as usize] += 1);
        Ok(())
    });
    let Ok(()) = counted;
    let wanted = (candidates_per_image * hashed.len().max(FEW_IMAGES) as f64) as u64;
    (0..=widest).rev().find(|radius| by_distance[..=*radius as usize].iter().sum::<u64>() <= wanted).unwrap_or(0)
}

/// Candidates on their way to pairs.
struct Near<'a, P> {
    picture: &'a P,
    groups: &'a mut Groups,
    pairs: Vec<LeakPair>,
    waiting: Vec<Candidate>,
    candidates: u64,
}

impl<E: Send, P: Fn(usize) -> Result<Picture, E> + Sync> Near<'_, P> {
    fn take(&mut self, candidates: &[Candidate]) -> Result<(), E> {
        self.candidates += candidates.len() as u64;
        for candidate in candidates {
            // Of hundreds of views of one picture each is looked at a few times, not hundreds of times.
            if self.groups.first_of(candidate.row) != self.groups.first_of(candidate.other_row) {
                self.waiting.push(*candidate);
                if self.waiting.len() == BATCH {
                    self.look_at_waiting()?;
                }
            }
        }
        Ok(())
    }

    fn look_at_waiting(&mut self) -> Result<(), E> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut rows: Vec<u32> = waiting.iter().flat_map(|candidate| [candidate.row, candidate.other_row]).collect();
        rows.sort_unstable();
        rows.dedup();
        let pictures: Result<Vec<(u32, Picture)>, E> = rows.par_iter().map(|row| Ok((*row, (self.picture)(*row as usize)?))).collect();
        let pictures: HashMap<u32, Picture> = pictures?.into_iter().collect();
        let lie_on: Vec<Option<Alike>> =
            waiting.par_iter().map(|candidate| lay_on(pictures.get(&candidate.row)?, pictures.get(&candidate.other_row)?, candidate.mirrored)).collect();
        for (candidate, alike) in waiting.iter().zip(lie_on) {
            let Some(alike) = alike.filter(|alike| alike.correlation >= LEAST_CORRELATION) else { continue };
            let Candidate { row, other_row, hash_distance, .. } = *candidate;
            if self.groups.join(row, other_row) {
                self.pairs.push(LeakPair { row, other_row, tier: LeakTier::Near, hash_distance, alike: Some(alike) });
            }
        }
        Ok(())
    }
}

/// What was found of a row holds for the rows of its split that have the same pixels.
fn with_repeats(found: &[LeakPair], repeats: &[(u32, u32)], groups: &mut Groups) -> Vec<LeakPair> {
    let mut pairs = Vec::new();
    let repeats_of = |row: u32| {
        let from = repeats.partition_point(|(first, _)| *first < row);
        repeats[from..].iter().take_while(move |(first, _)| *first == row).map(|(_, repeat)| *repeat)
    };
    for pair in found {
        for (row, other_row) in repeats_of(pair.row).map(|row| (row, pair.other_row)).chain(repeats_of(pair.other_row).map(|row| (pair.row, row))) {
            if groups.join(row, other_row) {
                // The turn is told from the row that comes first.
                let alike = if row < other_row { pair.alike } else { pair.alike.map(Alike::seen_from_the_other) };
                pairs.push(LeakPair { row: row.min(other_row), other_row: row.max(other_row), alike, ..*pair });
            }
        }
    }
    pairs
}
