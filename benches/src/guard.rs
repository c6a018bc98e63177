//! Holds the instructions of warm requests to committed figures, so that nobody makes them dearer unaware. It counts in whatever build it is given; figures of different builds cannot be compared.

use crate::{
    Plan, callgrind,
    warm::{Origins, WARM_PATHS},
};
use std::{collections::BTreeMap, fs, io};

/// The figures of a debug build, which is what tests build anyway.
const FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");
/// How far a count may be off its figure, in per cent.
const OFF_MAX: f64 = 5.0;
/// Requests that are counted: a debug build under valgrind is slow, and a handful would show what is done once.
const COUNT: u64 = 500;

type Figures = BTreeMap<String, u64>;

/// Counts, and compares or, with `UPDATE_GOLDENS` set, writes the figures anew.
///
/// # Errors
/// If a count is too far off; the error names all that are.
pub fn run(plan: &Plan) -> io::Result<()> {
    if !callgrind::is_installed() {
        println!("not run: instructions of a warm request\n  valgrind is not installed");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let origins = Origins::start()?;
    let mut counted = Figures::new();
    for path in &WARM_PATHS {
        let per_request = path.instructions(plan, folder.path(), &origins, COUNT)?;
        counted.insert(path.name.to_owned(), per_request.round() as u64);
    }
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        return fs::write(FIGURES, serde_json::to_string_pretty(&counted)? + "\n");
    }
    let wanted: Figures = serde_json::from_str(&fs::read_to_string(FIGURES)?)?;
    match judge(&counted, &wanted) {
        wrong if wrong.is_empty() => Ok(()),
        wrong => Err(io::Error::other(format!(
            "{}\n  if that is meant, UPDATE_GOLDENS=1 writes {FIGURES} anew, which must be committed",
            wrong.join("\n")
        ))),
    }
}

/// What is too far off, each in a sentence.
fn judge(counted: &Figures, wanted: &Figures) -> Vec<String> {
    let wrong = |(case, count): (&String, &u64)| {
        let Some(figure) = wanted.get(case) else {
            return Some(format!("{case}: there is no figure, and {count} were counted"));
        };
        let off = (*count as f64 / *figure as f64 - 1.0) * 100.0;
        (off.abs() > OFF_MAX).then(|| {
            format!("{case}: {count} instructions a warm request, {off:+.1} % of the {figure} that were committed")
        })
    };
    counted.iter().filter_map(wrong).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_per_cent_are_noise_and_six_are_told_in_both_directions() {
        let figures = |count| Figures::from([("http1".to_owned(), count)]);
        for fine in [951, 1000, 1049] {
            assert!(judge(&figures(fine), &figures(1000)).is_empty(), "{fine}");
        }
        assert!(judge(&figures(1060), &figures(1000))[0].contains("+6.0 %"));
        assert!(judge(&figures(940), &figures(1000))[0].contains("-6.0 %"));
        assert!(judge(&figures(940), &Figures::new())[0].contains("no figure"));
    }
}
