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
                Some((Origin::Environment(name), path, value))
            })
            .collect();
        found.sort_by(|(_, a, _), (_, b, _)| a.cmp(b));
        let renamed: Vec<RenamedKey> = found
            .iter()
            .filter_map(|(origin, old, _)| {
                let new = new_path(old)?;
                Some(RenamedKey { origin: origin.clone(), old: old.clone(), new })
            })
            .collect();
        if !renamed.is_empty() {
            return Err(ConfigError::RenamedKeys { renamed });
        }
        found.into_iter().try_for_each(|(origin, path, value)| self.set_text(&path, &value, origin))
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
