//! How a parameter's path in our modules becomes its name in weight files.

/// torchvision's name for a backbone tensor, ours for the rest.
///
/// torchvision counts blocks, layers and transitions from 1 and calls a batch normalisation's
/// factor and offset weight and bias.
pub(crate) fn file_name<'a>(segments: impl Iterator<Item = &'a str>) -> String {
    let segments: Vec<&str> = segments.collect();
    let (inside_head, rest) = match segments.as_slice() {
        ["head", rest @ ..] => (true, rest),
        ["backbone", rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let counted = |index: &str| {
        index.parse::<usize>().map_or_else(|_| index.to_owned(), |index| (index + 1).to_string())
    };
    let (prefix, rest) = match rest {
        _ if inside_head => ("head.".to_owned(), rest),
        ["blocks", block, "layers", layer, rest @ ..] => {
            (format!("features.denseblock{}.denselayer{}.", counted(block), counted(layer)), rest)
        }
        ["transitions", index, rest @ ..] => {
            (format!("features.transition{}.", counted(index)), rest)
        }
        // The name of files that were written before the grid had its present name in the code.
        ["cells", rest @ ..] => ("places.".to_owned(), rest),
        rest => ("features.".to_owned(), rest),
    };
    let leaf = |segment: &&str| match *segment {
        "gamma" => "weight".to_owned(),
        "beta" => "bias".to_owned(),
        other => other.to_owned(),
    };
    prefix + &rest.iter().map(leaf).collect::<Vec<_>>().join(".")
}

/// Brings a name from a file of torchvision's to the present form: old files call `norm1` `norm.1`.
pub(crate) fn modern(name: &str) -> String {
    let mut name = name.to_owned();
    for (old, new) in [
        (".norm.1.", ".norm1."),
        (".norm.2.", ".norm2."),
        (".conv.1.", ".conv1."),
        (".conv.2.", ".conv2."),
    ] {
        name = name.replace(old, new);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str) -> String {
        file_name(path.split('/'))
    }

    #[test]
    fn paths_become_torchvision_names() {
        assert_eq!(name("backbone/conv0/weight"), "features.conv0.weight");
        assert_eq!(
            name("backbone/blocks/0/layers/5/norm1/gamma"),
            "features.denseblock1.denselayer6.norm1.weight"
        );
        assert_eq!(
            name("backbone/transitions/2/norm/running_var"),
            "features.transition3.norm.running_var"
        );
        assert_eq!(name("norm5/beta"), "features.norm5.bias");
        assert_eq!(name("backbone/cells/norm1/gamma"), "places.norm1.weight");
        assert_eq!(name("head/stages/1/dense/weight"), "head.stages.1.dense.weight");
        assert_eq!(name("head/boxes/bias"), "head.boxes.bias");
    }

    #[test]
    fn old_names_are_brought_up_to_date() {
        assert_eq!(
            modern("features.denseblock1.denselayer2.norm.1.weight"),
            "features.denseblock1.denselayer2.norm1.weight"
        );
        assert_eq!(modern("features.transition1.norm.weight"), "features.transition1.norm.weight");
    }
}
