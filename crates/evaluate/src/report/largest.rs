//! Which classes a page has room for.

use std::cmp::Reverse;

use ossify_page::count;

/// The classes with the most objects, at most `room` of them, in order of class.
pub(crate) fn largest_classes(
    objects_of_class: impl Iterator<Item = u64>,
    room: usize,
) -> Vec<usize> {
    let mut classes: Vec<(usize, u64)> = objects_of_class.enumerate().collect();
    if classes.len() > room {
        classes.sort_by_key(|(class, objects)| (Reverse(*objects), *class));
        classes.truncate(room);
        classes.sort_unstable();
    }
    classes.into_iter().map(|(class, _)| class).collect()
}

/// A sentence about the classes that are left out, and the file that has them; empty where all are
/// shown.
pub(crate) fn left_out_sentence(shown: usize, classes: usize, file: &str) -> String {
    if shown >= classes {
        return String::new();
    }
    format!(
        "The {} of {} classes with the most objects; {file} has all.",
        count(shown as u64),
        count(classes as u64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_classes_stay_in_order_and_the_first_of_equal_ones_wins() {
        assert_eq!(largest_classes([3, 9, 0, 9, 3].into_iter(), 3), [0, 1, 3]);
        assert_eq!(largest_classes([1, 2].into_iter(), 2), [0, 1]);
    }

    #[test]
    fn what_is_left_out_is_said_only_where_something_is() {
        assert_eq!(left_out_sentence(5, 5, "report.json"), "");
        assert_eq!(
            left_out_sentence(100, 1203, "report.json"),
            "The 100 of 1,203 classes with the most objects; report.json has all."
        );
    }
}
