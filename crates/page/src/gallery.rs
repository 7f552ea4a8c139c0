use maud::{Markup, PreEscaped, Render, html};

use crate::format::clean;

/// A picture of a [`Gallery`].
#[derive(Clone, Debug)]
pub struct Picture {
    media_type: String,
    base64: String,
    title: String,
    lines: Vec<String>,
    facets: Vec<String>,
}

impl Picture {
    /// A picture from the bytes of an image file, such as `image/jpeg`, that is embedded in the page.
    pub fn new(media_type: &'static str, bytes: &[u8], title: impl Into<String>) -> Self {
        Picture { media_type: media_type.to_owned(), base64: base64(bytes), title: title.into(), lines: Vec::new(), facets: Vec::new() }
    }

    /// A line of text below the picture.
    pub fn line(mut self, text: impl Into<String>) -> Self {
        self.lines.push(text.into());
        self
    }

    /// What the picture is filtered by, in the order of the gallery's filters.
    pub fn facets<S: Into<String>>(mut self, values: impl IntoIterator<Item = S>) -> Self {
        self.facets = values.into_iter().map(Into::into).collect();
        self
    }
}

/// Pictures in a grid, with one choice a filter; the filters work without scripts.
#[derive(Clone, Debug, Default)]
pub struct Gallery {
    name: String,
    filters: Vec<String>,
    pictures: Vec<Picture>,
}

impl Gallery {
    /// An empty gallery. The name tells galleries of one page apart; letters and digits.
    pub fn new(name: &str) -> Self {
        Gallery { name: name.chars().filter(char::is_ascii_alphanumeric).collect(), ..Default::default() }
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

    /// A checked choice hides all pictures without its class: a radio button and `:has` do what a script would.
    fn rules(&self) -> String {
        let mut rules = String::new();
        for (f, _) in self.filters.iter().enumerate() {
            for (c, _) in self.choices(f).iter().enumerate() {
                let class = format!("{}-{f}-{c}", self.name);
                rules.push_str(&format!("#gallery-{}:has(#pick-{class}:checked) .picture:not(.is-{class}){{display:none}}\n", self.name));
            }
        }
        rules
    }
}

impl Render for Gallery {
    fn render(&self) -> Markup {
        let choices: Vec<Vec<&str>> = (0..self.filters.len()).map(|filter| self.choices(filter)).collect();
        let classes = |picture: &Picture| {
            let class = |(f, facet): (usize, &String)| choices.get(f)?.iter().position(|choice| choice == facet).map(|c| format!(" is-{}-{f}-{c}", self.name));
            picture.facets.iter().enumerate().filter_map(class).collect::<String>()
        };
        html! {
            div.gallery-frame id={ "gallery-" (self.name) } {
                style { (PreEscaped(self.rules())) }
                @for (f, filter) in self.filters.iter().enumerate().filter(|(f, _)| choices[*f].len() > 1) {
                    fieldset.filter {
                        legend { (clean(filter)) }
                        input type="radio" name={ (self.name) "-" (f) } id={ "pick-" (self.name) "-" (f) "-all" } checked;
                        label for={ "pick-" (self.name) "-" (f) "-all" } { "all" }
                        @for (c, choice) in choices[f].iter().enumerate() {
                            input type="radio" name={ (self.name) "-" (f) } id={ "pick-" (self.name) "-" (f) "-" (c) };
                            label for={ "pick-" (self.name) "-" (f) "-" (c) } { (clean(choice)) }
                        }
                    }
                }
                div.gallery {
                    @for picture in &self.pictures {
                        figure class={ "picture" (classes(picture)) } {
                            img src={ "data:" (picture.media_type) ";base64," (picture.base64) } alt=(clean(&picture.title)) loading="lazy";
                            figcaption { strong { (clean(&picture.title)) } @for line in &picture.lines { span { (clean(line)) } } }
                        }
                    }
                }
            }
        }
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |word, (i, byte)| word | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            text.push(if i <= chunk.len() { DIGITS[(word >> (18 - 6 * i) & 63) as usize] as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_the_values_of_the_rfc() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn each_choice_of_a_filter_has_a_rule_and_its_pictures_the_class() {
        let mut gallery = Gallery::new("worst <1>").filters(["kind"]);
        gallery.push(Picture::new("image/png", b"x", "a").facets(["match"]));
        gallery.push(Picture::new("image/png", b"y", "b").facets(["miss\"><script>"]));
        let html = gallery.render().into_string();
        assert!(html.contains("#gallery-worst1:has(#pick-worst1-0-1:checked) .picture:not(.is-worst1-0-1){display:none}"));
        assert!(html.contains("class=\"picture is-worst1-0-1\"") && html.contains("id=\"pick-worst1-0-1\""));
        assert!(!html.contains("<script"));
    }
}
