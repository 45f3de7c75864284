//! The chart of the README: CPU time of each job under each runtime, as bars on a logarithmic scale.

use crate::report::Report;
use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
/// Where the bars begin: job names are left of it.
const LEFT: f64 = 180.0;
/// Room for the number at the end of the longest bar.
const RIGHT: f64 = 50.0;
const BAR: f64 = 13.0;
const GAP: f64 = 12.0;
const TOP: f64 = 78.0;
/// Told apart by people who do not see all colours (Okabe and Ito's palette).
const COLOURS: [&str; 7] = ["#999999", "#56b4e9", "#0072b2", "#009e73", "#d55e00", "#e69f00", "#cc79a7"];

/// Draws it.
pub(crate) fn svg(report: &Report) -> String {
    let mut text = String::new();
    draw(report, &mut text).expect("a string takes it");
    text
}

fn draw(report: &Report, out: &mut String) -> std::fmt::Result {
    let mut rows: Vec<(&str, Vec<Option<f64>>)> = report
        .jobs
        .iter()
        .map(|job| (job.name, (1..report.runtimes.len()).map(|i| job.ratio(i, |c| c.cpu)).collect()))
        .collect();
    rows.push(("geometric mean", (1..report.runtimes.len()).map(|i| report.mean(i, |c| c.cpu)).collect()));
    let most = rows.iter().flat_map(|r| &r.1).flatten().fold(2.0f64, |a, &b| a.max(b));
    // From 0.9, so that a ratio of 1 is a bar one can see.
    let at = |ratio: f64| LEFT + (WIDTH - LEFT - RIGHT) * (ratio.max(0.9) / 0.9).ln() / (most / 0.9).ln();
    let bars: usize = rows.iter().map(|r| r.1.iter().flatten().count()).sum();
    let height = TOP + bars as f64 * BAR + rows.len() as f64 * GAP + 24.0;

    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\" font-weight=\"bold\">CPU time of whole programs, times native (log scale; shorter is better)</text>\n\
         <text x=\"12\" y=\"40\" fill=\"#555555\">Linux {}, {} CPUs; {} rounds in turn, medians; all processes, the tracer's too</text>",
        escape(&report.kernel),
        report.cpus,
        report.rounds
    )?;
    let mut x = 12.0;
    for (name, colour) in report.runtimes[1..].iter().zip(COLOURS) {
        writeln!(out, "<rect x=\"{x}\" y=\"50\" width=\"11\" height=\"11\" fill=\"{colour}\"/>")?;
        writeln!(out, "<text x=\"{}\" y=\"60\">{}</text>", x + 16.0, escape(name))?;
        x += 34.0 + 6.6 * name.len() as f64;
    }
    for tick in [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0] {
        if tick > most {
            break;
        }
        let (x, bottom) = (at(tick), height - 20.0);
        let colour = if tick == 1.0 { "#333333" } else { "#dddddd" };
        writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"{colour}\"/>"
        )?;
        let y = bottom + 14.0;
        writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" fill=\"#555555\">{tick}×</text>"
        )?;
    }
    let mut y = TOP + GAP / 2.0;
    for (name, ratios) in &rows {
        let present = ratios.iter().flatten().count() as f64;
        let weight = if *name == "geometric mean" { "bold" } else { "normal" };
        writeln!(
            out,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" font-weight=\"{weight}\">{}</text>",
            LEFT - 8.0,
            y + present * BAR / 2.0 + 4.0,
            escape(name)
        )?;
        for (ratio, colour) in ratios.iter().zip(COLOURS) {
            let Some(ratio) = ratio else { continue };
            let end = at(*ratio);
            writeln!(
                out,
                "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>",
                y + 1.0,
                end - LEFT,
                BAR - 2.0
            )?;
            writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\">{ratio:.1}</text>",
                end + 4.0,
                y + 10.0
            )?;
            y += BAR;
        }
        y += GAP;
    }
    writeln!(out, "</svg>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
