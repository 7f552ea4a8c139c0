//! `ossify-query` as people call it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use ossify_contract::{FileEntry, Manifest, PredictionRow, WorkFolder, read_latest, read_table};
use tempfile::TempDir;

/// A work folder whose name polars must not take for a pattern.
fn work() -> (TempDir, WorkFolder) {
    let folder = TempDir::new().unwrap();
    let work = WorkFolder::new(folder.path().join("work [1]*"));
    (folder, work)
}

fn query(work: &WorkFolder, args: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("ossify-query")
        .unwrap()
        .arg("--out")
        .arg(work.root())
        .args(args)
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn an_answer_is_a_table_for_people() {
    let (_folder, work) = work();
    support::write_all(&work);
    let (code, text, errors) = query(
        &work,
        &["SELECT class_name, COUNT(*) AS objects, AVG(area) AS area FROM objects GROUP BY \
                class_name ORDER BY 1"],
    );
    assert_eq!((code, errors.as_str()), (0, ""));
    let lines = [
        "class_name  objects    area",
        "----------  -------  ------",
        "elbow             2  0.0275",
        "humerus           1  0.0400",
        "wrist             2  0.1800",
        "(3 rows)",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), lines);
}

#[test]
fn nothing_in_a_table_steers_the_terminal() {
    let (_folder, work) = work();
    support::write_tables(&work);
    let (code, text, _) = query(&work, &["SELECT text FROM issues LIMIT 1"]);
    assert_eq!(code, 0);
    assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}"), "{text}");
}

#[test]
fn csv_json_and_parquet_hold_the_same_rows() {
    let (folder, work) = work();
    support::write_all(&work);
    let sql = "SELECT * FROM predictions ORDER BY score";
    let (code, json, _) = query(&work, &[sql, "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, json.as_array().unwrap().len()), (0, 2));
    assert_eq!(json[1]["probabilities"], serde_json::json!([0.75, 0.25]));
    let path = folder.path().join("answer.parquet");
    assert_eq!(query(&work, &[sql, "--output", path.to_str().unwrap()]).0, 0);
    let rows: Vec<PredictionRow> = read_table(&path).unwrap();
    assert_eq!(rows[1].probabilities, [0.75, 0.25]);
    let (code, csv, _) = query(
        &work,
        &["SELECT image_id, score FROM predictions ORDER BY score", "--format", "csv"],
    );
    assert_eq!(
        (code, csv.as_str()),
        (0, "image_id,score\nvalid/images/c.jpg,0.375\nvalid/images/a.rf.3.jpg,0.75\n")
    );
    let (code, _, errors) = query(&work, &[sql, "--format", "csv"]);
    assert_eq!(code, 2);
    assert!(errors.contains("`probabilities` holds lists, which CSV cannot"), "{errors}");
}

#[test]
fn only_the_tables_that_a_query_names_are_needed() {
    let (_folder, work) = work();
    support::write_all(&work);
    fs::remove_file(work.shards().join("fingerprints.parquet")).unwrap();
    fs::write(work.tables().join("objects.parquet"), "half").unwrap();
    let count = |table: &str| query(&work, &[&format!("SELECT COUNT(*) FROM {table}")]);
    for table in ["images", "predictions", "issues", "matches"] {
        let (code, _, errors) = count(table);
        assert_eq!((code, errors.as_str()), (0, ""), "{table}");
    }
    for (table, command) in [("fingerprints", "ossify-resize"), ("objects", "ossify-ingest")] {
        let (code, _, errors) = count(table);
        let advice = format!("run {command} again with --force");
        assert!(code == 1 && errors.contains(table) && errors.contains(&advice), "{errors}");
    }
    fs::write(work.shards().join("manifest.json"), "{").unwrap();
    assert_eq!(count("images").0, 0);
    for table in ["fingerprints", "issues"] {
        let (code, _, errors) = count(table);
        assert!(code == 1 && errors.contains("manifest.json"), "{table}: {errors}");
    }
    let joined =
        "SELECT COUNT(*) FROM images WHERE image_id IN (SELECT image_id FROM fingerprints)";
    assert_eq!(query(&work, &[joined]).0, 1);
}

#[test]
fn a_query_in_a_file_is_run() {
    let (_folder, work) = work();
    support::write_tables(&work);
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/sql/filtered_classes.sql");
    let (code, text, _) = query(&work, &["--file", file.to_str().unwrap()]);
    assert!(code == 0 && text.contains("humerus"), "{text}");
    assert_eq!(query(&work, &["--file", "nowhere.sql"]).0, 2);
}

#[test]
fn the_tables_are_listed_with_rows_columns_and_what_is_not_there_yet() {
    let (_folder, work) = work();
    support::write_tables(&work);
    let (code, text, _) = query(&work, &["--tables"]);
    assert_eq!(code, 0);
    for part in [
        "images, 5 rows",
        "image_id               str",
        "class_index            i16",
        "predictions: not there yet (make predict)",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    support::write_all(&work);
    let listed = query(&work, &["--tables"]).1;
    for part in ["\npredictions, 2 rows", "\nimage_predictions, 2 rows", "\nmatches, 3 rows"] {
        assert!(listed.contains(part), "{part} is missing in:\n{listed}");
    }
}

#[test]
fn issues_of_labels_and_of_pictures_are_one_table() {
    let (_folder, work) = work();
    support::write_tables(&work);
    support::write_issues_of_shards(&work);
    assert!(query(&work, &["--tables"]).1.contains("issues, 4 rows"));
    let (code, found, errors) = query(
        &work,
        &[
            "SELECT path FROM issues WHERE rule = 'image-unreadable' ORDER BY path",
            "--format",
            "csv",
        ],
    );
    assert_eq!((code, found.lines().count()), (0, 3), "{found}{errors}");
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let (_folder, work) = work();
    let (code, _, errors) = query(&work, &["SELECT 1"]);
    assert!(code == 1 && errors.contains("make ingest"), "{errors}");
    support::write_tables(&work);
    let (code, _, errors) = query(&work, &["SELECT * FROM picture"]);
    assert!(
        code == 2
            && errors.contains(
                "no table `picture`; here are images, objects, issues, \
            classes; not made yet: fingerprints (make resize)"
            ),
        "{errors}"
    );
    let (code, _, errors) = query(&work, &["SELECT * FROM predictions"]);
    assert!(code == 2 && errors.contains("predictions (make predict)"), "{errors}");
    for (sql, words) in [
        ("SELECT nothing FROM images", "nothing"),
        ("SELECT MEDIUM(width) FROM images", "medium"),
        ("SELECT width + nothing FROM images", "nothing"),
        ("SELECT CAST(nothing AS INTEGER) FROM images", "nothing"),
        ("SELEC", ""),
        ("SELECT * FROM images WHERE", ""),
        ("", ""),
    ] {
        let (code, _, errors) = query(&work, &[sql]);
        let is_told = errors.starts_with("error: cannot answer this query: ")
            && errors.contains("ossify-query --tables")
            && errors.to_lowercase().contains(words);
        assert!(code == 2 && is_told, "{sql}: {code} {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        for leak in ["Resolved plan", "DF [", "polars", "SQLInterface"] {
            assert!(!errors.contains(leak), "{errors}");
        }
    }
    assert_eq!(query(&work, &[]).0, 2);
    let (code, _, errors) = query(&work, &["--config", "nowhere.toml", "SELECT 1"]);
    assert_eq!((code, errors.matches("No such file").count()), (2, 1), "{errors}");
}

#[test]
fn an_altered_table_is_not_read_however_a_query_names_it() {
    let (_folder, work) = work();
    support::write_all(&work);
    let mut folders = vec![work.tables(), work.shards()];
    for (folder, below) in [(work.predictions(), ""), (work.reports(), "valid")] {
        folders.push(folder.join(read_latest(&work.predictions()).unwrap().unwrap()).join(below));
    }
    let mut altered = Vec::new();
    for folder in folders {
        for file in &Manifest::open(&folder, "").unwrap().files {
            let stem = file.path.trim_end_matches(".parquet");
            let table = match folder.starts_with(work.predictions()) {
                true if stem.ends_with(".images") => "image_predictions",
                true => "predictions",
                false => stem,
            };
            let path = folder.join(&file.path);
            let whole = fs::read(&path).unwrap();
            let mut flipped = whole.clone();
            flipped[whole.len() / 2] ^= 1;
            fs::write(&path, &flipped).unwrap();
            for sql in [
                format!("SELECT COUNT(*) FROM {table}"),
                format!("SELECT COUNT(*) FROM \"{table}\""),
                format!("SELECT COUNT(*) FROM (SELECT * FROM {}) AS a", table.to_uppercase()),
                format!("WITH a AS (SELECT * FROM {table}) SELECT COUNT(*) FROM a"),
                format!("SELECT COUNT(*) FROM {table} AS a CROSS JOIN {table} AS b"),
            ] {
                let (code, text, errors) = query(&work, &[&sql]);
                assert!(code == 1 && text.is_empty(), "{sql}: {code} {text}");
                assert!(errors.contains("not the bytes that manifest.json says"), "{errors}");
            }
            let other = if table == "images" { "objects" } else { "images" };
            let (code, _, errors) = query(&work, &[&format!("SELECT COUNT(*) FROM {other}")]);
            assert_eq!(code, 0, "a query that does not name {table} does not mind: {errors}");
            fs::write(&path, &whole).unwrap();
            altered.push(table.to_owned());
        }
    }
    for table in [
        "images",
        "objects",
        "issues",
        "classes",
        "fingerprints",
        "predictions",
        "image_predictions",
        "matches",
    ] {
        assert!(altered.iter().any(|found| found == table), "{table}: {altered:?}");
    }
}

/// A table of another tool, which the manifest names as it is.
#[test]
fn a_damaged_table_is_named_with_exit_code_1() {
    let (_folder, work) = work();
    support::write_tables(&work);
    let path = work.tables().join("objects.parquet");
    let whole = fs::read(&path).unwrap();
    let mut page = whole.clone();
    page[4..60].fill(0xff);
    for content in [&b""[..], &whole[..whole.len() / 2], b"text", &page] {
        fs::write(&path, content).unwrap();
        let manifest = Manifest::require(&work.tables(), "").unwrap();
        let old = manifest.file("objects.parquet").unwrap().clone();
        let new = FileEntry::of(&work.tables(), "objects.parquet", old.rows).unwrap();
        let text = fs::read_to_string(work.tables().join("manifest.json")).unwrap();
        let bytes = |entry: &FileEntry| format!("\"bytes\": {},", entry.bytes);
        let text = text.replace(&bytes(&old), &bytes(&new)).replace(&old.xxh3, &new.xxh3);
        fs::write(work.tables().join("manifest.json"), text).unwrap();
        let (code, answer, errors) = query(
            &work,
            &["SELECT * FROM objects JOIN images USING \
            (image_id)"],
        );
        let expected = format!(
            "error: {}: cannot be read as a Parquet table; run the stage that makes it again with \
             --force\n",
            path.display()
        );
        assert_eq!((code, answer.as_str(), errors), (1, "", expected));
    }
}

#[test]
fn what_the_engine_cannot_run_is_an_error_in_words_and_no_panic() {
    let (folder, work) = work();
    support::write_tables(&work);
    let csv = folder.path().join("dates.csv");
    fs::write(&csv, "day,number\n2024-01-02,1\n").unwrap();
    let read = |reader: &str| format!("SELECT * FROM {reader}('{}')", csv.display());
    for (sql, reason) in [
        (
            "SELECT INTERVAL '1 zz'".to_owned(),
            "the SQL engine cannot run this query; its words: unit: 'zz' not supported",
        ),
        (String::new(), "cannot answer this query: it should be one statement, and is none"),
        ("SELECT 1; SELECT 2".to_owned(), "cannot answer this query: it should be one statement"),
        (
            "INSERT INTO images VALUES (1)".to_owned(),
            "cannot answer this query: only statements that read tables can be run; ",
        ),
        (
            "SELECT COUNT(*) FROM images WHERE image_id ~ '('".to_owned(),
            "cannot answer this query: a regular expression in it cannot be understood",
        ),
        (read("read_csv"), "`read_csv` reads a file, and a query reads the tables"),
        (read("READ_Parquet"), "`READ_Parquet` reads a file"),
        (format!("SELECT * FROM images, ({}) AS f", read("read_json")), "`read_json` reads a file"),
        (format!("WITH f AS ({}) SELECT * FROM f", read("read_ipc")), "`read_ipc` reads a file"),
    ] {
        let (code, text, errors) = query(&work, &[&sql]);
        assert_eq!((code, text.as_str(), errors.lines().count()), (2, "", 1), "{sql}: {errors}");
        assert!(errors.starts_with(&format!("error: {reason}")), "{sql}: {errors}");
    }
    let file = folder.path().join("latin.sql");
    fs::write(&file, b"SELECT 1 -- \xe9").unwrap();
    let (code, _, errors) = query(&work, &["--file", file.to_str().unwrap()]);
    assert!(code == 2 && errors.contains("latin.sql:1:13: the byte 0xe9 is not"), "{errors}");
}

#[test]
fn an_answer_that_cannot_be_written_is_exit_code_1_wherever_it_goes() {
    use std::os::unix::fs::{FileTypeExt as _, symlink};
    let (folder, work) = work();
    support::write_all(&work);
    let sql = "SELECT class_name FROM objects ORDER BY 1";
    let binary = env!("CARGO_BIN_EXE_ossify-query");
    for args in [&[sql][..], &["--tables"], &[sql, "--format", "csv"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = std::process::Command::new(binary);
        command.arg("--out").arg(work.root()).args(args).stdout(full);
        assert_eq!(command.status().unwrap().code(), Some(1), "{args:?}");
    }
    let (code, _, errors) = query(&work, &[sql, "--output", "/dev/full"]);
    assert_eq!(code, 1, "{errors}");
    assert!(fs::metadata("/dev/full").unwrap().file_type().is_char_device());

    let (file, link) = (folder.path().join("answer.csv"), folder.path().join("link.csv"));
    fs::write(&file, "").unwrap();
    symlink(&file, &link).unwrap();
    assert_eq!(query(&work, &[sql, "--output", link.to_str().unwrap()]).0, 0);
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert!(fs::read_to_string(&file).unwrap().starts_with("class_name\n"));
    assert_eq!(query(&work, &["--file", "nowhere.sql"]).0, 2);
}
