//! The search: from prints and pictures to groups and pairs.

use std::fmt::Debug;

use ossify_contract::{ArtefactError, LeakCounts, LeakTier, Result, Split};

use super::candidates::{HashIndex, HashIndexBuilder, radius};
use super::exact::{HashedRow, join_same};
use super::groups::{Groups, NumberedGroups};
use super::near::{Near, Repeats};
use super::pair::LeakPair;
use super::pairs::Pairs;
use super::picture::Picture;
use super::print::Print;
use super::scratch::Scratch;
use super::sorted::{Sorted, Sorter};

/// What a search holds at most, beside the pictures that it looks at.
pub const MEMORY_BYTES: usize = 256 << 20;

/// Looks for images that stand in more than one split, at most 2^31 of them, one after the other.
///
/// It holds what its [`Scratch`] allows, and the pictures of 128 candidates, 25 MB; what is more
/// goes to files, 72 bytes an image at most and 48 a pair. Beside that it has 32 bytes in memory
/// for each 1024 images.
pub struct LeakSearch {
    by_bytes: Sorter<3>,
    by_pixels: Sorter<3>,
    rows: u32,
    scratch: Scratch,
}

impl LeakSearch {
    /// A search that saw no image yet.
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
    pub fn add(&mut self, print: &Print) -> Result<()> {
        self.by_bytes.push(HashedRow::new(print.bytes_xxh3, self.rows, print).record())?;
        self.by_pixels.push(HashedRow::new(print.pixels_xxh3, self.rows, print).record())?;
        self.rows += 1;
        Ok(())
    }

    /// Finds the leaks.
    ///
    /// About `candidates_per_image` pairs an image are compared at most, see [`radius`]; with 0
    /// none is, and near copies are not looked for. `picture` gives the picture of a row, by its
    /// number, and is called from any thread and more than once for a row. The result depends on
    /// the prints and pictures alone.
    ///
    /// # Errors
    /// Those of `picture`, and where the disk fails.
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
        let (mut repeats, mut hashes) = (Repeats::new(&scratch), HashIndexBuilder::new(&scratch));
        join_same(
            LeakTier::SamePixels,
            &by_pixels.finish()?,
            &mut groups,
            &mut pairs,
            |row, earlier| match earlier {
                // One of several copies stands for all that its split has.
                Some(earlier) => repeats.add(earlier, row.row),
                None => hashes.push(Split::ALL[row.split], row.row, row.perceptual_hash),
            },
        )?;
        let mut candidates = 0;
        if candidates_per_image > 0.0 {
            let hashes = hashes.finish()?;
            let radius = affordable_radius(&hashes, rows as usize, candidates_per_image)?;
            let mut near = Near::new(&picture, &mut groups, &mut pairs, &mut repeats, &scratch);
            hashes.for_each_candidate(radius, &mut |candidate| near.take(candidate))?;
            candidates = near.finish()?;
        }
        let groups = groups.numbered(rows)?;
        let counts = LeakCounts { groups: groups.groups, images: groups.images, ..pairs.counts };
        Ok(FoundLeaks { pairs: pairs.sorted()?, groups, counts, candidates })
    }
}

/// The widest radius for which there are no more candidates than are wanted. Where pictures look
/// more alike than those by which [`radius`] was measured, it is narrower than that.
fn affordable_radius(hashes: &HashIndex, images: usize, candidates_per_image: f64) -> Result<u32> {
    /// Among few images many candidates take no time.
    const FEW_IMAGES: usize = 1000;
    let widest = radius(images, candidates_per_image);
    let by_distance = hashes.count_by_distance(widest)?;
    let wanted = (candidates_per_image * images.max(FEW_IMAGES) as f64) as u64;
    Ok((0..=widest)
        .rev()
        .find(|radius| by_distance[..=*radius as usize].iter().sum::<u64>() <= wanted)
        .unwrap_or(0))
}

/// All that was found, which need not fit into memory.
pub struct FoundLeaks {
    pairs: Sorted<3>,
    groups: NumberedGroups,
    /// How many there are.
    pub counts: LeakCounts,
    /// How many pairs the search by hashes named, of which most are no leaks.
    pub candidates: u64,
}

impl FoundLeaks {
    /// Calls `found` with each pair that holds a group together and the group's number; `n - 1` for
    /// a group of `n` images, in order of rows.
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

    /// The number of a row's group: from 0 in order of the groups' first rows.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn group(&mut self, row: usize) -> Result<Option<i32>> {
        self.groups.of(row as u32)
    }
}

/// All that was found, in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leaks {
    /// As [`FoundLeaks::for_each_pair`] gives them.
    pub pairs: Vec<LeakPair>,
    /// The rows of groups in order, each with its group's number.
    pub members: Vec<(u32, i32)>,
    /// How many pairs the search by hashes named, of which most are no leaks.
    pub candidates: u64,
    counts: LeakCounts,
}

impl Leaks {
    /// The group of a row.
    pub fn group(&self, row: usize) -> Option<i32> {
        let at = self.members.binary_search_by(|(member, _)| (*member as usize).cmp(&row)).ok()?;
        Some(self.members[at].1)
    }

    /// How many there are.
    pub fn counts(&self) -> LeakCounts {
        self.counts
    }
}

/// As [`LeakSearch`], for prints and leaks that fit into memory.
///
/// # Errors
/// Where `picture` fails, and where the disk does.
pub fn find_leaks<E: Debug + Send>(
    prints: &[Print],
    candidates_per_image: f64,
    picture: impl Fn(usize) -> Result<Picture, E> + Sync,
) -> Result<Leaks> {
    find_leaks_within(
        Scratch::new(std::env::temp_dir(), MEMORY_BYTES),
        prints,
        candidates_per_image,
        |row| {
            picture(row).map_err(|e| ArtefactError::corrupt(format!("row {row}"), format!("{e:?}")))
        },
    )
}

pub(super) fn find_leaks_within(
    scratch: Scratch,
    prints: &[Print],
    candidates_per_image: f64,
    picture: impl Fn(usize) -> Result<Picture> + Sync,
) -> Result<Leaks> {
    let mut search = LeakSearch::new(scratch);
    prints.iter().try_for_each(|print| search.add(print))?;
    let mut found = search.find(candidates_per_image, picture)?;
    let mut leaks =
        Leaks { counts: found.counts, candidates: found.candidates, ..Leaks::default() };
    found.for_each_pair(|pair, _| {
        leaks.pairs.push(pair);
        Ok(())
    })?;
    for row in 0..prints.len() {
        leaks.members.extend(found.group(row)?.map(|group| (row as u32, group)));
    }
    Ok(leaks)
}
