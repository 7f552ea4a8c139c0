//! Columns of other tools as the types that rows have.

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;

/// The column as another type.
///
/// # Errors
/// Says which value does not fit, in which row of the table, or that no value of the type does;
/// the column is `name` and begins with the row `first_row`, from 0.
pub(crate) fn cast_column(
    column: &ArrayRef,
    to: &DataType,
    name: &str,
    first_row: u64,
) -> Result<ArrayRef, String> {
    let Some(cast) = exact(column, to) else {
        let expected = in_words(to);
        let is_castable = exact(&column.slice(0, 0), to).is_some();
        let misfit = (0..column.len())
            .find(|row| is_castable && exact(&column.slice(*row, 1), to).is_none());
        return Err(match misfit {
            Some(row) => {
                let value = array_value_to_string(column, row).unwrap_or_default();
                let row = first_row + row as u64;
                format!("column `{name}`, row {row}, from 0: {value} should be {expected}")
            }
            None => {
                let found = in_words(column.data_type());
                format!("column `{name}` is {found}, and should be {expected}")
            }
        });
    };
    Ok(cast)
}

/// The first row, from 0, without a value.
pub(crate) fn first_null(column: &ArrayRef) -> Option<usize> {
    (0..column.len()).find(|row| column.is_null(*row))
}

/// The column as another type; `None` where a value would not be the same.
fn exact(column: &ArrayRef, to: &DataType) -> Option<ArrayRef> {
    if column.data_type() == to {
        return Some(column.clone());
    }
    // A time or a text is no number, though Arrow makes one of it.
    if is_number(to) && !is_number(column.data_type()) {
        return None;
    }
    let options = CastOptions { safe: false, ..Default::default() };
    let cast = cast_with_options(column, to, &options).ok()?;
    if column.data_type().is_floating() && to.is_integer() {
        // Numbers with nulls are floating point to some tools; 0.9 is cut to 0.
        let back = cast_with_options(&cast, column.data_type(), &options).ok()?;
        if back.to_data() != column.to_data() {
            return None;
        }
    }
    Some(cast)
}

/// Whether a column of this type, or its lists, hold numbers or nothing.
fn is_number(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, value) => is_number(value),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => is_number(item.data_type()),
        kind => kind.is_numeric() || kind.is_null(),
    }
}

fn in_words(kind: &DataType) -> String {
    match kind {
        DataType::Boolean => "true or false".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Int8 => whole_number(i8::MIN, i8::MAX),
        DataType::Int16 => whole_number(i16::MIN, i16::MAX),
        DataType::Int32 => whole_number(i32::MIN, i32::MAX),
        DataType::Int64 => whole_number(i64::MIN, i64::MAX),
        DataType::UInt64 => whole_number(u64::MIN, u64::MAX),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "a number".to_owned(),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => "a time".to_owned(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => {
            format!("a list, each item {}", in_words(item.data_type()))
        }
        other => other.to_string(),
    }
}

fn whole_number(low: impl std::fmt::Display, high: impl std::fmt::Display) -> String {
    format!("a whole number from {low} to {high}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Float64Array, Int64Array, StringArray, TimestampSecondArray};

    use super::*;

    #[test]
    fn a_value_that_does_not_fit_is_named_with_its_row() {
        let cast = |column: ArrayRef, to: DataType| {
            cast_column(&column, &to, "x", 100).map(|column| column.len())
        };
        let floats = |last: f64| Arc::new(Float64Array::from(vec![Some(1.0), None, Some(last)]));
        let whole = "should be a whole number from -32768 to 32767";
        assert_eq!(cast(floats(2.0), DataType::Int16), Ok(3));
        for (value, shown) in [(0.9, "0.9"), (f64::NAN, "NaN"), (1e6, "1000000.0")] {
            let expected = format!("column `x`, row 102, from 0: {shown} {whole}");
            assert_eq!(cast(floats(value), DataType::Int16), Err(expected));
        }
        let large = Arc::new(Int64Array::from(vec![7, 1 << 40]));
        let expected = "column `x`, row 101, from 0: 1099511627776 should be a whole number from \
            -2147483648 to 2147483647";
        assert_eq!(cast(large, DataType::Int32), Err(expected.to_owned()));
    }

    #[test]
    fn texts_times_and_truths_are_no_numbers() {
        let columns: [(ArrayRef, &str); 3] = [
            (Arc::new(StringArray::from(vec!["1"])), "text"),
            (Arc::new(TimestampSecondArray::from(vec![1])), "a time"),
            (Arc::new(BooleanArray::from(vec![true])), "true or false"),
        ];
        for (column, found) in columns {
            let error = cast_column(&column, &DataType::Float32, "score", 0).unwrap_err();
            assert_eq!(error, format!("column `score` is {found}, and should be a number"));
        }
    }
}
