//! Which tables are compared, under which names, and whether they speak of the same images.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use ossify_contract::{Fingerprint, Split};
use ossify_settings::{Context, StageError};

use crate::read::sources::{Sources, plain};
use crate::read::split::SplitData;

/// Length of a folder's name, in bytes, that every file system takes, with room for more.
const LONGEST_FOLDER_NAME: usize = 160;

/// The tables, the baseline first; at least two.
pub(crate) struct ComparedTables {
    sources: Vec<(String, Sources)>,
    splits: Vec<Split>,
}

impl ComparedTables {
    /// Finds the tables and the splits that all of them have.
    ///
    /// # Errors
    /// As the stage where a table is not there or belongs to another class map; also where one
    /// table has predictions of a split and another has none.
    pub fn resolve(
        context: &Context,
        baseline: &str,
        others: &[String],
    ) -> Result<Self, StageError> {
        let wanted = std::iter::once(baseline).chain(others.iter().map(String::as_str));
        let sources = wanted
            .map(|wanted| Sources::named(context, "compare", wanted))
            .collect::<Result<Vec<_>, _>>()?;
        let named: Vec<(String, Option<PathBuf>)> = sources
            .iter()
            .map(|source| {
                let path = source
                    .predictions
                    .first()
                    .filter(|_| source.manifest.is_none())
                    .map(|(_, files)| files.predictions.clone());
                (source.id.clone(), path)
            })
            .collect();
        let tables = ComparedTables {
            sources: distinct_names(&named).into_iter().zip(sources).collect(),
            splits: Vec::new(),
        };
        let has = |source: &Sources, split: Split| {
            source.predictions.iter().any(|(there, _)| *there == split)
        };
        let mut splits: Vec<Split> = Vec::new();
        for (_, source) in &tables.sources {
            splits.extend(source.predictions.iter().map(|(split, _)| *split));
        }
        // In the order of evaluate.splits, which each source keeps.
        let order =
            |split: &Split| context.settings.evaluate.splits.iter().position(|of| of == split);
        splits.sort_by_key(order);
        splits.dedup();
        for split in &splits {
            let with = tables.sources.iter().find(|(_, source)| has(source, *split));
            let without = tables.sources.iter().find(|(_, source)| !has(source, *split));
            if let (Some((with, _)), Some((without, _))) = (with, without) {
                return Err(one_sided(with, without, *split));
            }
        }
        Ok(ComparedTables { splits, ..tables })
    }

    /// Names of the tables, all different, the baseline's first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|(name, _)| name.as_str())
    }

    /// Splits that all tables have, in the order of `evaluate.splits`.
    pub fn splits(&self) -> impl Iterator<Item = Split> {
        self.splits.iter().copied()
    }

    /// The tables with their names.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &Sources)> {
        self.sources.iter().map(|(name, source)| (name.as_str(), source))
    }

    /// `A-vs-B-vs-C`; cut, with a hash of the whole, where it is too long for a folder.
    pub fn folder_name(&self) -> String {
        let name = self.names().collect::<Vec<_>>().join("-vs-");
        if name.len() <= LONGEST_FOLDER_NAME {
            return name;
        }
        let mut hash = Fingerprint::new("compare");
        hash.add(&name);
        format!("{}-{}", &name[..name.floor_char_boundary(LONGEST_FOLDER_NAME)], hash.finish())
    }

    /// Adds all inputs of a split's comparison.
    pub fn add_to(&self, fingerprint: &mut Fingerprint, split: Split) -> Result<(), StageError> {
        for (name, source) in &self.sources {
            fingerprint.add(name);
            if let Some((_, predictions)) =
                source.predictions.iter().find(|(there, _)| *there == split)
            {
                source.add_to(fingerprint, split, predictions)?;
            }
        }
        Ok(())
    }

    /// Reads what each table predicts for a split; `None`, with a warning, where no table has a
    /// prediction of it.
    ///
    /// # Errors
    /// As the stage, also where predictions lack images; and where some tables have predictions of
    /// the split and others none.
    pub fn read(
        &self,
        context: &Context,
        split: Split,
    ) -> Result<Option<Vec<SplitData>>, StageError> {
        let mut data = Vec::with_capacity(self.sources.len());
        for (_, source) in &self.sources {
            for (_, predictions) in source.predictions.iter().filter(|(there, _)| *there == split) {
                data.push(source.read(context, split, predictions)?);
            }
        }
        // A file that somebody named holds a split or not; what a stage published as a split is
        // one, though empty.
        let lacks_split =
            |at: usize| self.sources[at].1.manifest.is_none() && data[at].predictions.is_empty();
        let (without, with): (Vec<usize>, Vec<usize>) =
            (0..data.len()).partition(|at| lacks_split(*at));
        match (with.first(), without.first()) {
            (Some(with), Some(without)) => {
                Err(one_sided(&self.sources[*with].0, &self.sources[*without].0, split))
            }
            (None, _) => {
                context.reporter.warn(format_args!(
                    "no table has predictions of the {split} split; it is not compared"
                ));
                Ok(None)
            }
            (Some(_), None) => {
                self.sources
                    .iter()
                    .zip(&data)
                    .try_for_each(|((_, source), data)| source.check_images(context, data))?;
                Ok(Some(data))
            }
        }
    }
}

fn one_sided(with: &str, without: &str, split: Split) -> StageError {
    StageError::Failed(anyhow!(
        "{with} has predictions of the {split} split and {without} has none, so they cannot be \
            compared on it; predict it for {without}, \
         or leave {split} out of evaluate.splits"
    ))
}

/// The ids, made different where several are the same: tables that somebody named by the folder
/// that they lie in, and what is still the same by a number.
fn distinct_names(tables: &[(String, Option<PathBuf>)]) -> Vec<String> {
    let repeats = |id: &String| tables.iter().filter(|(other, _)| other == id).count() > 1;
    let mut taken = BTreeSet::new();
    let mut names = Vec::with_capacity(tables.len());
    for (id, path) in tables {
        let folder = path
            .as_deref()
            .and_then(Path::parent)
            .and_then(Path::file_name)
            .filter(|_| repeats(id));
        let name = folder.map_or_else(
            || id.clone(),
            |folder| plain(&format!("{}-{id}", folder.to_string_lossy())),
        );
        let numbered = (1..)
            .map(|number| if number == 1 { name.clone() } else { format!("{name}-{number}") })
            .find(|name| !taken.contains(name));
        let name = numbered.unwrap_or(name);
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_one_name_are_told_apart_by_folder_and_number() {
        let names = |tables: &[(&str, Option<&str>)]| {
            distinct_names(
                &tables
                    .iter()
                    .map(|(id, path)| ((*id).to_owned(), path.map(PathBuf::from)))
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(names(&[("run-1", None), ("run-2", None)]), ["run-1", "run-2"]);
        assert_eq!(names(&[("run-1", None), ("run-1", None)]), ["run-1", "run-1-2"]);
        assert_eq!(
            names(&[("valid", Some("a b/valid.parquet")), ("valid", Some("c/valid.parquet"))]),
            ["a-b-valid", "c-valid"]
        );
        assert_eq!(names(&[("x", Some("x.parquet")), ("x", Some("x.parquet"))]), ["x", "x-2"]);
        assert_eq!(names(&[("x", Some("a/x.parquet")), ("y", Some("a/y.parquet"))]), ["x", "y"]);
    }
}
