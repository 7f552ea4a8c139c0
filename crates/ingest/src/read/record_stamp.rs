//! Computes the stamp of a split from its records.

use ossify_contract::Split;

use super::record::Record;
use crate::find::stamp::{STAMPED_TOGETHER, SplitStamp};

/// Yields the same stamp as [`crate::find::listing::Listing::stamp`].
pub(crate) struct RecordStamp {
    split: Split,
    whole: SplitStamp,
    part: SplitStamp,
    /// Number of images in the current group.
    images: usize,
}

impl RecordStamp {
    pub fn of(split: Split) -> Self {
        RecordStamp { split, whole: SplitStamp::of(split), part: SplitStamp::of(split), images: 0 }
    }

    pub fn add(&mut self, record: &Record) {
        match record {
            Record::Image(examined) => {
                self.part.add(&examined.stamp);
                self.images += 1;
                if self.images == STAMPED_TOGETHER {
                    self.end_part();
                }
            }
            Record::Stray(stray) => {
                self.end_part();
                if let Some(stamp) = &stray.stamp {
                    self.whole.add_orphan(stamp);
                }
            }
        }
    }

    fn end_part(&mut self) {
        if self.images > 0 {
            let part = std::mem::replace(&mut self.part, SplitStamp::of(self.split));
            self.whole.add_part(&part);
            self.images = 0;
        }
    }

    pub fn finish(mut self) -> SplitStamp {
        self.end_part();
        self.whole
    }
}
