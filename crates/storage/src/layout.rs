//! Which command makes what lies in a work folder.

use std::path::{Component, Path};

/// What makes the file or folder at this path again, as advice that ends a sentence: the command
/// whose folder it is in.
pub fn how_to_make_again(path: &Path) -> String {
    let names: Vec<&str> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    // The innermost folder counts: a work folder may lie in one that is called like these.
    let command = (0..names.len()).rev().find_map(|at| maker_of(&names[at..]));
    match command {
        Some(command) => format!("run {command} again with --force"),
        None => "run the stage that makes it again with --force".to_owned(),
    }
}

/// The command that makes what is in a folder of a work folder.
fn maker_of(names: &[&str]) -> Option<String> {
    let command = match names {
        ["parts", stage, count, number, ..] => {
            return Some(format!("ossify-{stage} --partition {number}/{count}"));
        }
        ["tables", ..] => "ossify-ingest",
        ["shards", ..] => "ossify-resize",
        ["runs", ..] => "ossify-train",
        ["predictions", ..] => "ossify-predict",
        ["reports", "compare", ..] => "ossify-evaluate compare",
        ["reports", ..] => "ossify-evaluate",
        _ => return None,
    };
    Some(command.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_makes_a_file_is_named() {
        for (path, command) in [
            ("tables/objects.parquet", "ossify-ingest"),
            ("/cache/s3/bucket/runs/work/shards/train-00001.arrow", "ossify-resize"),
            ("runs/a/checkpoints/last/checkpoint.safetensors", "ossify-train"),
            ("predictions/a", "ossify-predict"),
            ("reports/a/valid/figures/roc.svg", "ossify-evaluate"),
            ("reports/compare/a-vs-b/valid", "ossify-evaluate compare"),
            ("work/parts/resize/4/1/manifest.json", "ossify-resize --partition 1/4"),
            ("notes/a", "the stage that makes it"),
        ] {
            let advice = how_to_make_again(Path::new(path));
            assert_eq!(advice, format!("run {command} again with --force"), "{path}");
        }
    }
}
