use std::fmt::Write as _;

use toml::Value;

use crate::layers::Layers;
use crate::origin::Origin;

impl Layers {
    /// The merged result as a conf file, each key with where its value came from.
    pub fn print(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            header(&mut text, &table.path);
            for key in &table.keys {
                if let Some((value, origin)) = self.value(table, key) {
                    line(&mut text, key.name, value, origin);
                }
            }
            for named in &table.named {
                header(&mut text, &format!("{}.{}", table.path, named.name));
                for (name, value, origin) in self.entries_of(table, named) {
                    line(&mut text, &quoted(name), value, origin);
                }
            }
        }
        text
    }
}

fn header(text: &mut String, path: &str) {
    let _ = writeln!(text, "{}[{path}]", if text.is_empty() { "" } else { "\n" });
}

fn line(text: &mut String, name: &str, value: &Value, origin: &Origin) {
    // A line break in a flag or in a path must not end the comment.
    let origin = origin.to_string().replace(['\n', '\r'], " ");
    let _ = writeln!(text, "{:<44} # {origin}", format!("{name} = {value}"));
}

/// A name as TOML writes it: quoted where it has to be.
fn quoted(name: &str) -> String {
    let is_bare = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if is_bare { name.to_owned() } else { Value::String(name.to_owned()).to_string() }
}
