//! Draws pictures as SVG: a light ground, thin lines, words that can be read and searched.

use std::fmt::Write as _;

use super::markup::escaped;

/// A picture that is being drawn. Lengths are pixels, from the upper left corner.
pub struct Svg {
    text: String,
}

/// Where a text lies beside its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// It is centred there.
    Middle,
    /// It ends there.
    End,
}

impl Anchor {
    const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stroke {
    /// Such as `#1f6f54`.
    pub colour: &'static str,
    /// In pixels.
    pub width: f64,
    /// Whether it is dashed.
    pub dashed: bool,
}

impl Stroke {
    /// A thin line.
    pub const fn thin(colour: &'static str) -> Self {
        Self {
            colour,
            width: 1.0,
            dashed: false,
        }
    }

    /// A line that stands out.
    pub const fn bold(colour: &'static str) -> Self {
        Self {
            width: 1.8,
            ..Self::thin(colour)
        }
    }

    /// A thin line with gaps.
    pub const fn dashed(colour: &'static str) -> Self {
        Self {
            dashed: true,
            ..Self::thin(colour)
        }
    }
}

impl Svg {
    /// An empty picture on white; `title` is read to those who do not see it.
    pub fn new(width: f64, height: f64, title: &str) -> Self {
        let title = escaped(title);
        Self {
            text: format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
                 font-family=\"sans-serif\" font-size=\"11\">\n<title>{title}</title>\n\
                 <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
            ),
        }
    }

    /// A text on its line.
    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, colour: &'static str, text: &str) {
        let (anchor, text) = (anchor.name(), escaped(text));
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>\n"
        ));
    }

    /// A text that stands above others.
    pub fn heading(&mut self, x: f64, y: f64, text: &str) {
        let text = escaped(text);
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"13\" font-weight=\"bold\">{text}</text>\n"
        ));
    }

    /// A line through points; a place that is no number leaves a gap.
    pub fn line(&mut self, points: impl IntoIterator<Item = (f64, f64)>, stroke: Stroke) {
        let mut path = String::new();
        let mut is_open = false;
        for (x, y) in points {
            let is_there = x.is_finite() && y.is_finite();
            if is_there {
                let step = if is_open { 'L' } else { 'M' };
                let _ = write!(path, "{step}{x:.1} {y:.1}");
            }
            is_open = is_there;
        }
        if path.is_empty() {
            return;
        }
        let Stroke {
            colour,
            width,
            dashed,
        } = stroke;
        let dash = if dashed {
            " stroke-dasharray=\"4 3\""
        } else {
            ""
        };
        self.add(format_args!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"{dash}/>\n"
        ));
    }

    /// A shape within points.
    pub fn area(&mut self, points: impl IntoIterator<Item = (f64, f64)>, colour: &'static str) {
        let mut path = String::new();
        for (x, y) in points
            .into_iter()
            .filter(|(x, y)| x.is_finite() && y.is_finite())
        {
            let step = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{step}{x:.1} {y:.1}");
        }
        if !path.is_empty() {
            self.add(format_args!("<path d=\"{path}Z\" fill=\"{colour}\"/>\n"));
        }
    }

    /// A dot.
    pub fn dot(&mut self, x: f64, y: f64, colour: &'static str) {
        self.add(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>\n"
        ));
    }

    /// The picture's text.
    pub fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    fn add(&mut self, part: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.text.write_fmt(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_typed_is_text_and_gaps_are_gaps() {
        let mut svg = Svg::new(10.0, 10.0, "a<b>&\"");
        svg.text(1.0, 2.0, Anchor::End, "#000", "</text><script>\u{1b}");
        let points = [(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0), (3.0, 4.0)];
        svg.line(points, Stroke::dashed("#111"));
        svg.line([(f64::NAN, 1.0)], Stroke::thin("#222"));
        svg.area([], "#333");
        let text = svg.finish();
        assert!(
            !text.contains("<script") && !text.contains('\u{1b}'),
            "{text}"
        );
        assert!(text.contains("<title>a&lt;b&gt;&amp;&quot;</title>"));
        assert!(text.contains("M0.0 1.0M2.0 3.0L3.0 4.0"), "{text}");
        assert!(!text.contains("#222") && !text.contains("#333"));
        assert_eq!(text.matches("<svg").count(), text.matches("</svg>").count());
    }
}
