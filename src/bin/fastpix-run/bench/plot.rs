//! The charts: speed-up by batch size beside the original paper's, and time by image size.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;

use super::report::Report;

/// Batch sizes and speed-ups of cached over naive generation that Ramachandran et al. 2017 (arXiv
/// 1704.06001) published for their PixelCNN++ on a Tesla K40.
const PUBLISHED: [(f64, f64); 9] = [
    (1.0, 2.0),
    (2.0, 4.0),
    (4.0, 6.0),
    (8.0, 10.0),
    (16.0, 18.0),
    (32.0, 33.0),
    (64.0, 61.0),
    (128.0, 109.0),
    (256.0, 183.0),
];

/// Width and height of the picture in pixels.
const PICTURE: (u32, u32) = (1200, 560);

/// The family under which the font is known here; in an SVG the viewer chooses its own.
const FONT: &str = "monospace";

const OURS: RGBColor = RGBColor(0, 90, 170);
const THEIRS: RGBColor = RGBColor(200, 80, 0);
const GUIDE: RGBColor = RGBColor(150, 150, 150);

/// The format of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Vectors.
    Svg,
    /// Pixels.
    Png,
}

impl Format {
    /// What a file's name asks for.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => Err(anyhow!(
                "--plot: expected a file name that ends in .svg or .png, found {}",
                path.display()
            )),
        }
    }
}

/// Draws the charts; gives the bytes of the file.
pub fn draw(format: Format, report: &Report) -> Result<Vec<u8>> {
    register_font(FONT, FontStyle::Normal, epaint_default_fonts::HACK_REGULAR)
        .map_err(|_| anyhow!("the chart's font cannot be read"))?;
    let failed = "the chart cannot be drawn";
    match format {
        Format::Svg => {
            let mut text = String::new();
            let root = SVGBackend::with_string(&mut text, PICTURE).into_drawing_area();
            charts(&root, report).context(failed)?;
            drop(root);
            Ok(text.into_bytes())
        }
        Format::Png => {
            let (width, height) = PICTURE;
            let mut pixels = vec![0; width as usize * height as usize * 3];
            let root = BitMapBackend::with_buffer(&mut pixels, PICTURE).into_drawing_area();
            charts(&root, report).context(failed)?;
            drop(root);
            png(&pixels, PICTURE)
        }
    }
}

fn png(pixels: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

fn charts<B: DrawingBackend>(root: &DrawingArea<B, Shift>, report: &Report) -> Drawn<B> {
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(PICTURE.0 / 2);
    speedups(&left, report)?;
    times(&right, report)?;
    root.present()
}

fn speedups<B: DrawingBackend>(area: &DrawingArea<B, Shift>, report: &Report) -> Drawn<B> {
    let ours: Vec<(f64, f64)> = report
        .batches
        .iter()
        .map(|row| (row.batch as f64, row.speedup))
        .collect();
    let all = || ours.iter().chain(&PUBLISHED);
    let (batches, speedups) = (
        range(all().map(|point| point.0)),
        range(all().map(|point| point.1)),
    );
    let mut chart = ChartBuilder::on(area)
        .caption("Speed-up over naive generation", (FONT, 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(batches.log_scale().base(2.0), speedups.log_scale())?;
    chart
        .configure_mesh()
        .x_desc("batch size")
        .y_desc("naive time / cached time")
        .label_style((FONT, 13))
        .x_label_formatter(&|x| number(*x))
        .y_label_formatter(&|y| number(*y))
        .draw()?;
    let series = [
        (
            format!("fastpix, {}, {}", report.device, report.precision),
            OURS,
            ours.as_slice(),
        ),
        (
            "Ramachandran et al. 2017, Tesla K40".to_owned(),
            THEIRS,
            PUBLISHED.as_slice(),
        ),
    ];
    for (name, color, points) in series {
        chart
            .draw_series(LineSeries::new(points.to_vec(), color.stroke_width(2)).point_size(4))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font((FONT, 13))
        .background_style(WHITE.mix(0.8))
        .border_style(GUIDE)
        .draw()
}

fn times<B: DrawingBackend>(area: &DrawingArea<B, Shift>, report: &Report) -> Drawn<B> {
    let mut points: Vec<(f64, f64, String)> = report
        .sizes
        .iter()
        .map(|row| (row.pixels(), row.seconds_per_image, row.name()))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (pixels, seconds) = (
        range(points.iter().map(|point| point.0)),
        range(points.iter().map(|point| point.1)),
    );
    let batch = report.sizes.first().map_or(1, |row| row.batch);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("Time per image, batch {batch}"), (FONT, 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(pixels.clone().log_scale().base(2.0), seconds.log_scale())?;
    chart
        .configure_mesh()
        .x_desc("pixels per image")
        .y_desc("seconds per image")
        .label_style((FONT, 13))
        .x_label_formatter(&|x| number(*x))
        .y_label_formatter(&|y| number(*y))
        .draw()?;
    if let Some(&(first, time, _)) = points.first() {
        let guide = [pixels.start, pixels.end].map(|at| (at, time * at / first));
        chart
            .draw_series(LineSeries::new(guide, GUIDE.stroke_width(1)))?
            .label("the first one's time per pixel")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], GUIDE.stroke_width(1)));
    }
    chart
        .draw_series(
            LineSeries::new(
                points.iter().map(|point| (point.0, point.1)),
                OURS.stroke_width(2),
            )
            .point_size(4),
        )?
        .label(format!("fastpix, {}", report.precision))
        .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], OURS.stroke_width(2)));
    chart.draw_series(points.iter().map(|(pixels, seconds, name)| {
        EmptyElement::at((*pixels, *seconds)) + Text::new(name.clone(), (8, 6), (FONT, 13))
    }))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font((FONT, 13))
        .background_style(WHITE.mix(0.8))
        .border_style(GUIDE)
        .draw()
}

/// A range with some room around positive numbers.
fn range(numbers: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    const ROOM: f64 = 1.6;
    let (low, high) = numbers.fold((f64::INFINITY, 0.0f64), |(low, high), x| {
        (low.min(x), high.max(x))
    });
    low / ROOM..high * ROOM
}

/// As few digits as three places of precision take.
fn number(x: f64) -> String {
    let places = (2.0 - x.abs().log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{x:.places$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}
