//! Values as they were written, with numbers as text.

use toml::de::DeValue;
use toml::{Spanned, Value};

use crate::error::ConfigError;
use crate::origin::Origin;

/// The value that a key is given. `origin_at` says where the text at an offset is.
///
/// # Errors
/// Names a number that would not be kept as it is written: too large, or so small that it would
/// become 0.
pub(crate) fn value_of(
    key: &str,
    written: &Spanned<DeValue<'_>>,
    origin_at: &dyn Fn(usize) -> Origin,
) -> Result<Value, ConfigError> {
    let refused = |number: &str, reason| ConfigError::BadNumber {
        origin: origin_at(written.span().start),
        key: key.to_owned(),
        number: number.to_owned(),
        reason,
    };
    Ok(match written.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(value) => Value::Datetime(*value),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::Integer)
            .map_err(|_| refused(&number.to_string(), WHOLE_NUMBERS))?,
        DeValue::Float(number) => {
            Value::Float(float(number.as_str()).ok_or_else(|| refused(number.as_str(), FLOATS))?)
        }
        DeValue::Array(items) => {
            let values = items.iter().map(|item| value_of(key, item, origin_at));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        DeValue::Table(content) => {
            let values = content.iter().map(|(name, value)| {
                let name = name.get_ref();
                Ok((name.to_string(), value_of(&below(key, name), value, origin_at)?))
            });
            Value::Table(values.collect::<Result<_, ConfigError>>()?)
        }
    })
}

/// The path of a key in the table at `path`.
pub(crate) fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// `None` for a finite number that would become infinite, and for another than 0 that would
/// become 0. "inf" and "nan" are numbers of TOML; ranges refuse them.
fn float(text: &str) -> Option<f64> {
    let value = text.parse::<f64>().ok()?;
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let is_zero = !mantissa.bytes().any(|digit| matches!(digit, b'1'..=b'9'));
    let is_kept = if value == 0.0 { is_zero } else { !value.is_infinite() || text.contains("inf") };
    is_kept.then_some(value)
}

const WHOLE_NUMBERS: &str =
    "whole numbers lie between -9223372036854775808 and 9223372036854775807";
const FLOATS: &str = "numbers lie between -1.7976931348623157e308 and 1.7976931348623157e308, and \
                      those next to 0 are -4.9e-324 and 4.9e-324";
