use base64::prelude::{BASE64_STANDARD, Engine as _};
use maud::{Markup, PreEscaped, Render, html};

use crate::format::clean;

/// A shape drawn over a picture.
#[derive(Clone, Debug)]
pub struct Outline {
    points: Vec<(f64, f64)>,
    title: String,
    is_emphasised: bool,
}

impl Outline {
    /// A closed shape through these points, in shares of the picture's width and height; parts
    /// outside 0..=1 are drawn in the margin. The title is its tooltip.
    pub fn new(points: impl IntoIterator<Item = (f64, f64)>, title: impl Into<String>) -> Self {
        let held = |value: f64| if value.is_finite() { value.clamp(-2.0, 3.0) } else { 0.0 };
        Outline {
            points: points.into_iter().map(|(x, y)| (held(x), held(y))).collect(),
            title: title.into(),
            is_emphasised: false,
        }
    }

    /// Marks the shape that the picture is about.
    pub fn emphasised(mut self) -> Self {
        self.is_emphasised = true;
        self
    }

    fn reaches_outside(&self) -> bool {
        self.points
            .iter()
            .any(|(x, y)| !(-0.001..=1.001).contains(x) || !(-0.001..=1.001).contains(y))
    }
}

impl Render for Outline {
    fn render(&self) -> Markup {
        let points: Vec<String> =
            self.points.iter().map(|(x, y)| format!("{x:.4},{y:.4}")).collect();
        html! {
            g class={ "outline" (if self.is_emphasised { " emphasised" } else { "" }) } {
                title { (clean(&self.title)) }
                polygon.halo points=(points.join(" ")) {}
                polygon points=(points.join(" ")) {}
            }
        }
    }
}

/// A picture of a [`Gallery`].
#[derive(Clone, Debug)]
pub struct Picture {
    media_type: String,
    base64: String,
    title: String,
    lines: Vec<String>,
    facets: Vec<String>,
    size: Option<(u32, u32)>,
    outlines: Vec<Outline>,
    link: Option<String>,
}

impl Picture {
    /// A picture from the bytes of an image file, such as `image/jpeg`, that is embedded in the
    /// page.
    pub fn new(media_type: &'static str, bytes: &[u8], title: impl Into<String>) -> Self {
        Picture {
            media_type: media_type.to_owned(),
            base64: BASE64_STANDARD.encode(bytes),
            title: title.into(),
            lines: Vec::new(),
            facets: Vec::new(),
            size: None,
            outlines: Vec::new(),
            link: None,
        }
    }

    /// Makes the picture a link to a file next to the page, such as a larger one: a relative path
    /// of letters, digits, `/`, `.`, `_` and `-`; any other is left out.
    pub fn link(mut self, path: &str) -> Self {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
        let is_relative = !path.is_empty() && !path.starts_with('/') && path.chars().all(is_plain);
        self.link = is_relative.then(|| path.to_owned());
        self
    }

    /// Gives the picture another title.
    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// A line of text below the picture.
    pub fn line(mut self, text: impl Into<String>) -> Self {
        self.lines.push(text.into());
        self
    }

    /// Shows the picture in the proportions of this width and height, whatever those of the file;
    /// by default the whole picture is fitted into a square.
    pub fn framed(mut self, width: u32, height: u32) -> Self {
        self.size = Some((width.max(1), height.max(1)));
        self
    }

    /// Draws a shape over a picture that is [`Picture::framed`].
    pub fn outline(mut self, outline: Outline) -> Self {
        self.outlines.push(outline);
        self
    }

    fn image(&self) -> Markup {
        let img = html! { img src={ "data:" (self.media_type) ";base64," (self.base64) }
        alt=(clean(&self.title)) loading="lazy"; };
        let Some((width, height)) = self.size else { return img };
        // If shapes reach past the picture, a share of the frame is left free on each side.
        let margin = if self.outlines.iter().any(Outline::reaches_outside) { 12 } else { 0 };
        html! {
            div.frame {
                div.view style={ "aspect-ratio:" (width) "/" (height) ";--proportion:"
                    (format!("{:.4}", f64::from(width) / f64::from(height))) ";--margin:" (margin)
                        "%" } {
                    (img)
                    svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"
                        preserveAspectRatio="none" aria-hidden="true" {
                        @for outline in &self.outlines { (outline) }
                    }
                }
            }
        }
    }

    /// The values by which the picture is filtered, in the order of the gallery's filters.
    pub fn facets<S: Into<String>>(mut self, values: impl IntoIterator<Item = S>) -> Self {
        self.facets = values.into_iter().map(Into::into).collect();
        self
    }
}

/// Pictures in a grid, with one selection per filter; the filters work without scripts.
#[derive(Clone, Debug, Default)]
pub struct Gallery {
    name: String,
    filters: Vec<String>,
    pictures: Vec<Picture>,
}

impl Gallery {
    /// An empty gallery. The name, of letters and digits, distinguishes the galleries of a page.
    pub fn new(name: &str) -> Self {
        Gallery {
            name: name.chars().filter(char::is_ascii_alphanumeric).collect(),
            ..Default::default()
        }
    }

    /// Names of the filters; their choices are the facets of the pictures.
    pub fn filters<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.filters = names.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a picture.
    pub fn push(&mut self, picture: Picture) {
        self.pictures.push(picture);
    }

    /// Choices of a filter in order of first appearance.
    fn choices(&self, filter: usize) -> Vec<&str> {
        let mut choices: Vec<&str> = Vec::new();
        for facet in self.pictures.iter().filter_map(|picture| picture.facets.get(filter)) {
            if !choices.contains(&facet.as_str()) {
                choices.push(facet);
            }
        }
        choices
    }

    /// A checked choice hides all pictures without its class: a radio button and `:has` replace a
    /// script.
    fn rules(&self) -> String {
        let mut rules = String::new();
        for (f, _) in self.filters.iter().enumerate() {
            for (c, _) in self.choices(f).iter().enumerate() {
                let class = format!("{}-{f}-{c}", self.name);
                rules.push_str(&format!(
                    "#gallery-{}:has(#pick-{class}:checked) \
                    .picture:not(.is-{class}){{display:none}}\n",
                    self.name
                ));
            }
        }
        rules
    }
}

impl Render for Gallery {
    fn render(&self) -> Markup {
        let choices: Vec<Vec<&str>> =
            (0..self.filters.len()).map(|filter| self.choices(filter)).collect();
        let classes = |picture: &Picture| {
            let class = |(f, facet): (usize, &String)| {
                choices
                    .get(f)?
                    .iter()
                    .position(|choice| choice == facet)
                    .map(|c| format!(" is-{}-{f}-{c}", self.name))
            };
            picture.facets.iter().enumerate().filter_map(class).collect::<String>()
        };
        html! {
            div.gallery-frame id={ "gallery-" (self.name) } {
                style { (PreEscaped(self.rules())) }
                @for (f, filter) in self.filters.iter().enumerate().filter(|(f, _)|
                    choices[*f].len() > 1) {
                    fieldset.filter {
                        legend { (clean(filter)) }
                        input type="radio" name={ (self.name) "-" (f) } id={ "pick-" (self.name)
                            "-" (f) "-all" } checked;
                        label for={ "pick-" (self.name) "-" (f) "-all" } { "all" }
                        @for (c, choice) in choices[f].iter().enumerate() {
                            input type="radio" name={ (self.name) "-" (f) } id={ "pick-"
                                (self.name) "-" (f) "-" (c) };
                            label for={ "pick-" (self.name) "-" (f) "-" (c) } { (clean(choice)) }
                        }
                    }
                }
                div.gallery {
                    @for picture in &self.pictures {
                        figure class={ "picture" (classes(picture)) } {
                            @if let Some(link) = &picture.link {
                                a href=(link) { (picture.image()) }
                            } @else { (picture.image()) }
                            figcaption { strong { (clean(&picture.title)) } @for line in
                                &picture.lines { span { (clean(line)) } } }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_choice_of_a_filter_has_a_rule_and_its_pictures_the_class() {
        let mut gallery = Gallery::new("worst <1>").filters(["kind"]);
        gallery.push(Picture::new("image/png", b"x", "a").facets(["match"]));
        gallery.push(Picture::new("image/png", b"y", "b").facets(["miss\"><script>"]));
        let html = gallery.render().into_string();
        assert!(html.contains(
            "#gallery-worst1:has(#pick-worst1-0-1:checked) \
            .picture:not(.is-worst1-0-1){display:none}"
        ));
        assert!(
            html.contains("class=\"picture is-worst1-0-1\"")
                && html.contains("id=\"pick-worst1-0-1\"")
        );
        assert!(!html.contains("<script"));
    }

    #[test]
    fn a_picture_links_to_files_next_to_the_page_alone() {
        let rendered = |path: &str| {
            let mut gallery = Gallery::new("a");
            gallery.push(Picture::new("image/png", b"x", "a").link(path));
            gallery.render().into_string()
        };
        assert!(rendered("overlays/miss-0001.png").contains("<a href=\"overlays/miss-0001.png\">"));
        for path in ["javascript:alert(1)", "/etc/passwd", "http://x", "a b", "\"x", ""] {
            assert!(!rendered(path).contains("<a "), "{path}");
        }
    }
}
