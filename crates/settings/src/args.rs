use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::ConfigError;

/// The command line that all stages share.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct StageArgs {
    /// Conf file, such as conf/demo.toml [default: none, the built-in defaults apply]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Dataset: its folder, its data.yaml, or its URL in an object store [default: dataset.path of
    /// the configuration]
    #[arg(long, value_name = "DIR")]
    pub dataset: Option<PathBuf>,
    /// Work folder, which holds the output of all stages, or its URL in an object store [default:
    /// data/work/<name of the conf file>, or data/work/default without a conf file]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Set a key of the configuration, as in --set train.epochs=10; can be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Run even if the output already exists
    #[arg(long)]
    pub force: bool,
    /// End with exit code 3 if there is any error in the data
    #[arg(long)]
    pub strict: bool,
    /// Print a summary to standard output, as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Print each key of the configuration with its value and where the value came from, and exit
    #[arg(long)]
    pub print_config: bool,
    /// Print details
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Print only errors
    #[arg(short, long)]
    pub quiet: bool,
}

impl StageArgs {
    /// The work folder: as named, or `data/work/NAME` after the conf file, `data/work/default`
    /// without one.
    ///
    /// # Errors
    /// Fails where the conf file's name is such as `...toml`, of which nothing but dots is left.
    pub(crate) fn work_folder(&self) -> Result<PathBuf, ConfigError> {
        if let Some(out) = &self.out {
            return Ok(out.clone());
        }
        let Some(config) = &self.config else { return Ok(Path::new("data/work").join("default")) };
        let name = config.file_stem().unwrap_or_default().to_string_lossy();
        if name.trim_matches('.').is_empty() {
            return Err(ConfigError::NoWorkFolder(config.clone()));
        }
        Ok(Path::new("data/work").join(name.as_ref()))
    }
}

/// A whole number on the command line, for clap's `value_parser`.
///
/// # Errors
/// Says between which numbers it should lie.
pub fn whole_number<N: FromStr + PartialOrd + Display>(
    text: &str,
    min: N,
    max: N,
) -> Result<N, String> {
    match text.parse::<N>() {
        Ok(number) if number >= min && number <= max => Ok(number),
        _ => Err(format!("it should be a whole number between {min} and {max}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conf_file_names_the_work_folder_or_is_refused() {
        let folder = |config: &str| {
            let args = StageArgs { config: Some(config.into()), ..StageArgs::default() };
            args.work_folder().map_err(|e| e.to_string())
        };
        assert_eq!(folder("conf/demo.toml"), Ok("data/work/demo".into()));
        assert_eq!(folder("conf/.toml"), Ok("data/work/.toml".into()));
        for config in ["...toml", "conf/..toml", "conf/....toml", ".."] {
            let error = folder(config).unwrap_err();
            assert!(error.contains("gives the work folder no name"), "{config}: {error}");
        }
        let args = StageArgs {
            config: Some("...toml".into()),
            out: Some("here".into()),
            ..StageArgs::default()
        };
        assert_eq!(args.work_folder().unwrap(), Path::new("here"));
    }

    #[test]
    fn a_number_that_does_not_fit_is_told_its_range() {
        assert_eq!(whole_number("24", 24_u64, 30), Ok(24));
        for text in ["nan", "", "-1", "31", "99999999999999999999"] {
            let expected = "it should be a whole number between 24 and 30".to_owned();
            assert_eq!(whole_number(text, 24_u64, 30), Err(expected), "{text}");
        }
    }
}
