//! Tells from its name what a file is.

use crate::find::paths::{extension, file_name};

/// Extensions of image files, whether or not their format is supported.
const IMAGE_EXTENSIONS: [&str; 17] = [
    "jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp", "dng", "mpo", "pfm", "heic", "heif",
    "avif", "jp2", "gif", "dcm", "dicom",
];

/// Non-label text files often found beside labels, by stem.
const NON_LABEL_STEMS: [&str; 8] =
    ["classes", "readme", "license", "notes", "obj", "requirements", "labels", "changelog"];

/// Whether a file or folder is hidden, or was left behind by an archiver.
pub(super) fn is_passed_over(name: &str) -> bool {
    name.starts_with('.') || name == "__MACOSX"
}

/// Whether a file is an image, by its name.
pub(super) fn is_image_name(path: &str) -> bool {
    let extension = extension(path);
    IMAGE_EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

/// Whether a file is a label file, by its name.
pub(super) fn is_label_name(path: &str) -> bool {
    if extension(path) != "txt" {
        return false;
    }
    let name = file_name(path).to_ascii_lowercase();
    let stem = name.strip_suffix(".txt").unwrap_or(&name);
    !NON_LABEL_STEMS.iter().any(|other| {
        stem == *other || stem.strip_prefix(other).is_some_and(|rest| rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_files_that_people_put_beside_labels_are_not_labels() {
        assert!(!is_label_name("labels/classes.txt"));
        assert!(!is_label_name("labels/README.dataset.txt"));
        assert!(!is_label_name("labels/a.TXT"));
        assert!(is_label_name("labels/classes_0.txt"));
    }
}
