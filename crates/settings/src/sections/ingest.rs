use std::collections::BTreeMap;

use crate::choice::choice;
use crate::ranges::between;
use crate::rules::RuleLevels;
use crate::schema::{Entries, table};
use crate::value::typed;

choice! {
    /// What becomes of a class that is rare in train and is not merged into another.
    RareClasses {
        /// It is not trained; its objects stay in the tables without a class index.
        Filter = "filter",
        /// It is trained like any other.
        Keep = "keep",
        /// It is trained like any other, and the run ends with exit code 3.
        Fail = "fail",
    }
}

table! {
    /// Labels to tables.
    IngestSettings {
        /// How far a coordinate may lie outside 0..1 and still be moved to the edge.
        tolerance: f64 [Output] = 0.01 => |v| between(v, 0.0, 1.0);
        /// A polygon with fewer vertices is dropped.
        min_polygon_vertices: usize [Output] = 3 => |v| between(v, 3, 1_000_000);
        /// An image with a shorter side is flagged, pixels.
        min_side_px: u32 [Output] = 10 => |v| between(v, 0, 1_000_000);
        /// A class with fewer objects in train is rare.
        min_objects_per_class: u64 [Output] = 1 => |v| between(v, 0, 1_000_000_000_000);
        /// A class in fewer images of train is rare.
        min_images_per_class: u64 [Output] = 0 => |v| between(v, 0, 1_000_000_000_000);
        /// What becomes of rare classes: "filter", "keep", or "fail", a gate: exit code 3.
        rare_classes: RareClasses [Output] = RareClasses::Filter;
        /// Gate: the largest share of label lines that may be quarantined; exit code 3 above it.
        max_quarantined_share: f64 [Nothing] = 1.0 => |v| between(v, 0.0, 1.0);
        [names] {
            /// How each rule is treated: "off", "note", "warn" (the line is kept or repaired),
            /// "error" (it is dropped), and "note+drop", "warn+drop", "error+keep".
            rules: RuleLevels [Output] = RuleLevels::names(), RuleLevels::check;
            /// Gates: the most findings of a rule; exit code 3 above it.
            max_findings: BTreeMap<String, u64> [Nothing] =
                RuleLevels::names(), |_, value| typed::<u64>(value, |_| Ok(()));
            /// Classes that are merged into another where they are rare, as in
            /// "rare class" = "other class".
            merge_rare_into: BTreeMap<String, String> [Output] =
                Vec::new(), |_, value| typed::<String>(value, |_| Ok(()));
        }
    }
}
