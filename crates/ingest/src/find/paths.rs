//! Stores long lists of paths compactly.

use std::cmp::Ordering;
use std::path::{Component, Path};

use rayon::prelude::*;

/// Paths from the dataset root with `/` separators, in one string: each takes its length plus 16
/// bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PathList {
    text: String,
    spans: Vec<(usize, usize)>,
}

impl PathList {
    /// Appends a path.
    pub fn push(&mut self, path: &str) {
        self.spans.push((self.text.len(), path.len()));
        self.text.push_str(path);
    }

    /// Appends the paths of another list.
    pub fn append(&mut self, other: PathList) {
        if self.is_empty() {
            *self = other;
            return;
        }
        let offset = self.text.len();
        self.text.push_str(&other.text);
        self.spans.extend(other.spans.into_iter().map(|(start, len)| (offset + start, len)));
    }

    /// Number of paths.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The path at this index; empty past the end.
    pub fn get(&self, at: usize) -> &str {
        self.spans.get(at).map_or("", |&span| slice(&self.text, span))
    }

    /// Sorts by bytes and removes duplicates; returns how many there were.
    pub fn sort(&mut self) -> usize {
        let PathList { text, spans } = self;
        spans.par_sort_unstable_by(|&a, &b| slice(text, a).cmp(slice(text, b)));
        let before = spans.len();
        spans.dedup_by(|a, b| slice(text, *a) == slice(text, *b));
        before - spans.len()
    }

    /// The index of a path in the sorted list.
    pub fn find(&self, path: &str) -> Option<usize> {
        self.spans.binary_search_by(|&span| slice(&self.text, span).cmp(path)).ok()
    }

    /// The number of paths that two sorted lists share, and the first of them.
    pub fn shared<'a>(&'a self, other: &PathList) -> Option<(usize, &'a str)> {
        let (mut i, mut j, mut count, mut first) = (0, 0, 0, "");
        while i < self.len() && j < other.len() {
            match self.get(i).cmp(other.get(j)) {
                Ordering::Less => i += 1,
                Ordering::Greater => j += 1,
                Ordering::Equal => {
                    if count == 0 {
                        first = self.get(i);
                    }
                    count += 1;
                    i += 1;
                    j += 1;
                }
            }
        }
        (count > 0).then_some((count, first))
    }

    /// For each path of the sorted list, whether another one differs from it only in the extension.
    pub fn stem_collisions(&self) -> Vec<bool> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.par_sort_unstable_by(|&a, &b| {
            without_extension(self.get(a)).cmp(without_extension(self.get(b)))
        });
        let mut collides = vec![false; self.len()];
        for pair in order.windows(2) {
            if without_extension(self.get(pair[0])) == without_extension(self.get(pair[1])) {
                collides[pair[0]] = true;
                collides[pair[1]] = true;
            }
        }
        collides
    }
}

fn slice(text: &str, (start, len): (usize, usize)) -> &str {
    &text[start..start + len]
}

/// The path without the extension of its file name.
pub(crate) fn without_extension(path: &str) -> &str {
    let name = path.rfind('/').map_or(0, |at| at + 1);
    match path[name..].rfind('.') {
        Some(dot) if dot > 0 => &path[..name + dot],
        _ => path,
    }
}

/// The file name of a path.
pub(crate) fn file_name(path: &str) -> &str {
    path.rfind('/').map_or(path, |at| &path[at + 1..])
}

/// The extension of a file name; empty where there is none.
pub(crate) fn extension(path: &str) -> &str {
    path.get(without_extension(path).len() + 1..).unwrap_or("")
}

/// The name of the source image that an exporter made several images from: the file name before
/// `.rf.`, or else without its extension.
pub(crate) fn source_stem(path: &str) -> &str {
    let name = file_name(path);
    match name.find(".rf.") {
        Some(at) if at > 0 => &name[..at],
        _ => without_extension(name),
    }
}

/// Joins two paths that use `/`.
pub(crate) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// A path with `/` separators and without `.` and `..`, without looking at the file system. Bytes
/// that are not UTF-8 become `\xFF` escapes; the flag says whether there were any.
pub(crate) fn normalized(path: &Path) -> (String, bool) {
    if let Some(text) = path.to_str().filter(|text| is_normal(text)) {
        return (text.to_owned(), false);
    }
    let mut parts: Vec<String> = Vec::new();
    let mut escaped = false;
    let mut root = "";
    for component in path.components() {
        match component {
            Component::CurDir | Component::Prefix(_) => {}
            Component::RootDir => root = "/",
            Component::ParentDir => match parts.last().map(String::as_str) {
                Some("..") | None if root.is_empty() => parts.push("..".into()),
                _ => {
                    parts.pop();
                }
            },
            Component::Normal(name) => parts.push(match name.to_str() {
                Some(name) => name.to_owned(),
                None => {
                    escaped = true;
                    escape(name.as_encoded_bytes())
                }
            }),
        }
    }
    (format!("{root}{}", parts.join("/")), escaped)
}

/// Whether a path is already normalised. Nearly all are, and listings are long.
pub(crate) fn is_normal(text: &str) -> bool {
    std::path::MAIN_SEPARATOR == '/'
        && !text.is_empty()
        && !text.contains("//")
        && !text.ends_with('/')
        && !text.starts_with("./")
        && !text.contains("/.")
        && text != "."
        && !text.starts_with("..")
}

fn escape(bytes: &[u8]) -> String {
    bytes
        .utf8_chunks()
        .flat_map(|chunk| {
            std::iter::once(chunk.valid().to_owned())
                .chain(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(paths: &[&str]) -> PathList {
        let mut list = PathList::default();
        paths.iter().for_each(|path| list.push(path));
        list
    }

    #[test]
    fn a_source_stem_ends_before_the_exporters_mark() {
        assert_eq!(source_stem("train/images/image1_0_png.rf.9986.jpg"), "image1_0_png");
        assert_eq!(source_stem("train/images/wrist.v2.jpg"), "wrist.v2");
        assert_eq!(source_stem(".rf.x.jpg"), ".rf.x");
    }

    #[test]
    fn sorting_removes_repetitions_and_finds() {
        let mut paths = list(&["b", "a", "b", "c"]);
        assert_eq!(paths.sort(), 1);
        assert_eq!(["a", "b", "c"], [0, 1, 2].map(|at| paths.get(at)));
        assert_eq!(paths.len(), 3);
        assert_eq!((paths.find("b"), paths.find("x")), (Some(1), None));
        assert_eq!(paths.shared(&list(&["b", "c", "d"])), Some((2, "b")));
    }

    #[test]
    fn images_that_differ_in_the_extension_alone_collide() {
        let mut paths = list(&["i/a.jpg", "i/a.k.jpg", "i/a.png", "i/b.png", "j/b.png"]);
        paths.sort();
        assert_eq!(paths.stem_collisions(), [true, false, true, false, false]);
    }

    #[test]
    fn paths_are_normalized_by_their_names() {
        let clean = |path: &str| normalized(Path::new(path)).0;
        assert_eq!(clean("./a/../b//c/."), "b/c");
        assert_eq!(clean("../a/.."), "..");
        assert_eq!(clean("../../a"), "../../a");
        assert_eq!(clean("/a/../../b"), "/b");
    }

    #[test]
    fn names_that_are_not_utf8_are_escaped() {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::OsStr::from_bytes(b"a\xffb.jpg");
        assert_eq!(normalized(Path::new(name)), ("a\\xFFb.jpg".to_owned(), true));
    }
}
