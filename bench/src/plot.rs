//! `bench plot`: what was measured, as pictures.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use plotters::prelude::*;

use crate::curves::Point;
use crate::peer::Result;

/// What to draw.
#[derive(Debug, Args)]
pub(crate) struct PlotArgs {
    /// The rows that `bench engine --save` wrote
    #[arg(long)]
    engine: PathBuf,
    /// The folder for the pictures
    #[arg(long)]
    into: PathBuf,
}

const SIZE: (u32, u32) = (720, 440);
/// One for each durability, told apart by those who see no red or green too (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 3] =
    [RGBColor(0, 114, 178), RGBColor(230, 159, 0), RGBColor(0, 158, 115)];

pub(crate) fn run(args: &PlotArgs) -> Result<()> {
    let points: Vec<Point> = serde_json::from_str(&fs::read_to_string(&args.engine)?)?;
    fs::create_dir_all(&args.into)?;
    let singles: Vec<&Point> = points.iter().filter(|point| point.batch == 1).collect();
    let throughput = Picture {
        caption: "Latency of a send (p50 and p99) as clients are added, one task a call",
        x: "tasks per second",
        y: "microseconds",
        lines: by_durability(&singles, |point| {
            vec![(point.tasks_per_second, point.enqueue_p50_us)]
        })
        .into_iter()
        .chain(by_durability(&singles, |point| {
            vec![(point.tasks_per_second, point.enqueue_p99_us)]
        }))
        .collect(),
    };
    throughput.draw(&args.into.join("latency.svg"))?;
    let cpu = Picture {
        caption: "Processor time of a task by the size of a call, one client",
        x: "tasks in a call",
        y: "microseconds",
        lines: by_durability(
            &points.iter().filter(|point| point.clients == 1).collect::<Vec<_>>(),
            |point| vec![(point.batch as f64, point.cpu_us_per_task)],
        ),
    };
    cpu.draw(&args.into.join("processor.svg"))
}

/// A line of a picture.
struct Line {
    name: String,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

fn by_durability(points: &[&Point], at: impl Fn(&Point) -> Vec<(f64, f64)>) -> Vec<Line> {
    let names = ["always", "interval", "never"];
    let lines = names.iter().zip(COLOURS).map(|(name, colour)| {
        let of_name = points.iter().filter(|point| point.durability == **name);
        let points = of_name.flat_map(|point| at(point)).collect();
        Line { name: (*name).to_owned(), colour, points }
    });
    lines.filter(|line| !line.points.is_empty()).collect()
}

/// Lines over two axes, both logarithmic.
struct Picture {
    caption: &'static str,
    x: &'static str,
    y: &'static str,
    lines: Vec<Line>,
}

impl Picture {
    fn draw(&self, path: &Path) -> Result<()> {
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let (x, y) = (range(points().map(|(x, _)| x)), range(points().map(|(_, y)| y)));
        let mut chart = ChartBuilder::on(&root)
            .caption(self.caption, ("sans-serif", 16))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(x.log_scale(), y.log_scale())?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&|value| short(*value))
            .y_label_formatter(&|value| short(*value))
            .light_line_style(WHITE)
            .draw()?;
        for (number, line) in self.lines.iter().enumerate() {
            let colour = line.colour;
            // WHY: the second line of a colour is its higher percentile.
            let width = if number < COLOURS.len() { 2 } else { 1 };
            let drawn = chart.draw_series(
                LineSeries::new(line.points.iter().copied(), colour.stroke_width(width))
                    .point_size(3),
            )?;
            if number < COLOURS.len() {
                drawn.label(&line.name).legend(move |(x, y)| {
                    PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2))
                });
            }
        }
        chart
            .configure_series_labels()
            .border_style(BLACK.mix(0.2))
            .background_style(WHITE)
            .draw()?;
        root.present()?;
        Ok(())
    }
}

/// From a little below the smallest to a little above the largest.
fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) =
        values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    low * 0.8..high * 1.25
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e3 => format!("{}k", value / 1e3),
        value => format!("{value}"),
    }
}
