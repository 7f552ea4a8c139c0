//! A folder of YOLO text files, as `yolo predict save_txt=True save_conf=True` writes them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use ossify_contract::{ArtefactError, Fingerprint, hash_file};

use crate::exchange::import::categories::Classes;
use crate::exchange::import::error::ImportError;
use crate::exchange::import::names::ImageNames;
use crate::exchange::import::rows::{
    Accepted, Imported, Reason, Unfit, box_of_shares, score, shown,
};

/// A line of six numbers has some sixty bytes.
const MAX_LINE_BYTES: u64 = 4096;

/// The text files of a folder, in order of their names; folders in it are not looked into.
pub(crate) fn text_files(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let fail = |error: io::Error| ArtefactError::io("cannot list", folder)(error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt"))
            && path.is_file()
        {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(ImportError::Empty {
            path: folder.display().to_string(),
            what: "there is no .txt file in it (Ultralytics puts them into `labels`)",
        });
    }
    Ok(files)
}

/// Adds names and contents of the files.
pub(crate) fn add_to(
    fingerprint: &mut Fingerprint,
    files: &[PathBuf],
) -> Result<(), ArtefactError> {
    for path in files {
        let name = path.file_name().unwrap_or_default();
        fingerprint.add(name.as_encoded_bytes()).add(format!("{:016x}", hash_file(path)?.1));
    }
    Ok(())
}

/// Reads files of an image each, `class x_centre y_centre width height confidence` a line, boxes in
/// shares of the image.
///
/// Most tools write no file for an image on which they found nothing. Where there is a file without
/// a line, this one did, and the files are those of all images that it looked at.
pub(crate) fn read(
    files: &[PathBuf],
    names: &ImageNames,
    classes: &Classes,
) -> Result<Imported, ImportError> {
    let mut imported = Imported::default();
    let (mut images, mut has_blank_file) = (BTreeSet::new(), false);
    for path in files {
        let file = File::open(path).map_err(ArtefactError::io("cannot open", path))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let image = names.find_text(&stem);
        images.extend(image.as_ref().ok());
        let before = imported.entries;
        read_lines(BufReader::new(file), |number, line| {
            let row = image.clone().and_then(|image| row(image, line, classes));
            imported.push(row, || format!("{}:{number}", path.display()));
        })
        .map_err(ArtefactError::io("cannot read", path))?;
        has_blank_file |= imported.entries == before;
    }
    imported.looked_at = has_blank_file.then_some(images);
    if imported.entries == 0 {
        let path = files
            .first()
            .and_then(|file| file.parent())
            .unwrap_or(Path::new(""))
            .display()
            .to_string();
        return Err(ImportError::Empty { path, what: "no file in it has a line" });
    }
    Ok(imported)
}

/// Calls `each` with number and text of every line that is not blank. Of an overlong line its
/// beginning is given.
fn read_lines(mut reader: impl BufRead, mut each: impl FnMut(u64, &str)) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == MAX_LINE_BYTES {
            reader.skip_until(b'\n')?;
        }
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            each(number, text.trim());
        }
    }
    Ok(())
}

fn row(image: u32, line: &str, classes: &Classes) -> Result<Accepted, Unfit> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let [class, box_columns @ .., confidence] = columns.as_slice() else {
        return Err(Unfit::new(Reason::BadLine, shown(line)));
    };
    let Ok(box_columns) = <[&str; 4]>::try_from(box_columns) else {
        let hint = if columns.len() == 5 {
            "; without a confidence: save it, as with save_conf=True"
        } else {
            ""
        };
        return Err(Unfit::new(Reason::BadLine, format!("{} columns{hint}", columns.len())));
    };
    let number = |text: &str| {
        text.parse::<f64>()
            .map_err(|_| Unfit::new(Reason::BadLine, format!("{} is not a number", shown(text))))
    };
    let class = number(class)?;
    if class.fract() != 0.0 || class.abs() > f64::from(i16::MAX) {
        return Err(Unfit::new(Reason::UnknownClass, format!("class {class}")));
    }
    let class_index = classes.of_id(class as i64)?;
    let mut center_and_size = [0.0; 4];
    for (value, text) in center_and_size.iter_mut().zip(box_columns) {
        *value = number(text)?;
    }
    Ok(Accepted {
        image,
        class_index,
        unit_box: box_of_shares(center_and_size)?,
        score: score(number(confidence)?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_overlong_ones_do_not_hide_the_next() {
        let mut text = b"a\n\n  \r\n\xff\n".to_vec();
        text.extend(vec![b'1'; 10_000]);
        text.extend(b"\nlast");
        let mut found = Vec::new();
        read_lines(text.as_slice(), |number, line| {
            found.push((number, line.len(), line.chars().next()))
        })
        .unwrap();
        assert_eq!(
            found,
            [(1, 1, Some('a')), (4, 3, Some('\u{fffd}')), (5, 4096, Some('1')), (6, 4, Some('l'))]
        );
    }
}
