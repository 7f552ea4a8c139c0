use toml::Value;

/// What a key decides. Each key has to say it, so that a new one is not forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What is written: another value makes another output.
    Output,
    /// When a training run ends. The steps that two runs have in common are the same.
    Length,
    /// Nothing that is written: where things lie, how fast, on which device, how often state is
    /// saved.
    Nothing,
}

/// A key of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// Its name in its table.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// What it decides.
    pub effect: Effect,
    /// Its built-in value.
    pub default: Value,
    /// The value in the key's type, or why it does not fit.
    pub check: fn(&Value) -> Result<Value, String>,
}

/// A table of entries with names that are not keys, such as those of rules or classes.
#[derive(Clone, Debug)]
pub(crate) struct NamedEntries {
    /// Its name in the table around it.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// What its entries decide.
    pub effect: Effect,
    /// Its built-in entries.
    pub default: toml::Table,
    /// The names that it may have; empty where any will do.
    pub known: Vec<&'static str>,
    /// The entry's value in its type, or why it does not fit.
    pub check: fn(&str, &Value) -> Result<Value, String>,
}

/// A table of the conf file.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Its path, as in `train.loss`.
    pub path: String,
    /// Its keys, in the order of the documentation.
    pub keys: Vec<Key>,
    /// Its tables of named entries.
    pub named: Vec<NamedEntries>,
}

/// A settings struct that knows its keys.
pub(crate) trait Schema {
    /// The table at this path and those below it, in the order of the documentation.
    fn tables(path: &str) -> Vec<Table>;
}

/// Declares a table of the conf file as a struct: keys, each with its documentation, its type, what
/// it decides, its default and its range; then tables of named entries; then tables below it.
macro_rules! table {
    ($(#[doc = $table_doc:literal])* $name:ident {
        $($(#[doc = $doc:literal])* $key:ident: $type:ty [$effect:ident] = $default:expr
            $(=> $check:expr)?;)*
        $([names] {
            $($(#[doc = $named_doc:literal])* $named:ident: $named_type:ty [$named_effect:ident] =
                $known:expr, $entry_check:expr;)*
        })?
        $([tables] {
            $($(#[doc = $sub_doc:literal])* $sub:ident: $sub_type:ty;)*
        })?
    }) => {
        $(#[doc = $table_doc])*
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $doc])* pub $key: $type,)*
            $($($(#[doc = $named_doc])* pub $named: $named_type,)*)?
            $($($(#[doc = $sub_doc])* pub $sub: $sub_type,)*)?
        }

        impl Default for $name {
            fn default() -> Self {
                $name {
                    $($key: $default,)*
                    $($($named: Default::default(),)*)?
                    $($($sub: Default::default(),)*)?
                }
            }
        }

        impl $crate::schema::Schema for $name {
            fn tables(path: &str) -> Vec<$crate::schema::Table> {
                let _defaults = $name::default();
                let _below = |name: &str| match path {
                    "" => name.to_owned(),
                    path => format!("{path}.{name}"),
                };
                let tables = vec![$crate::schema::Table {
                    path: path.to_owned(),
                    keys: vec![$($crate::schema::Key {
                        name: stringify!($key),
                        doc: concat!($($doc),*).trim_ascii(),
                        effect: $crate::schema::Effect::$effect,
                        default: $crate::value::KeyValue::to_toml(&_defaults.$key),
                        check: |value| $crate::value::typed::<$type>(value, |_typed| {
                            $(let check: fn(&$type) -> Result<(), String> = $check;
                              check(_typed)?;)?
                            Ok(())
                        }),
                    },)*],
                    named: vec![$($($crate::schema::NamedEntries {
                        name: stringify!($named),
                        doc: concat!($($named_doc),*).trim_ascii(),
                        effect: $crate::schema::Effect::$named_effect,
                        default: _defaults.$named.to_entries(),
                        known: $known,
                        check: $entry_check,
                    },)*)?],
                }];
                $($(let tables = {
                    let mut tables = tables;
                    tables.extend(
                        <$sub_type as $crate::schema::Schema>::tables(&_below(stringify!($sub))),
                    );
                    tables
                };)*)?
                tables
            }
        }
    };
}
pub(crate) use table;

/// A type that holds named entries.
pub(crate) trait Entries {
    /// The entries as TOML.
    fn to_entries(&self) -> toml::Table;
}

impl<T: crate::value::KeyValue> Entries for std::collections::BTreeMap<String, T> {
    fn to_entries(&self) -> toml::Table {
        self.iter().map(|(name, value)| (name.clone(), value.to_toml())).collect()
    }
}
