/// The name that is most like what was written, if one is near enough to be meant.
pub fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nearest_by(names, |name| strsim::jaro_winkler(name, written))
}

/// The path that is most like what was written, whole or in its last name.
pub(crate) fn nearest_path<'a>(
    written: &str,
    paths: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    // A short word is a little like many long ones.
    let paths = paths
        .filter(|path| strsim::normalized_damerau_levenshtein(&last(path), &last(written)) >= 0.4);
    nearest_by(paths, |path| {
        let whole = strsim::jaro_winkler(path, written);
        let of_last = 0.97 * strsim::jaro_winkler(&last(path), &last(written));
        // The whole path decides between equal names.
        whole.max(of_last + 0.01 * whole)
    })
}

fn nearest_by<'a>(
    names: impl Iterator<Item = &'a str>,
    nearness: impl Fn(&&'a str) -> f64,
) -> Option<&'a str> {
    names.max_by(|a, b| nearness(a).total_cmp(&nearness(b))).filter(|name| nearness(name) > 0.75)
}
