use maud::{Markup, html};
use ossify_diagnostics::printable;

/// A whole number with commas between thousands: `12,345`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things with its noun: `1 object`, `2,000 objects`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A number with about four significant digits and no trailing zeros: `0.0312`, `12.5`, `12,345`. A
/// number that is not finite becomes a dash.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let size = value.abs();
    if size >= 10_000.0 {
        let whole = size.round();
        let text = if whole < 1e15 { count(whole as u64) } else { format!("{size:.2e}") };
        return if value < 0.0 { format!("−{text}") } else { text };
    }
    if size != 0.0 && size < 1e-4 {
        return format!("{value:.1e}").replace('-', "−");
    }
    let decimals = match size {
        s if s >= 1000.0 => 0,
        s if s >= 100.0 => 1,
        s if s >= 10.0 => 2,
        s if s >= 0.1 || s == 0.0 => 3,
        s if s >= 0.01 => 4,
        _ => 5,
    };
    let text = format!("{value:.decimals$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".into() } else { text.replace('-', "−") }
}

/// A share as a percentage with one decimal, which is dropped if it is 0: `7.5 %`, `100 %`.
pub fn percent(share: f64) -> String {
    if !share.is_finite() {
        return "–".into();
    }
    let text = format!("{:.1}", share * 100.0);
    format!("{} %", text.strip_suffix(".0").unwrap_or(&text).replace('-', "−"))
}

/// Prose: what stands between two backticks is code. A backtick without a partner stays.
pub(crate) fn prose(text: &str) -> Markup {
    let text = clean(text);
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! {
        @for (i, part) in parts.iter().enumerate() {
            @if i % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// Text that is safe in HTML and XML once escaped: no control characters, no bidirectional
/// overrides, no code points that XML forbids.
pub(crate) fn clean(text: &str) -> String {
    printable(text)
        .chars()
        .map(|c| if matches!(c, '\u{fffe}' | '\u{ffff}') { '\u{fffd}' } else { c })
        .collect()
}

/// The text cut to about `width` characters, with an ellipsis if anything was cut.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= width {
        return text;
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// The same, where a last part in brackets, such as a value, is kept whole.
pub(crate) fn shortened_before_brackets(text: &str, width: usize) -> String {
    let Some((name, value)) = text.rsplit_once(" (").filter(|_| text.ends_with(')')) else {
        return shortened(text, width);
    };
    let room = width.saturating_sub(value.chars().count() + 2).max(width / 3);
    format!("{} ({}", shortened(name, room), shortened(value, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_brackets_is_kept_where_its_name_is_cut() {
        let cut = |text| shortened_before_brackets(text, 16);
        assert_eq!(cut("wrist (0.41)"), "wrist (0.41)");
        assert_eq!(cut("shoulder fracture (0.41)"), "shoulder… (0.41)");
        assert_eq!(cut("shoulder fracture of two"), "shoulder fractu…");
    }

    #[test]
    fn words_between_backticks_are_code_and_odd_ones_stay() {
        assert_eq!(prose("a `b` <c>").into_string(), "a <code>b</code> &lt;c&gt;");
        assert_eq!(prose("a `b").into_string(), "a `b");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(number(0.5), "0.5");
        assert_eq!(number(0.03127), "0.0313");
        assert_eq!(number(-12.5), "−12.5");
        assert_eq!(number(100.0), "100");
        assert_eq!(number(12_345.6), "12,346");
        assert_eq!(number(f64::NAN), "–");
        assert_eq!(percent(0.075), "7.5 %");
        assert_eq!(percent(1.0), "100 %");
    }

    #[test]
    fn hostile_text_is_made_visible() {
        assert_eq!(clean("a\u{1b}[31mb\u{202e}c\u{0}"), "a\\u{1b}[31mb\\u{202e}c\\u{0}");
        assert_eq!(shortened("abcdefgh", 5), "abcd…");
    }
}
