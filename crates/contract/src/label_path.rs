/// Where the label file of an image is by YOLO's convention: the last folder called `images`
/// becomes `labels`, and the extension `.txt`. Without such a folder the label file lies beside the
/// image. Paths have `/` separators.
pub fn label_path(image: &str) -> String {
    let (folder, name) = image.rsplit_once('/').unwrap_or(("", image));
    let stem = match name.rfind('.') {
        Some(dot) if dot > 0 => &name[..dot],
        _ => name,
    };
    let mut path = labels_folder(folder).unwrap_or_else(|| folder.to_owned());
    if !path.is_empty() {
        path.push('/');
    }
    path.push_str(stem);
    path.push_str(".txt");
    path
}

/// The folder of the labels for a folder of images; `None` where no part of it is called `images`.
pub fn labels_folder(folder: &str) -> Option<String> {
    let mut end = folder.len();
    loop {
        let start = folder[..end].rfind('/').map_or(0, |at| at + 1);
        if &folder[start..end] == "images" {
            return Some(format!("{}labels{}", &folder[..start], &folder[end..]));
        }
        if start == 0 {
            return None;
        }
        end = start - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_lies_in_labels_beside_images_or_beside_the_image() {
        assert_eq!(label_path("train/images/a.b.jpg"), "train/labels/a.b.txt");
        assert_eq!(label_path("images/train/a.jpg"), "labels/train/a.txt");
        assert_eq!(label_path("images/x/images/sub/a.jpg"), "images/x/labels/sub/a.txt");
        assert_eq!(label_path("all/my-images/a.PNG"), "all/my-images/a.txt");
        assert_eq!(label_path("a.jpg"), "a.txt");
        assert_eq!(label_path("images/.hidden"), "labels/.hidden.txt");
    }
}
