use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A user's own access to Kaggle. Neither form is ever printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// User name and key, as in `kaggle.json`.
    Key {
        /// Name of the account.
        username: String,
        /// The legacy API key.
        key: String,
    },
    /// An API token.
    Token(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credentials::Key { .. } => "Key(..)",
            Credentials::Token(_) => "Token(..)",
        })
    }
}

impl Credentials {
    /// The value of the `Authorization` header.
    pub fn authorization(&self) -> String {
        match self {
            Credentials::Key { username, key } => {
                format!("Basic {}", STANDARD.encode(format!("{username}:{key}")))
            }
            Credentials::Token(token) => format!("Bearer {token}"),
        }
    }
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// None of the usual sources has any.
    #[error("no Kaggle key found (looked at the environment, {}, and \
        {})", env_file.display(), list(key_files))]
    NotFound {
        /// The `.env` file looked for.
        env_file: PathBuf,
        /// The key files looked for.
        key_files: Vec<PathBuf>,
    },
    /// A user name without a key, or the other way round.
    #[error("{origin} has {has} and lacks {lacks}; set both")]
    Half {
        /// The environment, or a file.
        origin: String,
        /// The one that is set.
        has: &'static str,
        /// The one that is not.
        lacks: &'static str,
    },
    /// A variable of the environment is not text.
    #[error("the value of the environment variable {name} is not UTF-8; set it again, or unset it")]
    NotUtf8 {
        /// Its name.
        name: &'static str,
    },
    /// A file is there and cannot be used.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

const TOKEN: &str = "KAGGLE_API_TOKEN";
const USERNAME: &str = "KAGGLE_USERNAME";
const KEY: &str = "KAGGLE_KEY";

/// Looks for the user's key: `KAGGLE_API_TOKEN`, or `KAGGLE_USERNAME` and `KAGGLE_KEY`, in the
/// environment, then in `folder/.env`; then `kaggle.json` or `access_token` in `KAGGLE_CONFIG_DIR`,
/// `~/.kaggle` or `~/.config/kaggle`.
///
/// # Errors
/// See [`CredentialsError`].
pub fn find_credentials(
    folder: &Path,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Credentials, CredentialsError> {
    let variable = |name: &'static str| {
        environment(name)
            .map(|value| value.into_string().map_err(|_| CredentialsError::NotUtf8 { name }))
            .transpose()
    };
    if let Some(found) = from_variables("the environment", &variable)? {
        return Ok(found);
    }
    let env_file = folder.join(".env");
    if let Some(text) = read(&env_file)? {
        let variables = parse_env_file(&text);
        if let Some(found) = from_variables(&env_file.display().to_string(), &|name| {
            Ok(variables.get(name).cloned())
        })? {
            return Ok(found);
        }
    }
    let home = environment("HOME").map(PathBuf::from);
    let config_folders = match environment("KAGGLE_CONFIG_DIR").filter(|folder| !folder.is_empty())
    {
        Some(folder) => vec![PathBuf::from(folder)],
        None => home
            .iter()
            .flat_map(|home| [home.join(".kaggle"), home.join(".config/kaggle")])
            .collect(),
    };
    let mut key_files = Vec::new();
    for config_folder in config_folders {
        let key_file = config_folder.join("kaggle.json");
        if let Some(text) = read(&key_file)? {
            return parse_key_file(&text)
                .map_err(|reason| CredentialsError::Unusable { path: key_file, reason });
        }
        let token_file = config_folder.join("access_token");
        if let Some(token) =
            read(&token_file)?.map(|text| text.trim().to_owned()).filter(|token| !token.is_empty())
        {
            return Ok(Credentials::Token(token));
        }
        key_files.push(key_file);
    }
    Err(CredentialsError::NotFound { env_file, key_files })
}

fn from_variables(
    origin: &str,
    variable: &impl Fn(&'static str) -> Result<Option<String>, CredentialsError>,
) -> Result<Option<Credentials>, CredentialsError> {
    let variable = |name| {
        let value = variable(name)?.map(|value| value.trim().to_owned());
        Ok::<_, CredentialsError>(value.filter(|value| !value.is_empty()))
    };
    if let Some(token) = variable(TOKEN)? {
        return Ok(Some(Credentials::Token(token)));
    }
    let half = |has, lacks| Err(CredentialsError::Half { origin: origin.to_owned(), has, lacks });
    match (variable(USERNAME)?, variable(KEY)?) {
        (Some(username), Some(key)) => Ok(Some(Credentials::Key { username, key })),
        (Some(_), None) => half(USERNAME, KEY),
        (None, Some(_)) => half(KEY, USERNAME),
        (None, None) => Ok(None),
    }
}

fn parse_key_file(text: &str) -> Result<Credentials, String> {
    const ADVICE: &str = "download it again from the settings page of your Kaggle account";
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|e| format!("is not JSON (line {}, column {}); {ADVICE}", e.line(), e.column()))?;
    let field = |name: &str| {
        value
            .get(name)
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned)
            .filter(|value| !value.is_empty())
    };
    match (field("username"), field("key")) {
        (Some(username), Some(key)) => Ok(Credentials::Key { username, key }),
        _ => Err(format!("lacks `username` or `key`; {ADVICE}")),
    }
}

/// `NAME=value` lines, as shells and dotenv write them: comments, `export`, quotes.
fn parse_env_file(text: &str) -> BTreeMap<String, String> {
    let parse = |line: &str| {
        let line = line.trim();
        let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        let value = value.trim();
        let quoted = ['"', '\''].into_iter().find_map(|quote| {
            value.strip_prefix(quote)?.split_once(quote).map(|(inside, _)| inside)
        });
        let value =
            quoted.unwrap_or_else(|| value.split(" #").next().unwrap_or_default().trim_end());
        (!name.starts_with('#')).then(|| (name.trim().to_owned(), value.to_owned()))
    };
    text.lines().filter_map(parse).collect()
}

fn read(path: &Path) -> Result<Option<String>, CredentialsError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(e) => Err(CredentialsError::Unusable {
            path: path.to_path_buf(),
            reason: format!("cannot be read: {e}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(folder: &Path, variables: &[(&str, &str)]) -> Result<Credentials, CredentialsError> {
        find_credentials(folder, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    fn key(username: &str, key: &str) -> Credentials {
        Credentials::Key { username: username.into(), key: key.into() }
    }

    #[test]
    fn the_environment_comes_before_the_env_file_and_that_before_the_key_file() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        fs::create_dir(&config).unwrap();
        let config_variable = [("KAGGLE_CONFIG_DIR", config.to_str().unwrap())];
        fs::write(config.join("kaggle.json"), r#"{"username":"file","key":"k1"}"#).unwrap();
        assert_eq!(find(folder.path(), &config_variable).unwrap(), key("file", "k1"));
        fs::write(
            folder.path().join(".env"),
            "# mine\nexport KAGGLE_USERNAME='dot env'\nKAGGLE_KEY=k2 # of 2026\n",
        )
        .unwrap();
        assert_eq!(find(folder.path(), &config_variable).unwrap(), key("dot env", "k2"));
        let set = [config_variable[0], (USERNAME, "shell"), (KEY, "k3")];
        assert_eq!(find(folder.path(), &set).unwrap(), key("shell", "k3"));
        let token = [set[0], set[1], set[2], (TOKEN, "t")];
        assert_eq!(find(folder.path(), &token).unwrap().authorization(), "Bearer t");
    }

    #[test]
    fn the_key_travels_as_basic_authorization() {
        assert_eq!(
            key("Aladdin", "open sesame").authorization(),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
    }

    #[test]
    fn a_key_is_never_shown() {
        assert_eq!(
            format!("{:?} {:?}", key("me", "secret"), Credentials::Token("secret".into())),
            "Key(..) Token(..)"
        );
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".kaggle")).unwrap();
        fs::write(folder.path().join(".kaggle/kaggle.json"), r#"{"username":"me" "key":"secret"}"#)
            .unwrap();
        let error = find(folder.path(), &[("HOME", folder.path().to_str().unwrap())])
            .unwrap_err()
            .to_string();
        assert!(error.contains("is not JSON") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn a_variable_that_is_not_utf8_is_refused() {
        use std::os::unix::ffi::OsStringExt as _;
        for odd in [TOKEN, USERNAME, KEY] {
            let error = find_credentials(Path::new("/nowhere"), |name| match name {
                name if name == odd => Some(OsString::from_vec(b"k\xFFy".to_vec())),
                USERNAME | KEY => Some("me".into()),
                _ => None,
            });
            let error = error.unwrap_err().to_string();
            assert!(error.contains(&format!("{odd} is not UTF-8")), "{error}");
        }
    }

    #[test]
    fn half_a_key_is_not_the_same_as_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            find(folder.path(), &[(USERNAME, "me")]),
            Err(CredentialsError::Half { lacks: KEY, .. })
        ));
        let error = find(folder.path(), &[("HOME", "/nowhere")]).unwrap_err().to_string();
        assert!(error.contains("/nowhere/.kaggle/kaggle.json"), "{error}");
    }

    #[test]
    fn a_token_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(".config/kaggle")).unwrap();
        fs::write(folder.path().join(".config/kaggle/access_token"), "abc\n").unwrap();
        assert_eq!(
            find(folder.path(), &[("HOME", folder.path().to_str().unwrap())]).unwrap(),
            Credentials::Token("abc".into())
        );
    }
}
