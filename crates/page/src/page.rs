use maud::{DOCTYPE, PreEscaped, html};

use crate::format::clean;
use crate::section::Section;
use crate::svg::CHART_CSS;

const PAGE_CSS: &str = include_str!("page.css");

/// Makes tables sortable where scripts are allowed. The policy of the page allows this one by its
/// hash.
const SORT_SCRIPT: &str = include_str!("sort.js");
const SORT_SCRIPT_SHA256: &str = "PnNfwQgsd647gOsPVKmee3o4AzgXYE6h7kotUOhi1Wk=";

/// A self-contained HTML page.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    subtitle: String,
    sections: Vec<Section>,
    footer: String,
}

impl Page {
    /// An empty page.
    pub fn new(title: impl Into<String>, subtitle: impl Into<String>) -> Self {
        Page {
            title: title.into(),
            subtitle: subtitle.into(),
            sections: Vec::new(),
            footer: String::new(),
        }
    }

    /// Adds a section.
    pub fn push(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// A line at the foot, such as the version that wrote the page.
    pub fn footer(&mut self, text: impl Into<String>) {
        self.footer = text.into();
    }

    /// The whole document.
    pub fn render(&self) -> String {
        let anchor = |i: usize| format!("s{}", i + 1);
        let titled =
            || self.sections.iter().enumerate().filter(|(_, section)| !section.title().is_empty());
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta http-equiv="Content-Security-Policy"
                        content={ "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
                            script-src 'sha256-" (SORT_SCRIPT_SHA256) "'" };
                    title { (clean(&self.title)) }
                    style { (PreEscaped(PAGE_CSS)) (PreEscaped(CHART_CSS)) }
                }
                body {
                    header {
                        h1 { (clean(&self.title)) }
                        p.subtitle { (clean(&self.subtitle)) }
                        @if titled().count() > 2 {
                            nav aria-label="Sections" { @for (i, section) in titled() { a href={
                                "#" (anchor(i)) } { (clean(section.title())) } } }
                        }
                    }
                    main { @for (i, section) in self.sections.iter().enumerate() {
                        (section.render(&anchor(i))) } }
                    @if !self.footer.is_empty() { footer { (clean(&self.footer)) } }
                    script { (PreEscaped(SORT_SCRIPT)) }
                }
            }
        }
        .into_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::*;

    /// A page in which every piece of text is `text`.
    fn page_of(text: &str) -> (String, String) {
        let mut page = Page::new(text, text);
        page.footer(text);
        let mut gallery = Gallery::new(text).filters([text]);
        gallery.push(Picture::new("image/png", b"png", text).line(text).facets([text]));
        gallery.push(
            Picture::new("image/png", b"png", text)
                .line(text)
                .facets(["other"])
                .framed(4, 3)
                .outline(Outline::new([(0.0, 0.5), (1.5, f64::NAN)], text)),
        );
        let bars = BarChart::new(text)
            .axis_name(text)
            .series([text, text])
            .row(text, [1.0, 2.0])
            .row_with_interval(text, 1.0, 0.5, 1.5);
        let lines = LineChart::new(text)
            .axis_names(text, text)
            .line(text, [(0.0, 0.0), (1.0, 2.0)])
            .line(text, [(0.5, 0.5)]);
        let heat = HeatMap::new(
            text,
            vec![text.into()],
            vec![text.into(), text.into()],
            vec![vec![1.0, f64::NAN]],
        )
        .axis_names(text, text);
        let scatter = ScatterChart::new(text).axis_names(text, text).points(text, [(0.1, 0.2)]);
        let forest = ForestChart::new(text)
            .sides(text, text)
            .series([text, text])
            .row(text, [(0.1, 0.0, 0.2), (-0.1, -0.2, -0.05)]);
        let files: String = [bars.svg(), lines.svg(), heat.svg(), scatter.svg(), forest.svg()]
            .iter()
            .map(Svg::to_file_text)
            .collect();
        let section = Section::new(text)
            .lead(text)
            .paragraph(text)
            .list([text])
            .note(NoteKind::Warning, text)
            .tiles([Tile::new(text, text).detail(text)])
            .table(
                Table::new([Column::text(text), Column::number(text)])
                    .caption(text)
                    .row([TableCell::new(text).remark(text), TableCell::code(text)]),
            )
            .charts([(text, bars.svg()), (text, lines.svg())])
            .charts([(text, heat.svg()), (text, scatter.svg()), (text, forest.svg())])
            .gallery(gallery)
            .details(text, Section::new("").paragraph(text));
        page.push(section);
        (page.render(), files)
    }

    /// Tags of a document, as a browser would see them.
    fn tags(html: &str) -> Vec<String> {
        html.split('<')
            .skip(1)
            .map(|tag| {
                tag.chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '!' | '?'))
                    .collect()
            })
            .collect()
    }

    #[test]
    fn hostile_text_adds_no_tag_and_no_attribute() {
        for text in [
            "</title><script>alert(1)</script>",
            "\" onload=\"alert(1)",
            "</style><img src=x onerror=alert(1)>",
            "]]>--><svg/onload=alert(1)>",
            "&lt;b&gt;",
        ] {
            // Of the same width, so that charts leave room for the same number of ticks.
            let calm: String = text
                .chars()
                .map(|c| if matches!(c, '<' | '>' | '"' | '&' | '/' | '!') { 'c' } else { c })
                .collect();
            let (calm, calm_files) = page_of(&calm);
            let (page, files) = page_of(text);
            assert_eq!(tags(&page), tags(&calm), "{text}");
            assert_eq!(tags(&files), tags(&calm_files), "{text}");
            assert_eq!(page.matches('"').count(), calm.matches('"').count(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_keeps_the_document_as_it_is(text in "\\PC{0,12}|.{0,12}") {
            let (calm, calm_files) = page_of("calm");
            let (page, files) = page_of(&format!("c{text}"));
            // Wide labels leave room for fewer ticks, so only the kinds of tags are compared, not
            // their number.
            let kinds = |html: &str|
                tags(html).into_iter().collect::<std::collections::BTreeSet<_>>();
            prop_assert_eq!(kinds(&page), kinds(&calm));
            prop_assert_eq!(kinds(&files), kinds(&calm_files));
            prop_assert!(!files.chars().any(|c| c.is_control() && c != '\n'));
        }
    }

    #[test]
    fn the_policy_allows_the_one_script_and_no_other() {
        use base64::Engine as _;
        use sha2::Digest as _;
        let hash =
            base64::prelude::BASE64_STANDARD.encode(sha2::Sha256::digest(SORT_SCRIPT.as_bytes()));
        assert_eq!(SORT_SCRIPT_SHA256, hash, "the hash of sort.js");
        assert!(!SORT_SCRIPT.contains("</"));
        let (page, _) = page_of("calm");
        assert_eq!(page.matches("<script").count(), 1);
        assert!(page.contains(&format!("script-src 'sha256-{hash}'")));
    }

    #[test]
    fn a_page_asks_the_network_for_nothing() {
        let (page, files) = page_of("calm");
        for document in [page, files] {
            let without_namespace = document.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !without_namespace.contains("http:")
                    && !without_namespace.contains("https:")
                    && !without_namespace.contains("@import")
            );
        }
    }

    #[test]
    fn charts_of_nothing_and_of_odd_numbers_are_drawn() {
        let odd = [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300];
        let charts = [
            BarChart::new("a").svg(),
            BarChart::new("a").row("x", odd).svg(),
            ForestChart::new("a").svg(),
            ForestChart::new("a").row("x", odd.map(|v| (v, -v, v))).svg(),
            LineChart::new("a").svg(),
            LineChart::new("a").line("x", odd.map(|v| (v, v))).line("y", []).svg(),
            HeatMap::new("a", vec![], vec![], vec![]).svg(),
            HeatMap::new("a", vec!["x".into()], vec!["y".into()], vec![]).shade_by_row().svg(),
            DensityMap::of_points("a", odd.map(|v| (v, v)), 0).svg(),
            ScatterChart::new("a").svg(),
            Histogram::of_values("a", odd, 0, 1.0, 0.0).svg(),
            ReliabilityChart::new("a", vec![]).svg(),
        ];
        for chart in charts {
            let text = chart.to_file_text();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }
}
