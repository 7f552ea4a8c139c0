//! JSON of other tools, element by element.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::exchange::import::rows::shown;

/// Numbers of a list that are kept; a box has four, one more shows that there are too many.
const MAX_KEPT: usize = 5;

/// Calls `each` with every element of a JSON array; one element at a time is in memory.
pub(crate) fn for_each<T: for<'de> Deserialize<'de>>(
    reader: impl BufRead,
    each: impl FnMut(T),
) -> serde_json::Result<()> {
    struct Elements<F, T>(F, std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>, F: FnMut(T)> DeserializeSeed<'de> for Elements<F, T> {
        type Value = ();
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_seq(self)
        }
    }

    impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Elements<F, T> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
            while let Some(element) = elements.next_element()? {
                (self.0)(element);
            }
            Ok(())
        }
    }

    let mut deserializer = serde_json::Deserializer::from_reader(lenient(reader));
    Elements(each, std::marker::PhantomData).deserialize(&mut deserializer)?;
    deserializer.end()
}

/// Reads a whole document; what `T` does not name is passed over without being kept.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(reader: impl BufRead) -> serde_json::Result<T> {
    serde_json::from_reader(lenient(reader))
}

fn lenient(reader: impl BufRead) -> impl Read {
    BufReader::new(PythonNumbers { inner: reader, ready: Vec::new(), at: 0, state: State::Between })
}

/// A value of whatever type; hostile ones take no more memory than a message about them needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Loose {
    /// Not there, or null.
    #[default]
    Missing,
    Integer(i64),
    Number(f64),
    Text(String),
    /// The first elements, and how many there are.
    List(Vec<Loose>, usize),
    /// A Boolean, an object, or a list in a list.
    Other(&'static str),
}

impl Loose {
    /// A whole number, written as one or as `3.0`.
    pub fn as_integer(&self) -> Option<i64> {
        match *self {
            Loose::Integer(value) => Some(value),
            // 2^53: beyond it, a float does not represent every integer.
            Loose::Number(value)
                if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 =>
            {
                Some(value as i64)
            }
            _ => None,
        }
    }

    /// A number.
    pub fn as_number(&self) -> Option<f64> {
        match *self {
            Loose::Integer(value) => Some(value as f64),
            Loose::Number(value) => Some(value),
            _ => None,
        }
    }
}

impl fmt::Display for Loose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loose::Missing => f.write_str("missing"),
            Loose::Integer(value) => value.fmt(f),
            Loose::Number(value) => value.fmt(f),
            Loose::Text(text) => match python_number(text) {
                Some(number) => f.write_str(number),
                None => f.write_str(&shown(text)),
            },
            Loose::List(values, count) => {
                let values: Vec<String> =
                    values.iter().take(MAX_KEPT).map(Loose::to_string).collect();
                write!(
                    f,
                    "[{}{}]",
                    values.join(", "),
                    if *count > values.len() { ", .." } else { "" }
                )
            }
            Loose::Other(what) => f.write_str(what),
        }
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor { is_nested: false })
    }
}

struct LooseVisitor {
    /// Lists in lists are passed over, however deep: a visitor within visitors would meet the limit
    /// of recursion.
    is_nested: bool,
}

impl<'de> DeserializeSeed<'de> for LooseVisitor {
    type Value = Loose;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Loose, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Loose, E> {
        Ok(Loose::Missing)
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Loose, E> {
        Ok(Loose::Other(if value { "true" } else { "false" }))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Loose, E> {
        Ok(Loose::Integer(value))
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Loose, E> {
        Ok(i64::try_from(value).map_or(Loose::Number(value as f64), Loose::Integer))
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Loose, E> {
        Ok(Loose::Number(value))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Loose, A::Error> {
        let (mut kept, mut count) = (Vec::new(), 0);
        if self.is_nested {
            while elements.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Loose::Other("a list"));
        }
        while kept.len() < MAX_KEPT {
            match elements.next_element_seed(LooseVisitor { is_nested: true })? {
                Some(element) => kept.push(element),
                None => return Ok(Loose::List(kept, count)),
            }
            count += 1;
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Loose::List(kept, count))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Loose, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Other("an object"))
    }
}

/// Turns `NaN`, `Infinity` and `-Infinity`, which Python's `json` writes and JSON does not know,
/// into strings of the same length, so that the value alone is refused and lines and columns stay
/// as they are.
struct PythonNumbers<R> {
    inner: R,
    ready: Vec<u8>,
    at: usize,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// Outside strings.
    Between,
    /// After a minus outside strings, which is held back.
    Minus,
    /// Inside a string, and whether a backslash stands before.
    Text { is_escaped: bool },
    /// Inside a number of [`PYTHON_NUMBERS`], at this byte.
    Number { number: &'static str, at: usize },
}

const PYTHON_NUMBERS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// The number that a string of [`PythonNumbers`] stood for.
fn python_number(text: &str) -> Option<&'static str> {
    PYTHON_NUMBERS.into_iter().find(|number| number.get(..number.len() - 2) == Some(text))
}

impl<R> PythonNumbers<R> {
    fn pass(&mut self, byte: u8) {
        self.state = match self.state {
            State::Text { is_escaped: true } => State::Text { is_escaped: false },
            State::Text { .. } => match byte {
                b'\\' => State::Text { is_escaped: true },
                b'"' => State::Between,
                _ => State::Text { is_escaped: false },
            },
            State::Number { number, at } => return self.pass_number(number, at, byte),
            State::Minus if byte == b'I' => {
                self.ready.extend(b"\"-");
                self.state = State::Number { number: PYTHON_NUMBERS[2], at: 2 };
                return;
            }
            State::Minus => {
                self.ready.push(b'-');
                self.state = State::Between;
                return self.pass(byte);
            }
            State::Between => match byte {
                b'"' => State::Text { is_escaped: false },
                b'-' => {
                    self.state = State::Minus;
                    return;
                }
                b'N' => return self.pass_number(PYTHON_NUMBERS[0], 0, byte),
                b'I' => return self.pass_number(PYTHON_NUMBERS[1], 0, byte),
                _ => State::Between,
            },
        };
        self.ready.push(byte);
    }

    /// A quote, all but the last two bytes of the number, and a quote.
    fn pass_number(&mut self, number: &'static str, at: usize, byte: u8) {
        let bytes = number.as_bytes();
        if bytes.get(at) != Some(&byte) {
            // No number and no JSON: serde_json says so.
            self.state = State::Between;
            return self.ready.push(byte);
        }
        let is_last = at + 1 == bytes.len();
        self.ready.push(if at == 0 || is_last { b'"' } else { bytes[at - 1] });
        self.state = if is_last { State::Between } else { State::Number { number, at: at + 1 } };
    }
}

impl<R: BufRead> Read for PythonNumbers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.ready.len() {
            self.ready.clear();
            self.at = 0;
            let chunk = self.inner.fill_buf()?.to_vec();
            if chunk.is_empty() {
                if !matches!(self.state, State::Minus) {
                    return Ok(0);
                }
                self.state = State::Between;
                self.ready.push(b'-');
                break;
            }
            chunk.iter().for_each(|byte| self.pass(*byte));
            self.inner.consume(chunk.len());
        }
        let count = buffer.len().min(self.ready.len() - self.at);
        buffer[..count].copy_from_slice(&self.ready[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(text: &str) -> serde_json::Result<Vec<Loose>> {
        // A buffer of one byte: every border of chunks is tried.
        let mut found = Vec::new();
        for_each(BufReader::with_capacity(1, text.as_bytes()), |element| found.push(element))?;
        Ok(found)
    }

    #[test]
    fn every_kind_of_value_is_an_element() {
        let found = elements(
            r#"[1, 2.5, -3, "a\"N", null, true, {"a": [1, {}]}, [1, [2], 3, 4, 5, 6, 7],
            18446744073709551615, 3.0]"#,
        )
        .unwrap();
        let words: Vec<String> = found.iter().map(Loose::to_string).collect();
        assert_eq!(
            words,
            [
                "1",
                "2.5",
                "-3",
                "`a\\\"N`",
                "missing",
                "true",
                "an object",
                "[1, a list, 3, 4, 5, ..]",
                "18446744073709552000",
                "3"
            ]
        );
        assert_eq!(
            (found[9].as_integer(), found[1].as_integer(), found[8].as_integer()),
            (Some(3), None, None)
        );
    }

    #[test]
    fn numbers_of_python_that_json_does_not_know_are_values_that_no_one_takes_for_numbers() {
        let found =
            elements("[NaN,Infinity, -Infinity,-1,\"NaN -Infinity\", {\"a\": NaN}]").unwrap();
        assert_eq!(
            found.iter().map(Loose::to_string).collect::<Vec<_>>(),
            ["NaN", "Infinity", "-Infinity", "-1", "`NaN -Infinity`", "an object"]
        );
        assert!(found[..3].iter().all(|value| value.as_number().is_none()));
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        for (text, expected) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("[1,\n 2", "EOF while parsing a list at line 2 column 2"),
            ("{\"images\": []}", "invalid type: map, expected a list at line 1 column 1"),
            ("[1] [2]", "trailing characters at line 1 column 5"),
            ("[NaN,\n NaN, ?]", "expected value at line 2 column 7"),
            ("[1e999]", "number out of range at line 1 column 7"),
            ("[-", "EOF while parsing a value at line 1 column 2"),
        ] {
            assert_eq!(
                elements(text).map_err(|error| error.to_string()),
                Err(expected.to_owned()),
                "{text}"
            );
        }
        for text in ["[Nope]", "[Infinite]", "[-Inf]", "[N", "\u{feff}[]"] {
            assert!(elements(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_deep_value_hides_no_neighbour() {
        let deep = |depth: usize| format!("[{}{}, 1]", "[".repeat(depth), "]".repeat(depth));
        let found = elements(&deep(100_000)).unwrap();
        assert_eq!(found.iter().map(Loose::to_string).collect::<Vec<_>>(), ["[a list]", "1"]);
        assert!(elements(&"[".repeat(100_000)).is_err());
    }
}
