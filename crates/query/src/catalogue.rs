use std::path::{Path, PathBuf};

use ossify_contract::{
    ArtefactError, FileEntry, Manifest, Split, WorkFolder, image_predictions_file,
    predictions_file, read_latest,
};
use polars::prelude::{DataFrame, LazyFrame, PlRefPath, PolarsError, ScanArgsParquet};
use polars::sql::{SQLContext, extract_table_identifiers};

use crate::error::{QueryError, is_of_a_file, polars_reason};
use crate::guarded::guarded;

/// Every table that SQL can name, and what makes it.
const TABLES: [(&str, &str); 9] = [
    ("images", "make ingest"),
    ("objects", "make ingest"),
    ("issues", "make ingest"),
    ("classes", "make ingest"),
    ("fingerprints", "make resize"),
    ("leaks", "make resize"),
    ("predictions", "make predict"),
    ("image_predictions", "make predict"),
    ("matches", "make evaluate"),
];

/// Functions of polars that read a file as a table.
const FILE_READERS: [&str; 4] = ["read_csv", "read_parquet", "read_ipc", "read_json"];

/// The tables of a work folder, as far as they were made.
pub struct Catalogue {
    tables: Vec<Table>,
    root: PathBuf,
}

/// A table that SQL can name; it can lie in several files, one a split.
pub struct Table {
    /// Its name in SQL.
    pub name: &'static str,
    files: Vec<(PathBuf, FileEntry)>,
    /// The folders of the outputs that it is part of, whether or not they are whole.
    folders: Vec<PathBuf>,
}

/// The manifest of an output: damage is the concern of whoever names one of its tables.
type FoundManifest = Result<Manifest, ArtefactError>;

/// The manifest in a folder, if there is one.
fn manifest_in(folder: &Path) -> Option<FoundManifest> {
    Manifest::read(folder).transpose()
}

impl Table {
    fn of(
        name: &'static str,
        folder: &Path,
        manifest: &FoundManifest,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Self {
        let of_manifest = |manifest: &Manifest| {
            let files = manifest.files.iter().filter(|file| is_wanted(&file.path));
            files.map(|file| (folder.to_path_buf(), file.clone())).collect::<Vec<_>>()
        };
        let files = manifest.as_ref().map(of_manifest);
        let is_there = files.as_ref().map_or(true, |files| !files.is_empty());
        Table {
            name,
            files: files.unwrap_or_default(),
            folders: is_there.then(|| folder.to_path_buf()).into_iter().collect(),
        }
    }

    fn add(&mut self, further: Table) {
        self.files.extend(further.files);
        self.folders.extend(further.folders);
    }

    /// Checks that its files are there with their sizes.
    fn require(&self) -> Result<(), QueryError> {
        for folder in &self.folders {
            if let Some(manifest) = manifest_in(folder).transpose()? {
                let files = self.files.iter().filter(|(of, _)| of == folder);
                manifest.require_files(folder, files.map(|(_, file)| file))?;
            }
        }
        Ok(())
    }

    /// Rows, where every file's manifest says them.
    pub fn rows(&self) -> Option<u64> {
        self.files.iter().map(|(_, file)| file.rows).sum()
    }

    /// Names and polars types of the columns.
    ///
    /// # Errors
    /// Fails where a file is missing, has another size than its manifest says, or cannot be read.
    pub fn columns(&self) -> Result<Vec<(String, String)>, QueryError> {
        self.require()?;
        let schema = self.scan()?.collect_schema().map_err(|e| self.unreadable(e))?;
        Ok(schema.iter().map(|(name, kind)| (name.to_string(), kind.to_string())).collect())
    }

    fn scan(&self) -> Result<LazyFrame, QueryError> {
        let path = |(folder, file): &(PathBuf, FileEntry)| {
            PlRefPath::try_from_pathbuf(folder.join(&file.path)).map_err(|e| self.unreadable(e))
        };
        let paths = self.files.iter().map(path).collect::<Result<Vec<_>, _>>()?;
        // A folder's name may well hold a bracket or a star.
        LazyFrame::scan_parquet_files(
            paths.into_iter().collect(),
            ScanArgsParquet { glob: false, ..Default::default() },
        )
        .map_err(|e| self.unreadable(e))
    }

    /// Reads every value.
    fn read_all(&self, rows: LazyFrame) -> Result<(), QueryError> {
        rows.collect().map(drop).map_err(|e| self.unreadable(e))
    }

    fn verify(&self) -> Result<(), QueryError> {
        self.files
            .iter()
            .try_for_each(|(folder, file)| file.verify(folder))
            .map_err(QueryError::from)
    }

    fn unreadable(&self, error: PolarsError) -> QueryError {
        let (folder, file) = self
            .files
            .first()
            .map(|(folder, file)| (folder.clone(), file.path.clone()))
            .unwrap_or_default();
        let reason = if is_of_a_file(&error) {
            "cannot be read as a Parquet table".to_owned()
        } else {
            format!("cannot be read as a table: {}", polars_reason(&error))
        };
        let reason = format!("{reason}; run the stage that makes it again with --force");
        ArtefactError::corrupt(folder.join(file), reason).into()
    }
}

impl Catalogue {
    /// Finds the tables of a work folder: those of ingest and resize, the newest predictions of all
    /// splits, and the matches of the report on them, or of the newest report.
    ///
    /// A table that is lost or damaged is one of them until a query names it.
    ///
    /// # Errors
    /// [`QueryError::NoTables`] if there are no tables; [`QueryError::Artefact`] where it cannot be
    /// read which outputs are the newest.
    pub fn open(work: &WorkFolder) -> Result<Self, QueryError> {
        let mut tables = Vec::new();
        if let Some(manifest) = manifest_in(&work.tables()) {
            for name in ["images", "objects", "issues", "classes"] {
                let is_wanted = |path: &str| path == format!("{name}.parquet");
                tables.push(Table::of(name, &work.tables(), &manifest, is_wanted));
            }
        }
        if let Some(manifest) = manifest_in(&work.shards()) {
            for name in ["fingerprints", "leaks", "issues"] {
                let is_wanted = |path: &str| path == format!("{name}.parquet");
                let table = Table::of(name, &work.shards(), &manifest, is_wanted);
                // What ingest found in headers and resize found behind them is one table.
                match tables.iter_mut().find(|table| table.name == name) {
                    Some(of_ingest) => of_ingest.add(table),
                    None => tables.push(table),
                }
            }
        }
        let predictions = read_latest(&work.predictions())?;
        if let Some(id) = &predictions {
            let folder = work.predictions().join(id);
            if let Some(manifest) = manifest_in(&folder) {
                let is_of_images = |path: &str| path.ends_with(&image_predictions_file(""));
                let is_of_objects =
                    |path: &str| path.ends_with(&predictions_file("")) && !is_of_images(path);
                tables.push(Table::of("predictions", &folder, &manifest, is_of_objects));
                tables.push(Table::of("image_predictions", &folder, &manifest, is_of_images));
            }
        }
        if let Some(id) = read_latest(&work.reports())?.or(predictions) {
            let mut matches = Table { name: "matches", files: Vec::new(), folders: Vec::new() };
            for split in [Split::Train, Split::Valid, Split::Test] {
                let folder = work.reports().join(&id).join(split.as_str());
                if let Some(manifest) = manifest_in(&folder) {
                    let is_wanted = |path: &str| path == "matches.parquet";
                    matches.add(Table::of("matches", &folder, &manifest, is_wanted));
                }
            }
            tables.push(matches);
        }
        tables.retain(|table| !table.folders.is_empty());
        if tables.is_empty() {
            return Err(QueryError::NoTables(work.root().to_path_buf()));
        }
        Ok(Catalogue { tables, root: work.root().to_path_buf() })
    }

    /// The tables that are there.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The work folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Tables that are not there, with what makes them.
    pub fn missing(&self) -> Vec<(&'static str, &'static str)> {
        TABLES
            .into_iter()
            .filter(|(name, _)| self.tables.iter().all(|table| table.name != *name))
            .collect()
    }

    /// Runs one SQL query. The hashes of the tables that it names are checked first.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn query(&self, sql: &str) -> Result<DataFrame, QueryError> {
        let sql_error = |error: PolarsError| QueryError::Sql(polars_reason(&error));
        let named = guarded(|| extract_table_identifiers(sql, false, true))
            .map_err(QueryError::Engine)?
            .map_err(sql_error)?;
        let reads_file = |name: &&String| {
            FILE_READERS.iter().any(|reader| name.eq_ignore_ascii_case(reader)) && !self.has(name)
        };
        if let Some(reader) = named.iter().find(reads_file) {
            return Err(QueryError::ReadsFile(reader.clone()));
        }
        let mut context = SQLContext::new();
        for table in &self.tables {
            if named.iter().any(|name| name.eq_ignore_ascii_case(table.name)) {
                table.require()?;
                table.verify()?;
                table.columns()?;
                context.register(table.name, table.scan()?);
            } else if let Ok(rows) = table.scan() {
                context.register(table.name, rows);
            }
        }
        let answer = guarded(|| context.execute(sql).and_then(LazyFrame::collect))
            .map_err(QueryError::Engine)?;
        answer.map_err(|error| {
            let is_damaged = |table: &&Table| {
                named.iter().any(|name| name.eq_ignore_ascii_case(table.name))
                    && table.scan().and_then(|rows| table.read_all(rows)).is_err()
            };
            if is_of_a_file(&error)
                && let Some(table) = self.tables.iter().find(is_damaged)
            {
                return table.unreadable(error);
            }
            match named
                .iter()
                .find(|name| !self.has(name) && error.to_string().contains(&format!("'{name}'")))
            {
                Some(name) => QueryError::UnknownTable { name: name.clone(), known: self.known() },
                None => sql_error(error),
            }
        })
    }

    fn has(&self, name: &str) -> bool {
        self.tables.iter().any(|table| table.name == name)
    }

    fn known(&self) -> String {
        let here: Vec<_> = self.tables.iter().map(|table| table.name).collect();
        let missing: Vec<_> = self
            .missing()
            .into_iter()
            .map(|(name, made_by)| format!("{name} ({made_by})"))
            .collect();
        let mut text = format!("here are {}", here.join(", "));
        if !missing.is_empty() {
            text.push_str(&format!("; not made yet: {}", missing.join(", ")));
        }
        text
    }
}
