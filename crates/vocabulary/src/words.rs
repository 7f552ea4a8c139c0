/// A word that is none of those that an enum has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is none of {known}")]
pub struct UnknownWord {
    /// What was written.
    pub word: String,
    /// All that there are, with commas between them.
    pub known: String,
}

/// Declares an enum whose variants are words: `ALL`, `as_str`, `description`, `FromStr`, `Display`,
/// and serde's traits, in which each variant is its word. The calling crate needs serde.
///
/// ```
/// ossify_vocabulary::words! {
///     /// How loud it is.
///     Volume {
///         /// Hardly to be heard.
///         Low = "low",
///         /// Loud.
///         High = "high",
///     }
/// }
/// assert_eq!("high".parse(), Ok(Volume::High));
/// assert_eq!("mute".parse::<Volume>().unwrap_err().to_string(), "`mute` is none of low, high");
/// assert_eq!(Volume::Low.description(), "Hardly to be heard.");
/// ```
#[macro_export]
macro_rules! words {
    ($(#[$meta:meta])* $name:ident {
        $($(#[doc = $doc:literal])* $(#[default $($default:tt)?])? $variant:ident = $word:literal,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $name {
            $($(#[doc = $doc])* $(#[default $($default)?])? #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// All of them, in the order of the documentation.
            pub const ALL: [$name; [$($word),*].len()] = [$($name::$variant),*];

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            /// What it means, in a sentence or two.
            pub fn description(self) -> &'static str {
                match self { $($name::$variant => concat!($($doc),*).trim_ascii(),)* }
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok($name::$variant),)*
                    _ => Err($crate::UnknownWord {
                        word: word.to_owned(),
                        known: [$($word),*].join(", "),
                    }),
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use crate::{Architecture, Filter, Normalization};

    #[test]
    fn a_word_is_read_as_it_is_written_by_parse_and_by_serde() {
        for filter in Filter::ALL {
            assert_eq!(filter.as_str().parse(), Ok(filter));
            let json = serde_json::to_string(&filter).unwrap();
            assert_eq!(json, format!("\"{filter}\""));
            assert_eq!(serde_json::from_str::<Filter>(&json).unwrap(), filter);
        }
        assert_eq!(format!("{:>9}|", Filter::Nearest), "  nearest|");
        assert_eq!(Normalization::default(), Normalization::ImageNet);
    }

    #[test]
    fn a_word_that_is_none_is_named_beside_those_that_are() {
        let known = "densenet121, densenet161, densenet169, densenet201, densenet-compact";
        let error = "resnet50".parse::<Architecture>().unwrap_err();
        assert_eq!(error.to_string(), format!("`resnet50` is none of {known}"));
        assert!("Bilinear".parse::<Filter>().is_err());
        assert!("".parse::<Filter>().is_err());
    }

    #[test]
    fn a_description_is_the_whole_documentation() {
        let description = Normalization::ImageNet.description();
        assert!(description.starts_with("`(pixel / 255 - mean)"), "{description}");
        assert!(description.ends_with("expect."), "{description}");
    }
}
