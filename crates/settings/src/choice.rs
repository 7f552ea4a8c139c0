/// Declares an enum whose variants are words of the conf file.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $name { $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// All of them, in the order of the documentation.
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// The word in the conf file.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl $crate::value::KeyValue for $name {
            fn expected() -> String {
                format!("one of {}", [$(concat!("\"", $word, "\"")),*].join(", "))
            }

            fn from_toml(value: &toml::Value) -> Option<Self> {
                $name::ALL.iter().copied().find(|known| Some(known.as_str()) == value.as_str())
            }

            fn to_toml(&self) -> toml::Value {
                toml::Value::String(self.as_str().to_owned())
            }
        }
    };
}
pub(crate) use choice;
