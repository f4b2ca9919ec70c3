//! Plots as inline SVG: lines over two axes, nothing that moves, nothing that is loaded.

use std::fmt::Write as _;

/// One line of a plot.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) points: Vec<(f64, f64)>,
}

/// How an axis counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    /// Powers of ten; what is not above zero is left out.
    Log,
    /// A share from 0 to 1, drawn so that the nines are as far apart as they are rare: 0.9, 0.99, 0.999.
    Nines,
}

/// One plot.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    pub(super) x: (&'a str, Scale),
    pub(super) y: (&'a str, Scale),
    pub(super) lines: Vec<Line<'a>>,
    /// A line across, with its name.
    pub(super) mark: Option<(f64, &'a str)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 40.0;
/// Colours that differ also for who sees few of them (Okabe, Ito).
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f",
];

impl Scale {
    /// Where a value stands, in units of its own.
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.max(f64::MIN_POSITIVE).log10(),
            Self::Nines => -(1.0 - value.clamp(0.0, 1.0 - 1e-6)).log10(),
        }
    }

    fn ticks(self, from: f64, to: f64) -> Vec<(f64, String)> {
        match self {
            Self::Linear => {
                let step = nice((to - from) / 5.0);
                let first = (from / step).ceil() * step;
                (0..12)
                    .map(|n| first + f64::from(n) * step)
                    .take_while(|at| *at <= to + step * 1e-6)
                    .map(|at| (at, short(at)))
                    .collect()
            }
            Self::Log => (-3..=9)
                .map(|power| 10_f64.powi(power))
                .filter(|at| (from - 1e-9..=to + 1e-9).contains(&self.place(*at)))
                .map(|at| (at, short(at)))
                .collect(),
            Self::Nines => [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999]
                .into_iter()
                .filter(|at| (from - 1e-9..=to + 1e-9).contains(&self.place(*at)))
                .map(|at| (at, format!("{}%", short(at * 100.0))))
                .collect(),
        }
    }
}

/// One, two or five times a power of ten.
fn nice(step: f64) -> f64 {
    let power = 10_f64.powf(step.max(1e-9).log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= step);
    factor.unwrap_or(10.0) * power
}

/// Without digits that say nothing.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

impl Plot<'_> {
    /// The whole `<svg>`; a plot without points says so.
    pub(super) fn draw(&self) -> String {
        let keep =
            |(x, y): &&(f64, f64)| x.is_finite() && y.is_finite() && (self.y.1 != Scale::Log || *y > 0.0);
        let lines: Vec<(&str, Vec<(f64, f64)>)> = self
            .lines
            .iter()
            .map(|line| {
                let kept = line.points.iter().filter(keep);
                let placed = kept.map(|(x, y)| (self.x.1.place(*x), self.y.1.place(*y)));
                (line.name, placed.collect())
            })
            .collect();
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\"><text class=\"t\" x=\"{LEFT}\" y=\"16\">{0}</text>",
            escape(self.title)
        );
        let all = || lines.iter().flat_map(|(_, points)| points);
        if all().next().is_none() {
            svg += "<text x=\"56\" y=\"130\">nothing to draw</text></svg>";
            return svg;
        }
        let mark = self.mark.map(|(at, name)| (self.y.1.place(at), name));
        let (x0, x1) = range(all().map(|point| point.0), self.x.1);
        let (y0, y1) = range(all().map(|point| point.1).chain(mark.map(|(at, _)| at)), self.y.1);
        let to_x = |x: f64| LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT);
        let to_y = |y: f64| HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);
        for (at, text) in self.x.1.ticks(x0, x1) {
            let x = to_x(self.x.1.place(at));
            let (top, bottom) = (TOP, HEIGHT - BOTTOM);
            write(
                &mut svg,
                format_args!(
                    "<path class=\"g\" d=\"M{x:.1} {top}V{bottom}\"/><text class=\"m\" x=\"{x:.1}\" y=\"{:.1}\">{text}</text>",
                    bottom + 14.0
                ),
            );
        }
        for (at, text) in self.y.1.ticks(y0, y1) {
            let y = to_y(self.y.1.place(at));
            write(
                &mut svg,
                format_args!(
                    "<path class=\"g\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text class=\"e\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
                    WIDTH - RIGHT,
                    LEFT - 5.0,
                    y + 4.0
                ),
            );
        }
        if let Some((at, name)) = mark {
            let y = to_y(at);
            write(
                &mut svg,
                format_args!(
                    "<path class=\"k\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text class=\"e\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    WIDTH - RIGHT,
                    WIDTH - RIGHT,
                    y - 4.0,
                    escape(name)
                ),
            );
        }
        for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let mut path = String::new();
            for (index, (x, y)) in points.iter().enumerate() {
                let verb = if index == 0 { 'M' } else { 'L' };
                write(&mut path, format_args!("{verb}{:.1} {:.1}", to_x(*x), to_y(*y)));
            }
            if let [(x, y)] = points[..] {
                write(
                    &mut svg,
                    format_args!(
                        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                        to_x(x),
                        to_y(y)
                    ),
                );
            }
            write(
                &mut svg,
                format_args!(
                    "<path class=\"l\" stroke=\"{colour}\" d=\"{path}\"><title>{}</title></path>",
                    escape(name)
                ),
            );
        }
        write(
            &mut svg,
            format_args!(
                "<text class=\"m\" x=\"{:.1}\" y=\"{:.1}\">{}</text><text class=\"e\" x=\"{:.1}\" y=\"16\">{}</text></svg>",
                LEFT + (WIDTH - LEFT - RIGHT) / 2.0,
                HEIGHT - 6.0,
                escape(self.x.0),
                WIDTH - RIGHT,
                escape(self.y.0)
            ),
        );
        svg += "<p class=\"legend\">";
        for ((name, _), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            write(
                &mut svg,
                format_args!(
                    "<span><i style=\"background:{colour}\"></i>{}</span>",
                    escape(name)
                ),
            );
        }
        svg += "</p>";
        svg
    }
}

/// From least to most; a linear axis begins at zero, and none is without width.
fn range(places: impl Iterator<Item = f64>, scale: Scale) -> (f64, f64) {
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for place in places {
        (least, most) = (least.min(place), most.max(place));
    }
    match scale {
        Scale::Linear => (least, most) = (least.min(0.0), most),
        Scale::Log => (least, most) = (least.floor(), most.ceil()),
        Scale::Nines => least = 0.0,
    }
    if most - least < 1e-9 {
        most = least + 1.0;
    }
    (least, most)
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
}

/// Text as HTML and SVG take it, in attributes too.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(y: Scale, points: &[(f64, f64)]) -> String {
        let plot = Plot {
            title: "a < b",
            x: ("seconds", Scale::Linear),
            y: ("ms", y),
            lines: vec![Line {
                name: "p99",
                points: points.to_vec(),
            }],
            mark: Some((200.0, "200 ms")),
        };
        plot.draw()
    }

    #[test]
    fn every_point_lies_inside_the_frame() {
        for scale in [Scale::Linear, Scale::Log] {
            let svg = plot(scale, &[(0.0, 1.0), (5.0, 1_000.0), (10.0, 30.0)]);
            let path = svg.split("d=\"M").last().unwrap().split('"').next().unwrap();
            let numbers: Vec<f64> = path
                .split(['L', ' '])
                .map(|number| number.parse().unwrap())
                .collect();
            assert_eq!(numbers.len(), 6);
            for pair in numbers.chunks(2) {
                assert!((LEFT..=WIDTH - RIGHT).contains(&pair[0]), "{svg}");
                assert!((TOP..=HEIGHT - BOTTOM).contains(&pair[1]), "{svg}");
            }
            assert!(svg.contains("a &lt; b") && svg.contains("200 ms"));
        }
    }

    #[test]
    fn what_cannot_be_drawn_does_no_harm() {
        assert!(plot(Scale::Linear, &[]).contains("nothing to draw"));
        assert!(plot(Scale::Log, &[(0.0, 0.0), (1.0, f64::NAN)]).contains("nothing to draw"));
        assert!(plot(Scale::Linear, &[(3.0, 5.0)]).contains("<circle"));
        assert!(!plot(Scale::Linear, &[(3.0, 0.0)]).contains("NaN"));
    }

    #[test]
    fn axes_have_round_numbers() {
        let ticks = |from, to| {
            Scale::Linear
                .ticks(from, to)
                .into_iter()
                .map(|tick| tick.1)
                .collect::<Vec<_>>()
        };
        assert_eq!(ticks(0.0, 10.0), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(ticks(0.0, 7_500.0), ["0", "2000", "4000", "6000"]);
        let nines = Scale::Nines.ticks(0.0, 3.0);
        assert_eq!(nines.last().map(|tick| tick.1.as_str()), Some("99.9%"));
    }
}
