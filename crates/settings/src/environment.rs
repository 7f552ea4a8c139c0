use crate::error::{ConfigError, RenamedKey};
use crate::layers::Layers;
use crate::origin::Origin;
use crate::renamed::new_path;

/// Prefix of the environment variables that set keys.
pub(crate) const PREFIX: &str = "OSSIFY__";

impl Layers {
    /// Lays `OSSIFY__SECTION__KEY` variables over.
    ///
    /// # Errors
    /// Names the variable that does not fit.
    pub fn add_environment(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let mut found: Vec<_> = variables
            .filter_map(|(name, value)| {
                let path = self.variable_path(&name.strip_prefix(PREFIX)?.to_lowercase());
                Some((name, path, value))
            })
            .collect();
        found.sort_by(|(_, a, _), (_, b, _)| a.cmp(b));
        for pair in found.windows(2) {
            if let [(first, key, one), (second, other_key, another)] = pair
                && key == other_key
                && one != another
            {
                let [first, second] = [first, second].map(|name| name.to_owned());
                return Err(ConfigError::SetTwice { key: key.clone(), first, second });
            }
        }
        let renamed: Vec<RenamedKey> = found
            .iter()
            .filter_map(|(name, old, _)| {
                let new = new_path(old)?;
                let origin = Origin::Environment(name.clone());
                Some(RenamedKey { origin, old: old.clone(), new })
            })
            .collect();
        if !renamed.is_empty() {
            return Err(ConfigError::RenamedKeys { renamed });
        }
        found.into_iter().try_for_each(|(name, path, value)| {
            self.set_text(&path, &value, Origin::Environment(name))
        })
    }

    /// The path of a key or an entry, from a variable's name. Names of entries may have dashes,
    /// which variables cannot have.
    fn variable_path(&self, variable: &str) -> String {
        let path = variable.replace("__", ".");
        for table in &self.tables {
            for named in &table.named {
                let entries = format!("{}.{}.", table.path, named.name);
                if let Some(name) = path.strip_prefix(&entries) {
                    let known = named.known.iter().find(|known| known.replace('-', "_") == name);
                    return format!("{entries}{}", known.copied().unwrap_or(name));
                }
            }
        }
        path
    }
}
