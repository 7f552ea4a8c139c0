use maud::{Markup, Render, html};

use crate::format::{clean, prose};
use crate::gallery::Gallery;
use crate::svg::Svg;
use crate::table::Table;

/// A prominent figure: its label, its value, and optionally a detail below.
#[derive(Clone, Debug)]
pub struct Tile {
    label: String,
    value: String,
    detail: Option<String>,
}

impl Tile {
    /// A tile such as `Tile::new("images", count(601))`.
    pub fn new(label: impl Into<String>, value: impl Into<String>) -> Self {
        Tile { label: label.into(), value: value.into(), detail: None }
    }

    /// A line below the value, such as an interval.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// How urgent a note is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// Good to know.
    Info,
    /// Affects how the figures should be interpreted.
    Warning,
    /// Something failed.
    Error,
}

impl NoteKind {
    fn class(self) -> &'static str {
        match self {
            NoteKind::Info => "note info",
            NoteKind::Warning => "note warning",
            NoteKind::Error => "note error",
        }
    }

    fn word(self) -> &'static str {
        match self {
            NoteKind::Info => "Note",
            NoteKind::Warning => "Caution",
            NoteKind::Error => "Error",
        }
    }
}

/// A part of a page under a heading. Its parts appear in the order in which they were added.
#[derive(Clone, Debug)]
pub struct Section {
    title: String,
    parts: Vec<Markup>,
}

impl Section {
    /// An empty section; with an empty title it has no heading.
    pub fn new(title: impl Into<String>) -> Self {
        Section { title: title.into(), parts: Vec::new() }
    }

    fn part(mut self, part: Markup) -> Self {
        self.parts.push(part);
        self
    }

    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    /// A paragraph of text.
    pub fn paragraph(self, text: impl AsRef<str>) -> Self {
        let text = prose(text.as_ref());
        self.part(html! { p { (text) } })
    }

    /// A paragraph in larger type, for the page's main message.
    pub fn lead(self, text: impl AsRef<str>) -> Self {
        let text = prose(text.as_ref());
        self.part(html! { p.lead { (text) } })
    }

    /// A block of text from a file with its line breaks, such as a configuration.
    pub fn code_block(self, text: impl AsRef<str>) -> Self {
        let lines: Vec<String> = text.as_ref().lines().map(clean).collect();
        self.part(html! { pre { code { (lines.join("\n")) } } })
    }

    /// A list of points.
    pub fn list<S: AsRef<str>>(self, items: impl IntoIterator<Item = S>) -> Self {
        self.part(html! { ul { @for item in items { li { (prose(item.as_ref())) } } } })
    }

    /// A note in a frame.
    pub fn note(self, kind: NoteKind, text: impl AsRef<str>) -> Self {
        let text = prose(text.as_ref());
        self.part(html! { p class=(kind.class()) { strong { (kind.word()) ": " } (text) } })
    }

    /// Figures side by side.
    pub fn tiles(self, tiles: impl IntoIterator<Item = Tile>) -> Self {
        self.part(html! {
            div.tiles {
                @for tile in tiles {
                    div.tile {
                        div.tile-label { (clean(&tile.label)) }
                        div.tile-value { (clean(&tile.value)) }
                        @if let Some(detail) = &tile.detail { div.tile-detail { (clean(detail)) } }
                    }
                }
            }
        })
    }

    /// A table.
    pub fn table(self, table: Table) -> Self {
        let part = table.render();
        self.part(part)
    }

    /// A chart with a caption that says what it shows.
    pub fn chart(self, caption: impl AsRef<str>, chart: Svg) -> Self {
        self.charts([(caption, chart)])
    }

    /// Charts side by side if there is room, each with a caption.
    pub fn charts<S: AsRef<str>>(self, charts: impl IntoIterator<Item = (S, Svg)>) -> Self {
        self.part(html! {
            div.charts {
                @for (caption, chart) in charts {
                    @let caption = clean(caption.as_ref());
                    figure { (chart) @if !caption.is_empty() { figcaption { (caption) } } }
                }
            }
        })
    }

    /// Pictures with filters.
    pub fn gallery(self, gallery: Gallery) -> Self {
        let part = gallery.render();
        self.part(part)
    }

    /// Content that is collapsed until the reader opens it; in print it is open.
    pub fn details(self, summary: impl AsRef<str>, content: Section) -> Self {
        let summary = clean(summary.as_ref());
        self.part(html! { details { summary { (summary) } div.details-content { @for part in
        &content.parts { (part) } } } })
    }

    pub(crate) fn render(&self, anchor: &str) -> Markup {
        html! {
            section id=(anchor) {
                @if !self.title.is_empty() { h2 { (clean(&self.title)) } }
                @for part in &self.parts { (part) }
            }
        }
    }
}
