use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListBuilder, Float32Array, Float32Builder,
    Int8Array, Int16Array, Int32Array, Int64Array, ListBuilder, StringArray, UInt64Array,
};
use arrow::datatypes::{
    DataType, Field, Float32Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt64Type,
};
use ossify_diagnostics::{Action, Severity};
use ossify_vocabulary::UnknownWord;

use crate::words::{ImageStatus, LeakTier, MatchKind, Shape, Split};

/// A Rust type that is a column of a table.
pub trait Cell: Sized {
    /// The column's type.
    fn data_type() -> DataType;
    /// Whether the column may hold nulls.
    const NULLABLE: bool = false;
    /// The column of these values.
    fn build<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        Self: 'a;
    /// Bytes that the value holds beside its own size.
    fn heap_bytes(&self) -> usize {
        0
    }
    /// The value at `row` of a column of [`Cell::data_type`]; the error says what the value should
    /// have been.
    fn read(column: &ArrayRef, row: usize) -> Result<Self, String>;
}

macro_rules! primitive_cell {
    ($($rust:ty, $array:ty, $arrow:ty, $data_type:expr;)*) => {$(
        impl Cell for $rust {
            fn data_type() -> DataType { $data_type }
            fn build<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
                Arc::new(<$array>::from_iter_values(values.copied()))
            }
            fn read(column: &ArrayRef, row: usize) -> Result<Self, String> {
                Ok(column.as_primitive::<$arrow>().value(row))
            }
        }
        impl Cell for Option<$rust> {
            fn data_type() -> DataType { $data_type }
            const NULLABLE: bool = true;
            fn build<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
                Arc::new(values.copied().collect::<$array>())
            }
            fn read(column: &ArrayRef, row: usize) -> Result<Self, String> {
                Ok(column.is_valid(row).then(|| column.as_primitive::<$arrow>().value(row)))
            }
        }
    )*};
}

primitive_cell! {
    i8, Int8Array, Int8Type, DataType::Int8;
    i16, Int16Array, Int16Type, DataType::Int16;
    i32, Int32Array, Int32Type, DataType::Int32;
    i64, Int64Array, Int64Type, DataType::Int64;
    u64, UInt64Array, UInt64Type, DataType::UInt64;
    f32, Float32Array, Float32Type, DataType::Float32;
}

impl Cell for bool {
    fn data_type() -> DataType {
        DataType::Boolean
    }
    fn build<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(BooleanArray::from(values.copied().collect::<Vec<_>>()))
    }
    fn read(column: &ArrayRef, row: usize) -> Result<Self, String> {
        Ok(column.as_boolean().value(row))
    }
}

impl Cell for String {
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn build<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(values))
    }
    fn heap_bytes(&self) -> usize {
        self.len()
    }
    fn read(column: &ArrayRef, row: usize) -> Result<Self, String> {
        Ok(column.as_string::<i32>().value(row).to_owned())
    }
}

impl Cell for Option<String> {
    fn data_type() -> DataType {
        DataType::Utf8
    }
    const NULLABLE: bool = true;
    fn build<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(values.map(Option::as_deref).collect::<StringArray>())
    }
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, String::len)
    }
    fn read(column: &ArrayRef, row: usize) -> Result<Self, String> {
        Ok(column.is_valid(row).then(|| column.as_string::<i32>().value(row).to_owned()))
    }
}

/// A list of numbers, such as one probability a class.
impl Cell for Vec<f32> {
    fn data_type() -> DataType {
        DataType::List(Arc::new(Field::new_list_field(DataType::Float32, false)))
    }
    fn build<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        let mut list = ListBuilder::new(Float32Builder::new())
            .with_field(Field::new_list_field(DataType::Float32, false));
        for value in values {
            list.values().append_slice(value);
            list.append(true);
        }
        Arc::new(list.finish())
    }
    fn heap_bytes(&self) -> usize {
        size_of_val(self.as_slice())
    }
    fn read(column: &ArrayRef, row: usize) -> Result<Self, String> {
        Ok(column.as_list::<i32>().value(row).as_primitive::<Float32Type>().values().to_vec())
    }
}

/// The vertices of a polygon as x, y pairs; null for a box.
impl Cell for Option<Vec<[f32; 2]>> {
    fn data_type() -> DataType {
        let pair =
            DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Float32, false)), 2);
        DataType::List(Arc::new(Field::new_list_field(pair, false)))
    }
    const NULLABLE: bool = true;
    fn build<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        let pairs = FixedSizeListBuilder::new(Float32Builder::new(), 2)
            .with_field(Field::new_list_field(DataType::Float32, false));
        let pair_type =
            DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Float32, false)), 2);
        let mut list = ListBuilder::new(pairs).with_field(Field::new_list_field(pair_type, false));
        for value in values {
            if let Some(vertices) = value {
                for vertex in vertices {
                    list.values().values().append_slice(vertex);
                    list.values().append(true);
                }
            }
            list.append(value.is_some());
        }
        Arc::new(list.finish())
    }
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, |vertices| size_of_val(vertices.as_slice()))
    }
    fn read(column: &ArrayRef, row: usize) -> Result<Self, String> {
        if column.is_null(row) {
            return Ok(None);
        }
        let pairs = column.as_list::<i32>().value(row);
        let pairs = pairs.as_fixed_size_list();
        let vertex = |i: usize| {
            let pair = pairs.value(i);
            let pair = pair.as_primitive::<Float32Type>();
            [pair.value(0), pair.value(1)]
        };
        Ok(Some((0..pairs.len()).map(vertex).collect()))
    }
}

macro_rules! word_cell {
    ($($rust:ty),*) => {$(
        impl Cell for $rust {
            fn data_type() -> DataType { DataType::Utf8 }
            fn build<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
                Arc::new(StringArray::from_iter_values(values.map(|value| value.as_str())))
            }
            fn read(column: &ArrayRef, row: usize) -> Result<Self, String> {
                let word = column.as_string::<i32>().value(row);
                word.parse().map_err(|unknown: UnknownWord| unknown.to_string())
            }
        }
    )*};
}

word_cell!(Split, ImageStatus, Shape, Severity, Action, LeakTier, MatchKind);
