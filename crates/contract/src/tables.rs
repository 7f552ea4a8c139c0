use std::collections::BTreeMap;

use ossify_diagnostics::{Action, Severity};
use serde::{Deserialize, Serialize};

use crate::table::table;
use crate::unit_box::UnitBox;
use crate::words::{ImageStatus, Shape, Split};

table! {
    /// One row an image.
    "images" => ImageRow checked by check_image {
        /// Path from the dataset root with `/` separators; the key everywhere.
        image_id: String,
        /// The part of the dataset.
        split: Split,
        /// Path of the label file from the dataset root, if there is one.
        label_path: Option<String>,
        /// Pixels across, after EXIF orientation; 0 where the header could not be read.
        width: i32,
        /// Pixels down, after EXIF orientation; 0 where the header could not be read.
        height: i32,
        /// Channels as stored: 1 gray, 2 gray and alpha, 3 colour, 4 colour and alpha or CMYK.
        channels: i8,
        /// `jpeg`, `png`, `bmp`, `tiff`, `webp`, `dicom`, or `unknown`.
        format: String,
        /// File size.
        bytes: i64,
        /// EXIF orientation, 1 to 8; 1 where there is none.
        exif_orientation: i8,
        /// File name before `.rf.`, else its stem: what an exporter made several images of.
        source_stem: String,
        /// What is known of the image.
        status: ImageStatus,
        /// Accepted objects.
        object_count: i32,
        /// Findings about the image and its label file.
        issue_count: i32,
    }
}

table! {
    /// One row an accepted label line.
    "objects" => ObjectRow checked by check_object {
        /// The image.
        image_id: String,
        /// The part of the dataset.
        split: Split,
        /// Line of the label file, from 1.
        line: i32,
        /// Class as in the source.
        class_id: i16,
        /// Name of the class.
        class_name: String,
        /// The id used in training; null where the class was filtered as rare.
        class_index: Option<i16>,
        /// Box or polygon.
        shape: Shape,
        /// Vertices as shares of width and height; null for boxes.
        vertices: Option<Vec<[f32; 2]>>,
        /// Left edge, share of the width.
        xmin: f32,
        /// Top edge, share of the height.
        ymin: f32,
        /// Right edge, share of the width.
        xmax: f32,
        /// Bottom edge, share of the height.
        ymax: f32,
        /// Area of the polygon or box, share of the image.
        area: f32,
        /// Whether a coordinate was moved into the image.
        repaired: bool,
    }
}

impl ObjectRow {
    /// The object's box.
    pub fn unit_box(&self) -> UnitBox {
        UnitBox::new(self.xmin, self.ymin, self.xmax, self.ymax)
    }
}

fn check_image(row: &ImageRow) -> Result<(), String> {
    let (id, width, height) = (&row.image_id, row.width, row.height);
    if width < 0 || height < 0 {
        return Err(format!("`{id}` is {width}x{height} pixels"));
    }
    Ok(())
}

fn check_object(row: &ObjectRow) -> Result<(), String> {
    let wrong =
        |reason: String| format!("object of `{}`, line {}: {reason}", row.image_id, row.line);
    row.unit_box().check().map_err(wrong)?;
    if !row.area.is_finite() || row.area < 0.0 {
        return Err(wrong(format!("the area is {}, which no box or polygon has", row.area)));
    }
    if row.vertices.iter().flatten().flatten().any(|coordinate| !coordinate.is_finite()) {
        return Err(wrong("a vertex is not at finite coordinates".to_owned()));
    }
    check_class_index(row.class_index).map_err(wrong)
}

fn check_class(row: &ClassRow) -> Result<(), String> {
    check_class_index(row.class_index).map_err(|reason| format!("`{}`: {reason}", row.class_name))
}

fn check_class_index(index: Option<i16>) -> Result<(), String> {
    match index {
        Some(index) if index < 0 => {
            Err(format!("class_index is {index}; it counts from 0, and is null without a class"))
        }
        _ => Ok(()),
    }
}

table! {
    /// One row a finding.
    "issues" => IssueRow {
        /// The part of the dataset.
        split: Split,
        /// File from the dataset root.
        path: String,
        /// Line from 1.
        line: Option<i32>,
        /// Column from 1, in characters.
        column: Option<i32>,
        /// Name of the rule.
        rule: String,
        /// How bad it is.
        severity: Severity,
        /// What was done.
        action: Action,
        /// What is wrong.
        message: String,
        /// The raw line.
        text: Option<String>,
    }
}

table! {
    /// One row a class of the dataset.
    "classes" => ClassRow checked by check_class {
        /// Class as in the source.
        class_id: i16,
        /// Name of the class.
        class_name: String,
        /// The id used in training; that of another class where this one was merged into it, null
        /// where it was filtered.
        class_index: Option<i16>,
        /// Accepted objects in train.
        train_objects: i64,
        /// Accepted objects in valid.
        valid_objects: i64,
        /// Accepted objects in test.
        test_objects: i64,
        /// Images of train with an accepted object of the class.
        train_images: i64,
        /// Images of valid with an accepted object of the class.
        valid_images: i64,
        /// Images of test with an accepted object of the class.
        test_images: i64,
        /// Whether the class is trained under its own name.
        kept: bool,
        /// Why not.
        reason: Option<String>,
    }
}

/// Where each label line of a split went: `lines = boxes + polygons + quarantined`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitLedger {
    /// Lines that are not blank.
    pub lines: u64,
    /// Accepted boxes.
    pub boxes: u64,
    /// Accepted polygons.
    pub polygons: u64,
    /// Lines left out.
    pub quarantined: u64,
    /// Accepted objects whose class was filtered as rare; counted inside boxes and polygons.
    pub rare_filtered: u64,
}

impl SplitLedger {
    /// Whether every line is accounted for.
    pub fn adds_up(&self) -> bool {
        self.lines == self.boxes + self.polygons + self.quarantined
            && self.rare_filtered <= self.boxes + self.polygons
    }
}

/// The ledger of each split: `summary.ledger` of the tables' manifest.
pub type Ledger = BTreeMap<Split, SplitLedger>;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, RecordBatch};
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::table::{Row, TableWriter, read_table};

    fn object() -> ObjectRow {
        ObjectRow {
            image_id: "a.jpg".into(),
            split: Split::Train,
            line: 7,
            class_id: 0,
            class_name: "a".into(),
            class_index: Some(0),
            shape: Shape::Box,
            vertices: None,
            xmin: 0.1,
            ymin: 0.1,
            xmax: 0.4,
            ymax: 0.4,
            area: 0.09,
            repaired: false,
        }
    }

    #[test]
    fn objects_that_cannot_be_are_refused_with_row_and_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("objects.parquet");
        let wrong = [
            (ObjectRow { xmax: f32::INFINITY, ..object() }, "not made of finite numbers"),
            (ObjectRow { ymin: f32::NAN, ..object() }, "not made of finite numbers"),
            (ObjectRow { xmin: 0.5, ..object() }, "ends before it begins"),
            (ObjectRow { xmax: 224.0, ..object() }, "are these pixels?"),
            (ObjectRow { area: -1.0, ..object() }, "the area is -1"),
            (ObjectRow { class_index: Some(-1), ..object() }, "class_index is -1"),
            (ObjectRow { vertices: Some(vec![[0.0, f32::NAN]]), ..object() }, "a vertex"),
        ];
        for (row, reason) in wrong {
            let mut writer = TableWriter::create(&path).unwrap();
            (0..9000).for_each(|_| writer.push(object()).unwrap());
            writer.push(row).unwrap();
            writer.finish().unwrap();
            let error = read_table::<ObjectRow>(&path).unwrap_err().to_string();
            assert!(error.contains("row 9000, from 0: object of `a.jpg`, line 7: "), "{error}");
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn whole_numbers_of_another_tool_may_be_floating_point_and_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("objects.parquet");
        for (index, is_whole) in [(0.0, true), (0.9, false), (-0.5, false), (1e9, false)] {
            let batch = ObjectRow::to_batch(&[object()]).unwrap();
            let schema = batch.schema();
            let position = schema.index_of("class_index").unwrap();
            let columns = schema.fields().iter().zip(batch.columns()).enumerate();
            let columns = columns.map(|(at, (field, column))| {
                let index: ArrayRef = Arc::new(Float64Array::from(vec![index]));
                (field.name().clone(), if at == position { index } else { column.clone() })
            });
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            let file = File::create(&path).unwrap();
            let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            match read_table::<ObjectRow>(&path) {
                Ok(rows) => assert!(is_whole && rows == [object()], "{index}: {rows:?}"),
                Err(error) => {
                    let error = error.to_string();
                    let reason = "column `class_index`, row 0, from 0: ";
                    assert!(!is_whole && error.contains(reason), "{error}");
                }
            }
        }
    }

    #[test]
    fn a_missing_value_and_a_column_that_is_there_twice_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("objects.parquet");
        let refused = |columns: Vec<(String, ArrayRef)>, reason: &str| {
            let columns = columns.into_iter().map(|(name, column)| (name, column, true));
            let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
            let mut writer =
                ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            let error = read_table::<ObjectRow>(&path).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        };
        let batch = ObjectRow::to_batch(&[object(), object()]).unwrap();
        let schema = batch.schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        let columns: Vec<_> = names.zip(batch.columns().iter().cloned()).collect();
        let mut twice = columns.clone();
        twice.push(columns[0].clone());
        refused(twice, "more than one column is named `image_id`; keep one");
        let mut missing = columns;
        let position = schema.index_of("xmin").unwrap();
        missing[position].1 = Arc::new(Float64Array::from(vec![Some(0.1), None]));
        refused(
            missing,
            "column `xmin`, row 1, from 0: there is no value, and each row of a table",
        );
    }
}
