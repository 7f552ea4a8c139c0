/// The path of the module that one of Burn's visitors or mappers is in: `blocks`, `0`, `norm1`.
#[derive(Clone, Debug, Default)]
pub struct ModulePath(Vec<String>);

impl ModulePath {
    /// Enters a module, as `enter_module` names it. The variant of an enum is no part of the path:
    /// a module has one.
    pub fn enter(&mut self, name: &str, container_type: &str) {
        if !is_enum(container_type) {
            self.0.push(name.to_owned());
        }
    }

    /// Leaves the module that was entered last.
    pub fn exit(&mut self, container_type: &str) {
        if !is_enum(container_type) {
            self.0.pop();
        }
    }

    /// The names on the way, the outermost first.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The names on the way with dots between them.
    pub fn dotted(&self) -> String {
        self.0.join(".")
    }
}

/// Whether a container of this type, as Burn's `ModuleVisitor` names it, is an enum.
fn is_enum(container_type: &str) -> bool {
    container_type.starts_with("Enum:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_of_enums_are_no_part_of_a_path() {
        let mut path = ModulePath::default();
        path.enter("head", "Struct:Network");
        path.enter("Detector", "Enum:Head");
        path.enter("boxes", "Struct:DetectorHead");
        assert_eq!(path.dotted(), "head.boxes");
        path.exit("Struct:DetectorHead");
        path.exit("Enum:Head");
        assert_eq!(path.segments().collect::<Vec<_>>(), ["head"]);
    }
}
