//! The search for leaks, from hashes and pictures to groups and pairs.

use std::fmt::Debug;

use ossify_contract::{ArtefactError, LeakCounts, LeakTier, Result, Split};

use super::candidates::{HashIndex, HashIndexBuilder, radius};
use super::exact::{HashedRow, join_same};
use super::groups::{Groups, NumberedGroups};
use super::image_hashes::ImageHashes;
use super::near::{DuplicateRows, Near};
use super::pair::LeakPair;
use super::pairs::Pairs;
use super::picture::Picture;
use super::scratch::Scratch;
use super::sorted::{Sorted, Sorter};

/// Memory limit of a search, in addition to the pictures that it compares.
pub const MEMORY_BYTES: usize = 256 << 20;

/// Searches for images that occur in more than one split. Images are added one by one, up to 2^31.
///
/// It uses the memory that its [`Scratch`] allows, plus 25 MB for the pictures of 128 candidates,
/// plus 32 bytes for every 1024 images. The rest is written to files: at most 72 bytes per image
/// and 48 per pair.
pub struct LeakSearch {
    by_bytes: Sorter<3>,
    by_pixels: Sorter<3>,
    rows: u32,
    scratch: Scratch,
}

impl LeakSearch {
    /// A search without images.
    pub fn new(scratch: Scratch) -> Self {
        LeakSearch {
            by_bytes: Sorter::new(&scratch),
            by_pixels: Sorter::new(&scratch),
            rows: 0,
            scratch,
        }
    }

    /// Adds the image of the next row.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn add(&mut self, hashes: &ImageHashes) -> Result<()> {
        self.by_bytes.push(HashedRow::new(hashes.bytes_xxh3, self.rows, hashes).record())?;
        self.by_pixels.push(HashedRow::new(hashes.pixels_xxh3, self.rows, hashes).record())?;
        self.rows += 1;
        Ok(())
    }

    /// Finds the leaks.
    ///
    /// At most about `candidates_per_image` pairs per image are compared, see [`radius`]; with 0,
    /// near copies are not searched. `picture` returns the picture of a row, by its number, and is
    /// called from any thread and possibly more than once for a row. The result depends only on the
    /// hashes and pictures.
    ///
    /// # Errors
    /// Those of `picture`, and if the disk fails.
    pub fn find(
        self,
        candidates_per_image: f64,
        picture: impl Fn(usize) -> Result<Picture> + Sync,
    ) -> Result<FoundLeaks> {
        let LeakSearch { by_bytes, by_pixels, rows, scratch } = self;
        let (mut groups, mut pairs) = (Groups::new(&scratch), Pairs::new(&scratch));
        join_same(
            LeakTier::SameBytes,
            &by_bytes.finish()?,
            &mut groups,
            &mut pairs,
            |_, _| Ok(()),
        )?;
        let (mut duplicates, mut hashes) =
            (DuplicateRows::new(&scratch), HashIndexBuilder::new(&scratch));
        join_same(
            LeakTier::SamePixels,
            &by_pixels.finish()?,
            &mut groups,
            &mut pairs,
            |row, earlier| match earlier {
                // One of several copies represents all those of its split.
                Some(earlier) => duplicates.add(earlier, row.row),
                None => hashes.push(Split::ALL[row.split], row.row, row.perceptual_hash),
            },
        )?;
        let mut candidates = 0;
        if candidates_per_image > 0.0 {
            let hashes = hashes.finish()?;
            let radius = affordable_radius(&hashes, rows as usize, candidates_per_image)?;
            let mut near = Near::new(&picture, &mut groups, &mut pairs, &mut duplicates, &scratch);
            hashes.for_each_candidate(radius, &mut |candidate| near.take(candidate))?;
            candidates = near.finish()?;
        }
        let groups = groups.numbered(rows)?;
        let counts = LeakCounts { groups: groups.groups, images: groups.images, ..pairs.counts };
        Ok(FoundLeaks { pairs: pairs.sorted()?, groups, counts, candidates })
    }
}

/// The largest radius that yields no more candidates than wanted. It is smaller than [`radius`] if
/// the pictures are more similar than those that it was measured with.
fn affordable_radius(hashes: &HashIndex, images: usize, candidates_per_image: f64) -> Result<u32> {
    /// With few images, many candidates take no time.
    const FEW_IMAGES: usize = 1000;
    let widest = radius(images, candidates_per_image);
    let by_distance = hashes.count_by_distance(widest)?;
    let wanted = (candidates_per_image * images.max(FEW_IMAGES) as f64) as u64;
    Ok((0..=widest)
        .rev()
        .find(|radius| by_distance[..=*radius as usize].iter().sum::<u64>() <= wanted)
        .unwrap_or(0))
}

/// The leaks that were found, which need not fit into memory.
pub struct FoundLeaks {
    pairs: Sorted<3>,
    groups: NumberedGroups,
    /// Their counts.
    pub counts: LeakCounts,
    /// Number of candidates of the search by hashes, most of which are not leaks.
    pub candidates: u64,
}

impl FoundLeaks {
    /// Calls `found` with each pair that connects a group, and the group's number: `n - 1` pairs
    /// for a group of `n` images, in order of rows.
    ///
    /// # Errors
    /// Fails where the disk or `found` does.
    pub fn for_each_pair(
        &mut self,
        mut found: impl FnMut(LeakPair, i32) -> Result<()>,
    ) -> Result<()> {
        for record in self.pairs.iter() {
            let pair = LeakPair::read(record?);
            found(pair, self.groups.of(pair.row)?.unwrap_or(-1))?;
        }
        Ok(())
    }

    /// The number of a row's group, from 0 in order of the groups' first rows.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn group(&mut self, row: usize) -> Result<Option<i32>> {
        self.groups.of(row as u32)
    }
}

/// The leaks that were found, in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leaks {
    /// The pairs of [`FoundLeaks::for_each_pair`].
    pub pairs: Vec<LeakPair>,
    /// The rows in groups, in order, each with its group's number.
    pub members: Vec<(u32, i32)>,
    /// Number of candidates of the search by hashes, most of which are not leaks.
    pub candidates: u64,
    counts: LeakCounts,
}

impl Leaks {
    /// The group of a row.
    pub fn group(&self, row: usize) -> Option<i32> {
        let at = self.members.binary_search_by(|(member, _)| (*member as usize).cmp(&row)).ok()?;
        Some(self.members[at].1)
    }

    /// Their counts.
    pub fn counts(&self) -> LeakCounts {
        self.counts
    }
}

/// Like [`LeakSearch`], for hashes and leaks that fit into memory.
///
/// # Errors
/// Fails if `picture` or the disk does.
pub fn find_leaks<E: Debug + Send>(
    hashes: &[ImageHashes],
    candidates_per_image: f64,
    picture: impl Fn(usize) -> Result<Picture, E> + Sync,
) -> Result<Leaks> {
    find_leaks_within(
        Scratch::new(std::env::temp_dir(), MEMORY_BYTES),
        hashes,
        candidates_per_image,
        |row| {
            picture(row).map_err(|e| ArtefactError::corrupt(format!("row {row}"), format!("{e:?}")))
        },
    )
}

pub(super) fn find_leaks_within(
    scratch: Scratch,
    hashes: &[ImageHashes],
    candidates_per_image: f64,
    picture: impl Fn(usize) -> Result<Picture> + Sync,
) -> Result<Leaks> {
    let mut search = LeakSearch::new(scratch);
    hashes.iter().try_for_each(|hashes| search.add(hashes))?;
    let mut found = search.find(candidates_per_image, picture)?;
    let mut leaks =
        Leaks { counts: found.counts, candidates: found.candidates, ..Leaks::default() };
    found.for_each_pair(|pair, _| {
        leaks.pairs.push(pair);
        Ok(())
    })?;
    for row in 0..hashes.len() {
        leaks.members.extend(found.group(row)?.map(|group| (row as u32, group)));
    }
    Ok(leaks)
}
