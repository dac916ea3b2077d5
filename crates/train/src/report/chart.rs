//! Curves as SVG: a line that is smooth enough to be read, what it was smoothed from behind it, and
//! the places a script needs to tell values under the pointer.

use std::fmt::Write as _;

use html_escape::encode_safe as escaped;

/// Width and height of a chart, in its own units.
const SIZE: [f64; 2] = [520.0, 230.0];

/// Left, right, top and bottom of the field in which the curves lie.
const FIELD: [f64; 4] = [56.0, 508.0, 10.0, 200.0];

/// Points of a curve at most; more cannot be seen.
const POINTS: usize = 320;

/// From this ratio of largest to smallest number on, an axis counts powers.
const LOGARITHMIC_FROM: f64 = 8.0;

/// Numbers over the course of a run.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    pub(super) name: String,
    /// Updates done, and the number then.
    pub(super) points: Vec<[f64; 2]>,
    /// Whether it jumps about and is read as its running mean.
    pub(super) noisy: bool,
}

/// A chart with a heading.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    /// Whether the axis of numbers may count powers.
    pub(super) powers: bool,
    pub(super) curves: Vec<Curve>,
}

/// A way from numbers to places.
#[derive(Clone, Copy, Debug)]
struct Axis {
    from: f64,
    to: f64,
    places: [f64; 2],
    powers: bool,
}

impl Axis {
    fn place(&self, number: f64) -> f64 {
        let scale = |x: f64| if self.powers { x.max(f64::MIN_POSITIVE).ln() } else { x };
        let [from, to, x] = [self.from, self.to, number].map(scale);
        let share = if from < to { (x - from) / (to - from) } else { 0.5 };
        self.places[0] + share * (self.places[1] - self.places[0])
    }

    /// Round numbers along it.
    fn ticks(&self) -> Vec<f64> {
        if self.powers {
            let decades = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
            let factors: &[f64] =
                if self.to / self.from < 300.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let ticks = decades.flat_map(|d| factors.iter().map(move |f| f * 10_f64.powi(d)));
            return ticks.filter(|&tick| self.from <= tick && tick <= self.to).collect();
        }
        let rough = ((self.to - self.from) / 4.0).max(f64::MIN_POSITIVE);
        let unit = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|f| f * unit).into_iter().find(|&s| rough <= s);
        let step = step.unwrap_or(rough);
        let first = (self.from / step).ceil() as i64;
        let last = (self.to / step + 1e-9).floor() as i64;
        (first..=last).take(12).map(|k| k as f64 * step).collect()
    }
}

impl Chart {
    /// The chart as a figure of a page; nothing without a number.
    pub(super) fn html(&self) -> Option<String> {
        let curves: Vec<_> = self.curves.iter().filter(|c| !c.points.is_empty()).collect();
        if curves.is_empty() {
            return None;
        }
        let drawn: Vec<_> = curves.iter().map(|curve| Drawn::of(curve)).collect();
        let [across, up] = self.axes(&drawn);
        let mut svg = grid(&across, &up);
        let mut hover = Vec::new();
        for (index, curve) in drawn.iter().enumerate() {
            if curve.raw.len() > curve.line.len() || curves[index].noisy {
                let raw = path(&curve.raw, &across, &up);
                let _ = write!(svg, "<path class=\"raw c{index}\" d=\"{raw}\"/>");
            }
            let line = path(&curve.line, &across, &up);
            let _ = write!(svg, "<path class=\"line c{index}\" d=\"{line}\"/>");
            if curve.line.len() <= 40 {
                for point in &curve.line {
                    let [x, y] = [across.place(point[0]), up.place(point[1])];
                    let _ = write!(
                        svg,
                        "<circle class=\"c{index}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\"/>"
                    );
                }
            }
            let places = curve.line.iter().map(|&[x, y]| {
                serde_json::json!([tenth(across.place(x)), tenth(up.place(y)), x, y])
            });
            hover.push(serde_json::json!({
                "name": curves[index].name,
                "points": places.collect::<Vec<_>>(),
            }));
        }
        let legend = curves.iter().enumerate().map(|(index, curve)| {
            let last = curve.points.last().map_or(0.0, |point| point[1]);
            let value =
                if curve.noisy { drawn[index].line.last().map_or(last, |p| p[1]) } else { last };
            format!(
                "<span class=\"key c{index}\">{} <b data-curve=\"{index}\">{}</b></span>",
                escaped(&curve.name),
                short(value)
            )
        });
        let [width, height] = SIZE;
        let scale = if up.powers { "<span class=\"scale\">log</span>" } else { "" };
        Some(format!(
            "<figure class=\"chart\"><figcaption><h3>{}{scale}</h3><div class=\"keys\">{}</div></figcaption>\
             <svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\" data-curves=\"{}\">\
             <g clip-path=\"url(#field)\">{svg}</g>{}</svg></figure>",
            escaped(&self.title),
            legend.collect::<String>(),
            escaped(&self.title),
            escaped(&serde_json::Value::from(hover).to_string()),
            labels(&across, &up),
        ))
    }

    fn axes(&self, drawn: &[Drawn]) -> [Axis; 2] {
        let all = |pick: fn(&Drawn) -> &Vec<[f64; 2]>, axis: usize| -> Vec<f64> {
            drawn.iter().flat_map(|curve| pick(curve).iter().map(move |p| p[axis])).collect()
        };
        let steps = extent(&all(|curve| &curve.raw, 0));
        // A single outlier among the raw numbers must not flatten the curve.
        let mut numbers = all(|curve| &curve.raw, 1);
        numbers.sort_by(f64::total_cmp);
        let rank = |share: f64| numbers[((numbers.len() - 1) as f64 * share) as usize];
        let [low, high] =
            extent(&[all(|curve| &curve.line, 1), vec![rank(0.01), rank(0.99)]].concat());
        let powers = self.powers && 0.0 < low && LOGARITHMIC_FROM <= high / low;
        let [low, high] = match powers {
            true => [low / 1.1, high * 1.1],
            false => {
                let margin = 0.06 * (high - low).max(1e-9 + 0.02 * high.abs());
                [low - margin, high + margin]
            }
        };
        let [left, right, top, bottom] = FIELD;
        [
            Axis { from: steps[0], to: steps[1], places: [left, right], powers: false },
            Axis { from: low, to: high, places: [bottom, top], powers },
        ]
    }
}

/// A curve as it is drawn.
struct Drawn {
    /// What is read.
    line: Vec<[f64; 2]>,
    /// What it was smoothed from.
    raw: Vec<[f64; 2]>,
}

impl Drawn {
    fn of(curve: &Curve) -> Self {
        let finite = curve.points.iter().copied().filter(|point| point[1].is_finite());
        let points: Vec<_> = finite.collect();
        let line = if curve.noisy { running_mean(&points) } else { points.clone() };
        Self { line: thinned(&line), raw: thinned(&points) }
    }
}

/// The mean of what came before, with a memory of a fortieth of the run.
pub(super) fn running_mean(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let keep = 1.0 - 1.0 / (points.len() as f64 / 40.0).clamp(1.0, 100.0);
    let (mut mean, mut weight) = (0.0, 0.0);
    let smooth = points.iter().map(|&[step, number]| {
        mean = keep * mean + (1.0 - keep) * number;
        weight = keep * weight + (1.0 - keep);
        [step, mean / weight]
    });
    smooth.collect()
}

/// At most [`POINTS`] of the points, the last among them.
fn thinned(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let stride = points.len().div_ceil(POINTS).max(1);
    let mut thin: Vec<_> = points.iter().rev().step_by(stride).copied().collect();
    thin.reverse();
    thin
}

fn extent(numbers: &[f64]) -> [f64; 2] {
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    [low, numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max)]
}

fn path(points: &[[f64; 2]], across: &Axis, up: &Axis) -> String {
    let mut text = String::new();
    for (index, &[x, y]) in points.iter().enumerate() {
        let pen = if index == 0 { 'M' } else { 'L' };
        let _ = write!(text, "{pen}{:.1} {:.1}", across.place(x), up.place(y));
    }
    text
}

fn grid(across: &Axis, up: &Axis) -> String {
    let [left, right, ..] = FIELD;
    let _ = across;
    let line = |tick| {
        let y = up.place(tick);
        format!("<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/>")
    };
    up.ticks().into_iter().map(line).collect()
}

fn labels(across: &Axis, up: &Axis) -> String {
    let [left, _, _, bottom] = FIELD;
    let mut text = String::new();
    for tick in up.ticks() {
        let (x, y) = (left - 8.0, up.place(tick) + 4.0);
        let _ = write!(text, "<text class=\"up\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", short(tick));
    }
    for tick in across.ticks().into_iter().filter(|tick| tick.fract() == 0.0) {
        let (x, y) = (across.place(tick), bottom + 20.0);
        let _ = write!(text, "<text class=\"across\" x=\"{x:.1}\" y=\"{y:.1}\">{tick}</text>");
    }
    text
}

fn tenth(place: f64) -> f64 {
    (place * 10.0).round() / 10.0
}

/// A number in as few signs as say it.
pub(super) fn short(number: f64) -> String {
    let size = number.abs();
    let text = match size {
        _ if size == 0.0 => return "0".into(),
        1000.0.. => return format!("{number:.0}"),
        100.0.. => format!("{number:.1}"),
        1.0.. => format!("{number:.2}"),
        0.001.. => format!("{number:.4}"),
        _ => return format!("{number:.1e}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A curve without axes, for a list of runs.
pub(super) fn sparkline(points: &[[f64; 2]]) -> String {
    let smooth = thinned(&running_mean(points));
    if smooth.len() < 2 {
        return String::new();
    }
    let [from, to] = extent(&smooth.iter().map(|p| p[0]).collect::<Vec<_>>());
    let [low, high] = extent(&smooth.iter().map(|p| p[1]).collect::<Vec<_>>());
    let powers = 0.0 < low && LOGARITHMIC_FROM <= high / low;
    let across = Axis { from, to, places: [2.0, 158.0], powers: false };
    let up = Axis { from: low, to: high, places: [38.0, 4.0], powers };
    let line = path(&smooth, &across, &up);
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 160 42\" aria-hidden=\"true\"><path class=\"line c0\" d=\"{line}\"/></svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_short() {
        let numbers = [0.0, 1.0, 0.25, 0.00012, 1234.5, -2.5];
        assert_eq!(numbers.map(short), ["0", "1", "0.25", "1.2e-4", "1234", "-2.5"]);
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis { from: 0.13, to: 0.87, places: [0.0, 1.0], powers: false };
        let ticks: Vec<_> = axis.ticks().into_iter().map(short).collect();
        assert_eq!(ticks, ["0.2", "0.4", "0.6", "0.8"]);
        let axis = Axis { from: 0.03, to: 4.0, places: [0.0, 1.0], powers: true };
        let ticks: Vec<_> = axis.ticks().into_iter().map(short).collect();
        assert_eq!(ticks, ["0.05", "0.1", "0.2", "0.5", "1", "2"]);
    }

    #[test]
    fn a_chart_without_numbers_is_none_and_one_number_is_enough() {
        let chart = |points| {
            let curve = Curve { name: "loss".into(), points, noisy: true };
            Chart { title: "Loss".into(), powers: true, curves: vec![curve] }.html()
        };
        assert_eq!(chart(Vec::new()), None);
        let one = chart(vec![[1.0, 0.5]]).unwrap();
        assert!(one.contains("<svg") && !one.contains("NaN"), "{one}");
    }

    #[test]
    fn a_running_mean_of_a_constant_is_the_constant() {
        let points: Vec<_> = (0..500).map(|step| [f64::from(step), 2.0]).collect();
        assert!(running_mean(&points).iter().all(|point| (point[1] - 2.0).abs() < 1e-12));
        assert_eq!(thinned(&points).last(), points.last());
    }
}
