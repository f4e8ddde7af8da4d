//! A picture: panels one above the other, each with lines over two logarithmic axes. Large letters,
//! and what tells the lines apart above them, so that it can be read on a phone.

use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::peer::Result;

const WIDTH: u32 = 640;
const CAPTION_HEIGHT: u32 = 44;
/// Of a panel without what tells its lines apart.
const PANEL_HEIGHT: u32 = 330;
const LEGEND_ROW_HEIGHT: u32 = 26;
/// Entries of a row of what tells the lines apart.
const LEGEND_COLUMNS: usize = 3;
const TITLE_HEIGHT: u32 = 30;
const LETTERS: u32 = 17;
/// Numbers beside an axis.
const TICKS_MAX: usize = 8;

/// Told apart by those who see no red or green too (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 86, 86),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Panels under one caption.
pub(super) struct Picture {
    pub(super) caption: &'static str,
    pub(super) panels: Vec<Panel>,
}

/// Lines over two axes.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) lines: Vec<Line>,
}

/// A line of a panel.
pub(super) struct Line {
    name: String,
    /// Which of the colours and markers it has.
    number: usize,
    stroke: Stroke,
    points: Vec<Point>,
}

/// How a line is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stroke {
    Solid,
    /// What the solid line of the same colour is held against.
    Dashed,
}

/// What stands at the points of a line.
enum Marker {
    Circle,
    Triangle,
    Cross,
}

/// A point of a line, with what stands beside it.
#[derive(Clone, Debug)]
pub(super) struct Point {
    x: f64,
    y: f64,
    label: Option<String>,
}

impl Point {
    pub(super) fn new(x: f64, y: f64) -> Self {
        Self { x, y, label: None }
    }

    pub(super) fn labelled(self, label: String) -> Self {
        Self { label: Some(label), ..self }
    }
}

impl Line {
    pub(super) fn solid(name: impl Into<String>, number: usize, points: Vec<Point>) -> Self {
        Self { name: name.into(), number, stroke: Stroke::Solid, points }
    }

    pub(super) fn dashed(name: impl Into<String>, number: usize, points: Vec<Point>) -> Self {
        Self { name: name.into(), number, stroke: Stroke::Dashed, points }
    }

    fn colour(&self) -> RGBColor {
        COLOURS.get(self.number % COLOURS.len()).copied().unwrap_or(BLACK)
    }

    fn style(&self) -> ShapeStyle {
        self.colour().stroke_width(2)
    }

    fn marker(&self) -> Marker {
        match self.number % 3 {
            0 => Marker::Circle,
            1 => Marker::Triangle,
            _ => Marker::Cross,
        }
    }

    fn places(&self) -> impl Iterator<Item = (f64, f64)> + Clone {
        self.points.iter().map(|point| (point.x, point.y))
    }
}

impl Picture {
    /// Draws it as an SVG.
    pub(super) fn draw(&self, path: &Path) -> Result<()> {
        let height = CAPTION_HEIGHT + self.panels.iter().map(Panel::height).sum::<u32>();
        let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, mut rest) = root.split_vertically(CAPTION_HEIGHT);
        head.draw_text(self.caption, &letters(21), (14, 14))?;
        for panel in &self.panels {
            let (area, below) = rest.split_vertically(panel.height());
            panel.draw(&area)?;
            rest = below;
        }
        Ok(root.present()?)
    }
}

impl Panel {
    fn legend_height(&self) -> u32 {
        LEGEND_ROW_HEIGHT * self.lines.len().div_ceil(LEGEND_COLUMNS) as u32
    }

    fn height(&self) -> u32 {
        TITLE_HEIGHT + self.legend_height() + PANEL_HEIGHT
    }

    fn draw(&self, area: &Area<'_>) -> Result<()> {
        let (head, body) = area.split_vertically(TITLE_HEIGHT + self.legend_height());
        head.draw_text(&self.title, &letters(19), (14, 6))?;
        for (place, line) in self.lines.iter().enumerate() {
            let column = (WIDTH as usize / LEGEND_COLUMNS * (place % LEGEND_COLUMNS)) as i32 + 14;
            let row = LEGEND_ROW_HEIGHT as usize * (place / LEGEND_COLUMNS);
            entry(&head, line, column, TITLE_HEIGHT as i32 + row as i32)?;
        }
        self.draw_lines(&body)
    }

    fn draw_lines(&self, area: &Area<'_>) -> Result<()> {
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let (x, y) = (range(points().map(|p| p.x)), range(points().map(|p| p.y)));
        let (x_ticks, y_ticks) = (ticks(&x), ticks(&y));
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .margin_left(4)
            .x_label_area_size(52)
            .y_label_area_size(76)
            .build_cartesian_2d(
                x.log_scale().with_key_points(x_ticks),
                y.log_scale().with_key_points(y_ticks),
            )?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .label_style(letters(LETTERS))
            .axis_desc_style(letters(LETTERS))
            .x_label_formatter(&|value| short(*value))
            .y_label_formatter(&|value| short(*value))
            .bold_line_style(BLACK.mix(0.15))
            .max_light_lines(0)
            .draw()?;
        for line in &self.lines {
            let (places, style) = (line.places(), line.style());
            match line.stroke {
                Stroke::Dashed => {
                    chart.draw_series(DashedLineSeries::new(places, 6, 5, style))?;
                    continue;
                }
                Stroke::Solid => chart.draw_series(LineSeries::new(places, style))?,
            };
            match line.marker() {
                Marker::Circle => {
                    chart.draw_series(line.places().map(|at| Circle::new(at, 5, style.filled())))?
                }
                Marker::Triangle => chart.draw_series(
                    line.places().map(|at| TriangleMarker::new(at, 7, style.filled())),
                )?,
                Marker::Cross => {
                    chart.draw_series(line.places().map(|at| Cross::new(at, 5, style)))?
                }
            };
            let labelled = line.points.iter().filter_map(|p| Some(((p.x, p.y), p.label.clone()?)));
            chart.draw_series(labelled.map(|(at, label)| {
                EmptyElement::at(at) + Text::new(label, (-6, 9), letters(LETTERS - 2))
            }))?;
        }
        Ok(())
    }
}

/// What tells a line apart: a piece of it, its marker and its name.
fn entry(area: &Area<'_>, line: &Line, x: i32, y: i32) -> Result<()> {
    let (middle, style) = (y + LEGEND_ROW_HEIGHT as i32 / 2, line.style());
    let pieces: &[(i32, i32)] = match line.stroke {
        Stroke::Solid => &[(0, 34)],
        Stroke::Dashed => &[(0, 8), (13, 21), (26, 34)],
    };
    for (from, to) in pieces {
        area.draw(&PathElement::new(vec![(x + from, middle), (x + to, middle)], style))?;
    }
    let at = (x + 17, middle);
    match line.marker() {
        _ if line.stroke == Stroke::Dashed => {}
        Marker::Circle => area.draw(&Circle::new(at, 5, style.filled()))?,
        Marker::Triangle => area.draw(&TriangleMarker::new(at, 7, style.filled()))?,
        Marker::Cross => area.draw(&Cross::new(at, 5, style))?,
    }
    Ok(area.draw_text(&line.name, &letters(LETTERS), (x + 42, y + 4))?)
}

fn letters(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK)
}

/// From a little below the smallest to a little above the largest.
fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) =
        values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    low * 0.8..high * 1.25
}

/// Round numbers of a range, as many as can be read beside each other.
fn ticks(range: &Range<f64>) -> Vec<f64> {
    let decades = range.start.log10().floor() as i32..=range.end.log10().floor() as i32;
    let of = |digits: &[u32]| -> Vec<f64> {
        let all = decades.clone().flat_map(|decade| {
            // WHY: divided, so that a tenth is one in its label too.
            let unit = 10_f64.powi(decade.abs());
            let at = move |digit| if decade < 0 { digit / unit } else { digit * unit };
            digits.iter().map(move |digit| at(f64::from(*digit)))
        });
        all.filter(|value| range.contains(value)).collect()
    };
    let choices = [of(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), of(&[1, 2, 5]), of(&[1])];
    let fitting = choices.iter().find(|ticks| ticks.len() <= TICKS_MAX);
    fitting.or(choices.last()).cloned().unwrap_or_default()
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e3 => format!("{}k", value / 1e3),
        value => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(&(0.8..125.0)), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(ticks(&(270.0..840.0)), [300.0, 400.0, 500.0, 600.0, 700.0, 800.0]);
        assert_eq!(ticks(&(0.3..0.55)), [0.3, 0.4, 0.5]);
        assert_eq!(ticks(&(0.8e3..1.25e7)), [1e3, 1e4, 1e5, 1e6, 1e7]);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.5, 300.0, 20_000.0, 1.5e6].map(short);
        assert_eq!(shown, ["0.5", "300", "20k", "1.5M"]);
    }
}
