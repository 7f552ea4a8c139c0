use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_64;

use crate::label_path::label_path;

/// The largest number of shares: a merge holds a file of each open.
pub const MAX_PARTITIONS: u32 = 4096;

/// A share of a dataset's images: `number` of `count`, from 1. Which share an image is in follows
/// from its id and `count` alone, so workers need not agree on anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Partition {
    number: u32,
    count: u32,
}

/// Why a text names no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    /// It is not `I/N`.
    #[error("a share is I/N, such as 3/16: number 3 of 16")]
    Form,
    /// The number is not among the shares, or there are too many.
    #[error("in I/N, I runs from 1 to N, and N to {MAX_PARTITIONS}")]
    Range,
}

impl Partition {
    /// Share `number`, from 1, of `count`.
    ///
    /// # Errors
    /// Fails where there is no such share, or where there are more than [`MAX_PARTITIONS`].
    pub fn new(number: u32, count: u32) -> Result<Self, PartitionError> {
        if (1..=count).contains(&number) && count <= MAX_PARTITIONS {
            Ok(Partition { number, count })
        } else {
            Err(PartitionError::Range)
        }
    }

    /// All shares of `count`, in order.
    pub fn all(count: u32) -> impl Iterator<Item = Partition> {
        (1..=count).map(move |number| Partition { number, count })
    }

    /// Which one, from 1.
    pub fn number(self) -> u32 {
        self.number
    }

    /// Of how many.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Whether the share has what lies at this position, see [`share_position`].
    pub fn holds(self, position: u64) -> bool {
        (u128::from(position) * u128::from(self.count)) >> 64 == u128::from(self.number - 1)
    }
}

/// Which of a row of pieces of these sizes are in a share, where pieces are not cut: the share is
/// as near to one of `N` equal parts of the whole as that can be, and shares follow each other as
/// the pieces do.
pub fn share_of_pieces(
    partition: Partition,
    sizes: impl IntoIterator<Item = u64, IntoIter: Clone>,
) -> Vec<bool> {
    let sizes = sizes.into_iter();
    let total: u128 = sizes.clone().map(u128::from).sum();
    let mut before = 0;
    let is_in = |size: u64| {
        // By its middle, lest the last share gets nothing but the rest.
        let middle = before + u128::from(size) / 2;
        before += u128::from(size);
        middle * u128::from(partition.count) / total.max(1) + 1 == u128::from(partition.number)
    };
    sizes.map(is_in).collect()
}

/// The position of an image between the first share (0) and the last (2^64 - 1): shares are equally
/// long pieces of that line. It is the XXH3 of the path of its label file, so that images that
/// share one, and the label file, lie together.
pub fn share_position(image_id: &str) -> u64 {
    share_position_of_label(&label_path(image_id))
}

/// The position of a label file, by its path: that of its image.
pub fn share_position_of_label(path: &str) -> u64 {
    xxh3_64(path.as_bytes())
}

impl FromStr for Partition {
    type Err = PartitionError;

    fn from_str(text: &str) -> Result<Self, PartitionError> {
        let (number, count) = text.split_once('/').ok_or(PartitionError::Form)?;
        let parse = |text: &str| text.parse().map_err(|_| PartitionError::Form);
        Partition::new(parse(number)?, parse(count)?)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_is_in_exactly_one_share_and_shares_are_alike() {
        for count in [1, 2, 3, 16, 1000] {
            let mut sizes = vec![0_u32; count as usize];
            for id in 0..20_000 {
                let position = share_position(&format!("train/images/{id}.jpg"));
                let holders: Vec<Partition> =
                    Partition::all(count).filter(|partition| partition.holds(position)).collect();
                assert_eq!(holders.len(), 1, "{id} of {count}");
                sizes[holders[0].number() as usize - 1] += 1;
            }
            let mean = 20_000.0 / f64::from(count);
            assert!(
                sizes.iter().all(|size| (f64::from(*size) - mean).abs() < 6.0 * mean.sqrt() + 1.0),
                "{sizes:?}"
            );
        }
        assert!(Partition::new(1, 1).unwrap().holds(u64::MAX));
    }

    #[test]
    fn every_piece_is_in_one_share_and_shares_are_alike() {
        for (sizes, count) in [
            (vec![], 3),
            (vec![5], 1),
            (vec![7; 1000], 2),
            ([3, 9, 4, 8, 1, 7].repeat(100), 7),
            (vec![1; 5], 16),
        ] {
            let shares: Vec<Vec<bool>> = Partition::all(count)
                .map(|partition| share_of_pieces(partition, sizes.iter().copied()))
                .collect();
            let owners: Vec<usize> = (0..sizes.len())
                .map(|piece| shares.iter().position(|share| share[piece]).unwrap())
                .collect();
            assert!(
                (0..sizes.len())
                    .all(|piece| shares.iter().filter(|share| share[piece]).count() == 1)
            );
            assert!(owners.is_sorted());
            let even = sizes.iter().sum::<u64>() as f64 / f64::from(count);
            let largest = sizes.iter().max().copied().unwrap_or(0) as f64;
            for share in &shares {
                let size: u64 = sizes
                    .iter()
                    .zip(share)
                    .filter(|(_, is_in)| **is_in)
                    .map(|(size, _)| size)
                    .sum();
                assert!((size as f64 - even).abs() <= largest, "{size} of {even}");
            }
        }
    }

    #[test]
    fn images_with_one_label_file_lie_together() {
        assert_eq!(share_position("train/images/a.jpg"), share_position("train/images/a.png"));
        assert_eq!(
            share_position("images/x/images/a.jpg"),
            share_position_of_label("images/x/labels/a.txt")
        );
    }

    #[test]
    fn shares_are_read_as_they_are_written() {
        let third: Partition = "3/16".parse().unwrap();
        assert_eq!((third.number(), third.count(), third.to_string().as_str()), (3, 16, "3/16"));
        for (text, error) in [
            ("3", PartitionError::Form),
            ("a/b", PartitionError::Form),
            ("-1/4", PartitionError::Form),
            ("0/4", PartitionError::Range),
        ] {
            assert_eq!(text.parse::<Partition>(), Err(error), "{text}");
        }
        for text in ["5/4", "1/0", "1/5000"] {
            assert_eq!(text.parse::<Partition>(), Err(PartitionError::Range), "{text}");
        }
    }
}
