//! Datasets that are described by a text, see `dataset_corpus.rs`.

use std::path::{Path, PathBuf};

use crate::common::Dataset;

pub fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/datasets");
    let mut cases: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// Creates the dataset that a text describes; returns its settings.
pub fn make(text: &str) -> (Dataset, Vec<String>) {
    let dataset = Dataset::new();
    let mut settings = Vec::new();
    let mut file: Option<(String, String)> = None;
    let write = |file: &mut Option<(String, String)>| {
        if let Some((path, content)) = file.take() {
            dataset.write(&path, content);
        }
    };
    for line in text.split_inclusive('\n') {
        let Some(head) =
            line.trim_end().strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --"))
        else {
            match &mut file {
                Some((_, content)) => content.push_str(line),
                None => settings.extend(
                    line.trim().strip_prefix("set ").map(|setting| format!("--set={setting}")),
                ),
            }
            continue;
        };
        write(&mut file);
        match head.split(' ').collect::<Vec<_>>()[..] {
            [path] => file = Some((path.to_owned(), String::new())),
            [path, "link", target] => {
                let link = dataset.path().join(path);
                std::fs::create_dir_all(link.parent().unwrap()).unwrap();
                std::os::unix::fs::symlink(target, link).unwrap();
            }
            [path, size, ref rest @ ..] => {
                let (width, height) = size.split_once('x').unwrap();
                dataset.image(path, width.parse().unwrap(), height.parse().unwrap());
                if rest == ["cut"] {
                    let full = dataset.path().join(path);
                    let whole = std::fs::read(&full).unwrap();
                    std::fs::write(full, &whole[..whole.len() - 9]).unwrap();
                }
            }
            _ => panic!("{line}"),
        }
    }
    write(&mut file);
    // A target for links and paths that leave the dataset.
    std::fs::write(dataset.path().join("../outside.txt"), "0 0.5 0.5 0.2 0.2\n").unwrap();
    (dataset, settings)
}
