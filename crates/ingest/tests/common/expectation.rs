//! Expectations of the corpora: a file beside each case. `OSSIFY_UPDATE_CORPUS=1` rewrites them, to
//! be reviewed before they are committed.

use std::path::Path;

/// The difference between the findings for a case and the `.expected` file beside it, if there is
/// any.
pub fn difference(case: &Path, found: &str) -> Option<String> {
    let name = case.file_stem().unwrap().to_string_lossy();
    let expectation = case.with_extension("expected");
    if std::env::var_os("OSSIFY_UPDATE_CORPUS").is_some() {
        std::fs::write(&expectation, found).unwrap();
    }
    match std::fs::read_to_string(&expectation) {
        Err(_) => Some(format!("{name}: no {name}.expected beside it")),
        Ok(expected) if expected != found => {
            Some(format!("{name}: expected\n{expected}\nfound\n{found}"))
        }
        Ok(_) => None,
    }
}
