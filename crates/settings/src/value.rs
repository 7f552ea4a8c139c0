use ossify_contract::Split;
use ossify_vocabulary::{
    Architecture, Channels, DeviceChoice, Filter, Geometry, Normalization, Precision,
    ShardCompression, Task,
};
use toml::Value;

use crate::ranges::SHOULD_LIE;

/// A type that a key of the configuration may have.
pub(crate) trait KeyValue: Sized {
    /// What a value has to be, to follow "it should be". `range` is that of the key, as in "between
    /// 0 and 1"; empty without one.
    fn expected(range: &str) -> String;

    /// A value outside every range that a key can have, if the type has one.
    fn out_of_range() -> Option<Self> {
        None
    }

    /// The value, or `None` where it has another type or does not fit into this one.
    fn from_toml(value: &Value) -> Option<Self>;

    /// Refuses what programs would not take as it is.
    ///
    /// # Errors
    /// Says what the value should be.
    fn check_precision(&self) -> Result<(), String> {
        Ok(())
    }

    /// The value as `--print-config` shows it and as fingerprints take it.
    fn to_toml(&self) -> Value;
}

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl KeyValue for $type {
            fn expected(range: &str) -> String {
                let max = i64::try_from(<$type>::MAX).unwrap_or(i64::MAX);
                match range {
                    "" => format!("a whole number between 0 and {max}"),
                    range => format!("a whole number {range}"),
                }
            }

            fn out_of_range() -> Option<Self> {
                Some(<$type>::MAX)
            }

            fn from_toml(value: &Value) -> Option<Self> {
                value.as_integer().and_then(|whole| whole.try_into().ok())
            }

            fn to_toml(&self) -> Value {
                Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
            }
        }
    )*};
}
whole_number!(u32, u64, usize);

/// Lets keys have enums of words.
macro_rules! word_value {
    ($($name:ty),*) => {$(
        impl $crate::value::KeyValue for $name {
            fn expected(_: &str) -> String {
                let words = Self::ALL.map(|word| format!("\"{word}\""));
                format!("one of {}", words.join(", "))
            }

            fn from_toml(value: &toml::Value) -> Option<Self> {
                value.as_str()?.parse().ok()
            }

            fn to_toml(&self) -> toml::Value {
                toml::Value::String(self.as_str().to_owned())
            }
        }
    )*};
}
pub(crate) use word_value;
word_value!(
    Architecture,
    Channels,
    Filter,
    Geometry,
    Normalization,
    Task,
    Precision,
    ShardCompression,
    Split
);

impl KeyValue for DeviceChoice {
    fn expected(_: &str) -> String {
        "\"auto\", \"cpu\", \"cuda:N\" or \"flex\"".into()
    }

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }

    fn to_toml(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl KeyValue for f64 {
    fn expected(range: &str) -> String {
        format!("a number {range}").trim_end().to_owned()
    }

    fn out_of_range() -> Option<Self> {
        Some(f64::NAN)
    }

    fn from_toml(value: &Value) -> Option<Self> {
        // 1 is a fine way to write 1.0
        value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64))
    }

    fn check_precision(&self) -> Result<(), String> {
        // Networks compute with float32, where smaller numbers are 0 or lose their digits.
        if *self != 0.0 && self.abs() < f64::from(f32::MIN_POSITIVE) {
            return Err("it should be 0, or at least 1.2e-38 in size".into());
        }
        Ok(())
    }

    fn to_toml(&self) -> Value {
        Value::Float(*self)
    }
}

impl KeyValue for bool {
    fn expected(_: &str) -> String {
        "true or false".into()
    }

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn to_toml(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl KeyValue for String {
    fn expected(_: &str) -> String {
        "text in quotes".into()
    }

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }

    fn to_toml(&self) -> Value {
        Value::String(self.clone())
    }
}

impl<T: KeyValue> KeyValue for Vec<T> {
    fn expected(range: &str) -> String {
        format!("a list in brackets, each item {}", T::expected(range))
    }

    fn out_of_range() -> Option<Self> {
        T::out_of_range().map(|value| vec![value])
    }

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(T::from_toml).collect()
    }

    fn check_precision(&self) -> Result<(), String> {
        self.iter().try_for_each(T::check_precision)
    }

    fn to_toml(&self) -> Value {
        Value::Array(self.iter().map(T::to_toml).collect())
    }
}

/// The value, checked against the range of its key.
///
/// # Errors
/// Says what the value should be.
pub(crate) fn typed<T: KeyValue>(
    value: &Value,
    check: impl Fn(&T) -> Result<(), String>,
) -> Result<Value, String> {
    let typed = T::from_toml(value).ok_or_else(|| {
        let out_of_range = T::out_of_range().and_then(|value| check(&value).err());
        let range = out_of_range.as_deref().and_then(|reason| reason.strip_prefix(SHOULD_LIE));
        format!("it should be {}", T::expected(range.unwrap_or_default()))
    })?;
    check(&typed)?;
    typed.check_precision()?;
    Ok(typed.to_toml())
}
