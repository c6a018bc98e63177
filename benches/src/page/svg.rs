//! A plot as SVG text: a bar a ratio, its interval, the line where both are equal, and the goal. It needs no library and no script.

use super::Job;
use std::fmt::Write as _;

/// Pixels.
const WIDTH: f64 = 860.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = 70.0;
const TITLE: f64 = 24.0;
const BAR: f64 = 16.0;
/// The largest ratio that has a place; what is beyond is marked.
const MOST: f64 = 1.6;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#222}.title{font-weight:600}.ahead{fill:#3a7d5c}.even{fill:#8a8f98}.behind{fill:#b5523b}\
                     .whisker{stroke:#222;stroke-width:1.2}.equal{stroke:#222;stroke-width:1}.goal{stroke:#1f5fbf;stroke-width:2}";

/// All jobs, one below the other.
pub fn plot(jobs: &[Job<'_>]) -> String {
    let heights = jobs.iter().map(|job| TITLE + BAR * measured(job).count() as f64 + 12.0);
    let height = heights.sum::<f64>() + 40.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<style>{STYLE}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\">Headgate's cost divided by the peer's; black line: equal; blue: goal; the thin line is the 95 % interval</text>\n"
    );
    let mut y = 36.0;
    for job in jobs {
        let _ = writeln!(svg, "<text class=\"title\" x=\"{LEFT}\" y=\"{}\">{}</text>", y + 14.0, escaped(&job.title));
        y += TITLE;
        let top = y;
        for (beside, row, ratio, interval) in measured(job) {
            bar(&mut svg, y, &beside.peer, beside.place(), ratio, interval);
            if let Some(goal) = row.goal {
                let at = x(goal);
                let _ = writeln!(
                    svg,
                    "<line class=\"goal\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{}\" y2=\"{}\"/>",
                    y + 1.0,
                    y + BAR - 2.0
                );
            }
            y += BAR;
        }
        let at = x(1.0);
        let _ = writeln!(svg, "<line class=\"equal\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{y}\"/>");
        y += 12.0;
    }
    svg.push_str("</svg>\n");
    svg
}

type Measured<'a> = (&'a super::Beside, &'a super::Row, f64, [f64; 2]);

fn measured<'a>(job: &'a Job<'_>) -> impl Iterator<Item = Measured<'a>> {
    job.rows.iter().filter_map(|(beside, row)| Some((*beside, *row, row.measured?, beside.interval?)))
}

fn bar(svg: &mut String, y: f64, peer: &str, place: &str, ratio: f64, [low, high]: [f64; 2]) {
    let (middle, more) = (y + BAR / 2.0, if high > MOST { " ▸" } else { "" });
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><rect class=\"bar {place}\" x=\"{LEFT}\" y=\"{}\" width=\"{:.1}\" height=\"{}\"/>\
         <line class=\"whisker\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\"/><text x=\"{}\" y=\"{}\">{ratio:.2}{more}</text>",
        LEFT - 8.0,
        y + 12.0,
        escaped(peer),
        y + 2.0,
        x(ratio) - LEFT,
        BAR - 4.0,
        x(low),
        x(high),
        WIDTH - RIGHT + 8.0,
        y + 12.0
    );
}

fn x(ratio: f64) -> f64 {
    LEFT + ratio.clamp(0.0, MOST) / MOST * (WIDTH - LEFT - RIGHT)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
