//! The names of a dataset's classes.

use std::collections::{BTreeMap, HashMap};

use crate::wording::plural;

/// Names by class id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassNames {
    names: BTreeMap<i16, String>,
    /// The first id of each lower-case name, because millions of lines may name classes.
    ids: HashMap<String, i16>,
}

impl ClassNames {
    /// Names in order of ids, from 0.
    pub fn from_list<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::from_map((0..=i16::MAX).zip(names.into_iter().map(Into::into)).collect())
    }

    /// Names by arbitrary ids.
    pub fn from_map(names: BTreeMap<i16, String>) -> Self {
        let mut ids = HashMap::with_capacity(names.len());
        for (id, name) in &names {
            ids.entry(name.to_ascii_lowercase()).or_insert(*id);
        }
        ClassNames { names, ids }
    }

    /// The classes with other names, in order of ids; `None` if the number of names differs.
    pub fn renamed(&self, names: &[String]) -> Option<Self> {
        let ids = self.names.keys().copied();
        (names.len() == self.names.len())
            .then(|| Self::from_map(ids.zip(names.iter().cloned()).collect()))
    }

    /// Whether there is a class with this id.
    pub fn contains(&self, id: i16) -> bool {
        self.names.contains_key(&id)
    }

    /// The class's name.
    pub fn name(&self, id: i16) -> &str {
        self.names.get(&id).map_or("", String::as_str)
    }

    /// The id of the class with this name, ignoring case.
    pub fn id_of(&self, name: &str) -> Option<i16> {
        self.ids.get(&name.to_ascii_lowercase()).copied()
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Ids and names in order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (i16, &str)> {
        self.names.iter().map(|(id, name)| (*id, name.as_str()))
    }

    /// Two ids that share a name, if there are any.
    pub fn shared_name(&self) -> Option<(i16, i16, &str)> {
        let mut seen = BTreeMap::new();
        self.iter().find_map(|(id, name)| seen.insert(name, id).map(|earlier| (earlier, id, name)))
    }

    /// The range of ids, as a clause.
    pub(crate) fn extent(&self) -> String {
        match (self.names.first_key_value(), self.names.last_key_value()) {
            (Some((first, _)), Some((last, _))) => format!(
                "the dataset has {}, ids {first} to {last}",
                plural(self.len() as u64, "class", "classes")
            ),
            _ => "the dataset has no classes".to_owned(),
        }
    }
}
