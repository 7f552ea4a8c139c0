//! The class of a label line.

use super::report::{Line, NOTED, shortened};
use crate::read::label_rules::LabelRules;
use crate::rules::Rule;

/// The class id; `None`, with a finding, if the line has no valid one.
pub(super) fn parse_class(line: &mut Line, rules: &LabelRules) -> Option<i16> {
    let token = line.token(0);
    let shown = shortened(token);
    let is_plain = token.bytes().all(|byte| byte.is_ascii_digit());
    let id = match token.parse::<u64>() {
        Ok(id) if is_plain => Some(id),
        // A number too large for any list of classes.
        _ if is_plain => None,
        _ => match token.parse::<f64>() {
            Ok(value) if value >= 0.0 && value.fract() == 0.0 && value < 1e15 => {
                let id = value as u64;
                line.report_as(
                    Rule::ClassNotInteger,
                    NOTED,
                    0,
                    format!("class `{shown}` was read as {id}"),
                    &format!("read as {id}"),
                    "",
                );
                Some(id)
            }
            Ok(value) if value < 0.0 => {
                line.report(
                    Rule::ClassNotInteger,
                    0,
                    format!("class `{shown}` is negative"),
                    "ids are counted from 0",
                    "some tools write -1 for a class that is not set; set it, or delete the line",
                );
                return None;
            }
            Ok(_) => {
                let help = "the line should begin with a class id; have its columns shifted?";
                line.report(
                    Rule::ClassNotInteger,
                    0,
                    format!("class `{shown}` is not a whole number"),
                    "not a class id",
                    help,
                );
                return None;
            }
            Err(_) => {
                let help = match rules.classes.id_of(token) {
                    Some(id) => format!("write the class's id: {id}"),
                    None if token.contains([',', ';']) => "separate numbers by spaces".to_owned(),
                    None => format!(
                        "a line is `class x y w h` or `class x1 y1 x2 y2 ...`; {}",
                        rules.classes.extent()
                    ),
                };
                line.report(
                    Rule::ClassNotInteger,
                    0,
                    format!("class `{shown}` is not a number"),
                    "not a class id",
                    &help,
                );
                return None;
            }
        },
    };
    let known = id.and_then(|id| i16::try_from(id).ok()).filter(|&id| rules.classes.contains(id));
    if known.is_none() {
        let mut help = rules.classes.extent();
        if id == Some(rules.classes.len() as u64) {
            help.push_str("; are the ids of this file counted from 1?");
        }
        line.report(
            Rule::ClassUnknown,
            0,
            format!("class {shown} is not in the list of classes"),
            "no such class",
            &help,
        );
    }
    known
}
