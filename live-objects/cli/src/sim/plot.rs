//! What a story saw in each of its rounds, drawn as SVG: panels one below the other, with the
//! rounds from left to right in all of them.
//!
//! The file is written by hand, since it is lines and text, and crates that draw plots bring more
//! code than this. Any browser shows it, without a script, and it is the same for the same seed.
//!
//! What is plotted is what the figures of the JSON are taken from, under the first seed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// What was seen under one seed.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Plot {
    pub(super) panels: Vec<Panel>,
}

/// Some curves of one unit.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Panel {
    /// What it shows, and in which unit.
    pub(super) title: &'static str,
    pub(super) scale: Scale,
    pub(super) curves: Vec<Curve>,
}

/// How values go up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scale {
    /// From 0 to 100.
    Percent,
    /// From 0 on.
    Linear,
    /// By powers of ten; what is below a millionth stands there.
    Logarithmic,
}

/// A value a round.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Curve {
    pub(super) name: &'static str,
    /// Of the first round first.
    pub(super) values: Vec<f64>,
}

impl Curve {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, values: Vec::new() }
    }
}

impl Plot {
    /// Whether a story goes by rounds, so that there is something to plot.
    pub(super) fn is_of(scenario: &str) -> bool {
        SCENARIOS.contains(&scenario)
    }

    /// Which do.
    pub(super) fn scenarios() -> String {
        SCENARIOS.join(", ")
    }

    /// Writes it into a file, under these headings.
    pub(super) fn write(&self, file: &Path, headings: &[String]) -> std::io::Result<()> {
        fs::write(file, self.svg(headings))
    }

    fn svg(&self, headings: &[String]) -> String {
        let top = HEADING_HEIGHT * headings.len() as f64 + MARGIN;
        let height = top + self.panels.len() as f64 * PANEL_HEIGHT + MARGIN;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
        );
        for (at, heading) in headings.iter().enumerate() {
            let y = MARGIN + HEADING_HEIGHT * (at as f64 + 0.5);
            let weight = if at == 0 { " font-weight=\"bold\"" } else { "" };
            text(&mut svg, (LEFT, y), &format!("text-anchor=\"start\"{weight}"), heading);
        }
        let rounds = self.rounds();
        for (at, panel) in self.panels.iter().enumerate() {
            panel.draw(&mut svg, top + at as f64 * PANEL_HEIGHT, rounds);
        }
        svg + "</svg>\n"
    }

    fn rounds(&self) -> usize {
        let curves = self.panels.iter().flat_map(|panel| &panel.curves);
        curves.map(|curve| curve.values.len()).max().unwrap_or(0)
    }
}

impl Panel {
    fn draw(&self, svg: &mut String, top: f64, rounds: usize) {
        let (upper, lower) = (top + TITLE_HEIGHT, top + PANEL_HEIGHT - AXIS_HEIGHT);
        let axis = Axis::of(self);
        let x = |round: f64| LEFT + (RIGHT - LEFT) * round / (rounds.max(1) as f64);
        let y = |value: f64| lower - (lower - upper) * axis.height(value);
        text(svg, (LEFT, top + 14.0), "text-anchor=\"start\"", self.title);
        for (tick, label) in axis.ticks() {
            let at = y(tick);
            line(svg, (LEFT, at), (RIGHT, at), "stroke=\"#ddd\"");
            text(svg, (LEFT - 6.0, at + 4.0), "text-anchor=\"end\"", &label);
        }
        for tick in ticks(rounds as f64) {
            let at = x(tick);
            line(svg, (at, lower), (at, lower + 4.0), "stroke=\"#555\"");
            text(svg, (at, lower + 17.0), "text-anchor=\"middle\"", &number(tick));
        }
        text(svg, (RIGHT + 24.0, lower + 17.0), "text-anchor=\"start\"", "round");
        line(svg, (LEFT, lower), (RIGHT, lower), "stroke=\"#555\"");
        line(svg, (LEFT, upper), (LEFT, lower), "stroke=\"#555\"");
        for (at, curve) in self.curves.iter().enumerate() {
            let (colour, dashes) = STROKES[at % STROKES.len()];
            let stroke = format!("stroke=\"{colour}\" stroke-width=\"1.8\"{dashes}");
            let points = curve
                .values
                .iter()
                .enumerate()
                .map(|(round, value)| format!("{:.1},{:.1}", x(round as f64 + 1.0), y(*value)));
            let points = points.collect::<Vec<_>>().join(" ");
            let _ = writeln!(svg, "<polyline points=\"{points}\" fill=\"none\" {stroke}/>");
            let legend = upper + 10.0 + 18.0 * at as f64;
            line(svg, (RIGHT + 10.0, legend), (RIGHT + 34.0, legend), &stroke);
            text(svg, (RIGHT + 40.0, legend + 4.0), "text-anchor=\"start\"", curve.name);
        }
    }
}

/// From the lower edge of a panel to its upper one.
struct Axis {
    scale: Scale,
    least: f64,
    most: f64,
}

impl Axis {
    fn of(panel: &Panel) -> Self {
        let values = panel.curves.iter().flat_map(|curve| &curve.values);
        let highest = values.copied().filter(|value| value.is_finite()).fold(0.0, f64::max);
        let (least, most) = match panel.scale {
            Scale::Percent => (0.0, 100.0),
            Scale::Linear => (0.0, if highest > 0.0 { highest } else { 1.0 }),
            Scale::Logarithmic => (LEAST, 10_f64.powf(highest.max(LEAST * 10.0).log10().ceil())),
        };
        Self { scale: panel.scale, least, most }
    }

    /// As a part of the axis.
    fn height(&self, value: f64) -> f64 {
        let value = if value.is_finite() { value.clamp(self.least, self.most) } else { self.most };
        match self.scale {
            Scale::Percent | Scale::Linear => value / self.most,
            Scale::Logarithmic => (value / self.least).log10() / (self.most / self.least).log10(),
        }
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let labelled = |tick: f64| (tick, number(tick));
        match self.scale {
            Scale::Percent => [0.0, 25.0, 50.0, 75.0, 100.0].map(labelled).to_vec(),
            Scale::Linear => ticks(self.most).into_iter().map(labelled).collect(),
            Scale::Logarithmic => {
                let highest = self.most.log10().round() as i32;
                let tick = |power: i32| labelled(10_f64.powi(power));
                (LEAST_POWER..=highest).step_by(2).map(tick).collect()
            }
        }
    }
}

/// A few round numbers from 0 to `most`.
fn ticks(most: f64) -> Vec<f64> {
    if most <= 0.0 {
        return vec![0.0];
    }
    let rough = most / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
    (0..).map(|at| f64::from(at) * step).take_while(|tick| *tick <= most * 1.000_001).collect()
}

/// As short as it can be told.
fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-4 { format!("{value:e}") } else { value.to_string() }
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), stroke: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {stroke}/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), attributes: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{text}</text>");
}

/// The stories that go by rounds.
const SCENARIOS: [&str; 4] = ["start", "churn", "aggregate", "shapes"];

/// What a logarithmic axis begins with.
const LEAST: f64 = 1e-6;
const LEAST_POWER: i32 = -6;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 760.0;
const MARGIN: f64 = 14.0;
const HEADING_HEIGHT: f64 = 20.0;
const PANEL_HEIGHT: f64 = 240.0;
/// What titles take above, and numbers below.
const TITLE_HEIGHT: f64 = 26.0;
const AXIS_HEIGHT: f64 = 38.0;

/// Colours that the colour-blind tell apart (Okabe and Ito, 2008), and dashes for who prints it.
const STROKES: [(&str, &str); 4] = [
    ("#0072b2", ""),
    ("#d55e00", " stroke-dasharray=\"6 3\""),
    ("#009e73", " stroke-dasharray=\"2 3\""),
    ("#cc79a7", " stroke-dasharray=\"8 3 2 3\""),
];

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    impl Plot {
        /// Whether every curve has a value for each of so many rounds.
        pub(in crate::sim) fn is_whole(&self, rounds: usize) -> bool {
            let mut curves = self.panels.iter().flat_map(|panel| &panel.curves);
            !self.panels.is_empty() && curves.all(|curve| curve.values.len() == rounds)
        }

        /// The last value of a curve.
        pub(in crate::sim) fn last(&self, name: &str) -> Option<f64> {
            let mut curves = self.panels.iter().flat_map(|panel| &panel.curves);
            curves.find(|curve| curve.name == name)?.values.last().copied()
        }
    }

    fn plot() -> Plot {
        let curve = |name, values: &[f64]| Curve { name, values: values.to_vec() };
        Plot {
            panels: vec![
                Panel {
                    title: "nodes, %",
                    scale: Scale::Percent,
                    curves: vec![
                        curve("exact", &[0.0, 0.0, 40.0, 100.0]),
                        curve("within 1 % & more", &[0.0, 50.0, 100.0, 100.0]),
                    ],
                },
                Panel {
                    title: "error, %",
                    scale: Scale::Logarithmic,
                    curves: vec![curve("worst", &[f64::INFINITY, 80.0, 0.01, 0.0])],
                },
                Panel {
                    title: "bytes",
                    scale: Scale::Linear,
                    curves: vec![curve("datagrams", &[900.0, 1_400.0, 1_000.0, 700.0])],
                },
            ],
        }
    }

    /// The names of all elements, if each that was opened is closed again, and what stands in
    /// attributes and between elements is escaped.
    fn elements(svg: &str) -> Vec<String> {
        let (mut open, mut all): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        let mut rest = svg;
        while let Some((between, from)) = rest.split_once('<') {
            assert!(open.is_empty() == between.trim().is_empty() || !open.is_empty());
            let entities = between.matches('&').count();
            let known = ["&amp;", "&lt;", "&gt;"].map(|it| between.matches(it).count());
            assert_eq!(entities, known.iter().sum::<usize>(), "{between}");
            let (tag, after) = from.split_once('>').expect("a tag ends");
            rest = after;
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name));
                continue;
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            assert!(!tag.contains('&'), "{tag}");
            let name = tag.split([' ', '/']).next().expect("a name").to_owned();
            all.push(name.clone());
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty() && rest.trim().is_empty());
        all
    }

    #[test]
    fn a_plot_is_well_formed_and_has_a_point_a_round() {
        let svg = plot().svg(&["a story <of nodes>".to_owned(), "round_exact: 4".to_owned()]);
        let elements = elements(&svg);
        assert_eq!(elements[0], "svg");
        assert_eq!(elements.iter().filter(|name| *name == "polyline").count(), 4);
        for points in svg.lines().filter_map(|line| line.strip_prefix("<polyline points=\"")) {
            let points: Vec<(f64, f64)> = points
                .split('"')
                .next()
                .expect("points")
                .split(' ')
                .map(|point| point.split_once(',').expect("two numbers"))
                .map(|(x, y)| (x.parse().expect("a number"), y.parse().expect("a number")))
                .collect();
            assert_eq!(points.len(), 4);
            assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
            assert!(
                points.iter().all(|(x, y)| (LEFT..=RIGHT).contains(x) && (0.0..800.0).contains(y))
            );
        }
        for told in ["a story &lt;of nodes&gt;", "within 1 % &amp; more", ">round<", ">bytes<"] {
            assert!(svg.contains(told), "{told}");
        }
    }

    #[test]
    fn axes_have_round_numbers() {
        assert_eq!(ticks(60.0), [0.0, 20.0, 40.0, 60.0]);
        assert_eq!(ticks(1_400.0), [0.0, 500.0, 1_000.0]);
        assert_eq!(ticks(0.0), [0.0]);
        let plot = plot();
        let logarithmic = Axis::of(&plot.panels[1]);
        let labels: Vec<String> = logarithmic.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["1e-6", "0.0001", "0.01", "1", "100"]);
        assert_eq!([0.0, 1e-6, 100.0].map(|it| logarithmic.height(it)), [0.0, 0.0, 1.0]);
        assert_eq!(logarithmic.height(f64::INFINITY), 1.0);
        let percent = Axis::of(&plot.panels[0]);
        assert_eq!(percent.height(25.0), 0.25);
    }
}
