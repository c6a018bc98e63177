//! What dhat's profile says: places in the code, and how much was allocated there. It reads no more of the file than that.

use serde::Deserialize;
use std::{collections::BTreeMap, fmt::Write, io};

/// What is counted.
#[derive(Clone, Copy)]
pub enum Count {
    /// All that was allocated.
    All,
    /// What was still there at the end.
    Kept,
}

/// A place that allocates.
pub struct Site {
    /// How often.
    pub blocks: u64,
    /// How much.
    pub bytes: u64,
    /// Innermost first.
    frames: Vec<String>,
}

/// With indices into a table of frames.
#[derive(Deserialize)]
struct Profile {
    pps: Vec<Place>,
    ftbl: Vec<String>,
}

/// dhat's short names: total, and at the end.
#[derive(Deserialize)]
struct Place {
    tbk: u64,
    tb: u64,
    ebk: u64,
    eb: u64,
    /// Frames, innermost first.
    fs: Vec<usize>,
}

/// The places, those of the most blocks (or, of what was kept, the most bytes) first; those that differ in frames of libraries only are one.
pub fn sites(profile: &str, count: Count) -> io::Result<Vec<Site>> {
    let profile: Profile = serde_json::from_str(profile).map_err(io::Error::other)?;
    let mut sites: BTreeMap<Vec<String>, (u64, u64)> = BTreeMap::new();
    for place in &profile.pps {
        let frames: Vec<_> =
            place.fs.iter().filter_map(|at| profile.ftbl.get(*at)).map(|f| without_address(f)).collect();
        let sum = sites.entry(worth_reading(&frames)).or_default();
        let (blocks, bytes) = match count {
            Count::All => (place.tbk, place.tb),
            Count::Kept => (place.ebk, place.eb),
        };
        *sum = (sum.0 + blocks, sum.1 + bytes);
    }
    let mut sites: Vec<Site> =
        sites.into_iter().map(|(frames, (blocks, bytes))| Site { blocks, bytes, frames }).collect();
    sites.retain(|site| site.blocks > 0);
    sites.sort_by_key(|site| match count {
        Count::All => std::cmp::Reverse(site.blocks),
        Count::Kept => std::cmp::Reverse(site.bytes),
    });
    Ok(sites)
}

/// `0x55d0c0ffee: function (file:line:column)` without its first part.
fn without_address(frame: &str) -> &str {
    frame.split_once(": ").map_or(frame, |(_, rest)| rest)
}

/// Our own frames; where there are none, those of libraries, the innermost being the allocator's.
fn worth_reading(frames: &[&str]) -> Vec<String> {
    /// Folders of our crates, as dhat shortens paths.
    const OURS: [&str; 8] =
        ["config", "message", "http1", "routing", "gateway", "translate", "functions", "controller"];
    /// More says nothing.
    const FRAMES: usize = 8;
    let is_ours = |frame: &&&str| OURS.iter().any(|folder| frame.contains(&format!("({folder}/src/")));
    let ours: Vec<_> = frames.iter().filter(is_ours).take(FRAMES).map(|frame| (*frame).to_owned()).collect();
    if ours.is_empty() { frames.iter().take(2 * FRAMES).map(|frame| (*frame).to_owned()).collect() } else { ours }
}

/// For people: each place with its share in one of `requests`.
pub fn text(title: &str, sites: &[Site], requests: u64) -> String {
    let mut text =
        format!("{title}, by place; innermost frame first, our own frames only. Written by headgate-bench.\n");
    for site in sites {
        let _ = writeln!(
            text,
            "\n{:.4} a request, {:.0} B a request ({} blocks of {} B)",
            site.blocks as f64 / requests as f64,
            site.bytes as f64 / requests as f64,
            site.blocks,
            site.bytes / site.blocks.max(1)
        );
        for frame in &site.frames {
            let _ = writeln!(text, "    {frame}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_our_own_frames() {
        let profile = r#"{"pps": [{"tb": 20, "tbk": 2, "eb": 10, "ebk": 1, "fs": [1, 2]}, {"tb": 10, "tbk": 1, "eb": 0, "ebk": 0, "fs": [3, 2]}, {"tb": 9, "tbk": 9, "eb": 0, "ebk": 0, "fs": [4]}],
            "ftbl": ["[root]", "0x1: alloc (alloc/src/alloc.rs:1:1)", "0x2: ours (gateway/src/b.rs:2:2)", "0x3: grow (src/vec/mod.rs:1:1)", "0x4: other (core/src/d.rs:1:1)"]}"#;
        let read = |count| -> Vec<_> {
            let sites = sites(profile, count).unwrap();
            sites.into_iter().map(|site| (site.blocks, site.bytes, site.frames.join(","))).collect()
        };
        let other = (9, 9, "other (core/src/d.rs:1:1)".to_owned());
        assert_eq!(read(Count::All), [other, (3, 30, "ours (gateway/src/b.rs:2:2)".to_owned())]);
        assert_eq!(read(Count::Kept), [(1, 10, "ours (gateway/src/b.rs:2:2)".to_owned())]);
    }
}
