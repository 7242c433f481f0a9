//! Pictures: lines over two axes, as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 250.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;
/// Told apart by people who see colours differently too (Okabe and Ito's), the first for Littoral.
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999",
];

/// How values become places.
#[derive(Debug, Clone, Copy)]
pub enum Scale {
    /// Evenly, from 0.
    Even,
    /// By powers of ten.
    Tens,
}

/// A line through points.
#[derive(Debug, Clone)]
pub struct Line {
    /// What the legend says.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// A picture.
#[derive(Debug, Clone)]
pub struct Plot<'a> {
    /// What it shows.
    pub title: &'a str,
    /// The axis from left to right, with its unit.
    pub x: (&'a str, Scale),
    /// The axis from bottom to top, with its unit.
    pub y: (&'a str, Scale),
    /// What is drawn.
    pub lines: Vec<Line>,
}

struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn over(scale: Scale, values: &[f64]) -> Self {
        let most = values.iter().copied().fold(0.0_f64, f64::max).max(1e-9);
        let least = values
            .iter()
            .copied()
            .filter(|value| *value > 0.0)
            .fold(most, f64::min);
        match scale {
            Scale::Even => {
                let step = step(most / 6.0);
                let count = (most / step).ceil();
                let ticks = (0..=count as u32).map(|tick| f64::from(tick) * step);
                Self {
                    scale,
                    from: 0.0,
                    to: count * step,
                    ticks: ticks.collect(),
                }
            }
            Scale::Tens => {
                // Half a power at an end is enough where the values do not fill it.
                let (low, high) = (edge(least, f64::floor), edge(most, f64::ceil));
                let (from, to) = (low.min(high), if high > low { high } else { low * 10.0 });
                let powers = from.log10().floor() as i32..=to.log10().ceil() as i32;
                let ticks = powers.flat_map(|power| [1.0, 3.0].map(|of| of * 10_f64.powi(power)));
                let inside = |tick: &f64| (from * 0.99..=to * 1.01).contains(tick);
                Self {
                    scale,
                    from,
                    to,
                    ticks: ticks.filter(inside).collect(),
                }
            }
        }
    }

    /// From 0 to 1.
    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Even => (value - self.from) / (self.to - self.from),
            Scale::Tens => {
                let value = value.max(self.from);
                (value / self.from).log10() / (self.to / self.from).log10()
            }
        }
    }
}

/// The next of 1, 3, 10, 30 and so on, up or down.
fn edge(value: f64, round: fn(f64) -> f64) -> f64 {
    let halves = round(value.log10() * 2.0) as i32;
    let whole = 10_f64.powi(halves.div_euclid(2));
    if halves.rem_euclid(2) == 1 {
        whole * 3.0
    } else {
        whole
    }
}

/// A round number of at least this much.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let of = [1.0, 2.0, 2.5, 5.0, 10.0];
    let of = of.into_iter().find(|of| of * power >= least * 0.999);
    of.unwrap_or(10.0) * power
}

fn number(value: f64) -> String {
    if value >= 1_000_000.0 {
        format!("{} M", value / 1_000_000.0)
    } else if value >= 1000.0 {
        format!("{} k", value / 1000.0)
    } else {
        // Sums of steps carry what floating point adds.
        format!("{}", (value * 1e6).round() / 1e6)
    }
}

impl Plot<'_> {
    /// The picture.
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let xs: Vec<f64> = points().map(|point| point.0).collect();
        let ys: Vec<f64> = points().map(|point| point.1).collect();
        let (x, y) = (Axis::over(self.x.1, &xs), Axis::over(self.y.1, &ys));
        let across = |value: f64| LEFT + x.place(value) * (WIDTH - LEFT - RIGHT);
        let up = |value: f64| HEIGHT - BOTTOM - y.place(value) * (HEIGHT - TOP - BOTTOM);
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
             <text x=\"{LEFT}\" y=\"28\" font-size=\"16\" font-weight=\"bold\">{}</text>\n",
            self.title
        );
        for &tick in &x.ticks {
            let at = across(tick);
            let _ = writeln!(
                svg,
                "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#e4e4e4\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 18.0,
                number(tick)
            );
        }
        for &tick in &y.ticks {
            let at = up(tick);
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#e4e4e4\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                at + 4.5,
                number(tick)
            );
        }
        let (middle, centre) = (f64::midpoint(LEFT, right), f64::midpoint(TOP, bottom));
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#333333\"/>\n\
             <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(20 {centre}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 14.0,
            self.x.0,
            self.y.0
        );
        for (at, (line, colour)) in self.lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let path: Vec<String> = line
                .points
                .iter()
                .map(|point| format!("{:.1} {:.1}", across(point.0), up(point.1)))
                .collect();
            let _ = writeln!(
                svg,
                "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linejoin=\"round\"/>",
                path.join("L")
            );
            // Every point of a distribution would be a second, thicker line.
            for point in path.iter().filter(|_| line.points.len() <= 30) {
                let (cx, cy) = point.split_once(' ').unwrap_or_default();
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"3\" fill=\"{colour}\"/>"
                );
            }
            let y = TOP + 10.0 + 22.0 * at as f64;
            let _ = writeln!(
                svg,
                "<path d=\"M{} {y}h22\" stroke=\"{colour}\" stroke-width=\"3\"/><text x=\"{}\" y=\"{}\">{}</text>",
                right + 14.0,
                right + 42.0,
                y + 4.5,
                line.name
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        let even = Axis::over(Scale::Even, &[3.0, 57.0]);
        assert_eq!((even.from, even.to), (0.0, 60.0));
        let tens = Axis::over(Scale::Tens, &[0.2, 45.0]);
        assert!((tens.from - 0.1).abs() < 1e-9 && (tens.to - 100.0).abs() < 1e-9);
        assert!((tens.place(0.1)).abs() < 1e-9 && (tens.place(100.0) - 1.0).abs() < 1e-9);
    }
}
