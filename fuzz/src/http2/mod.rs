//! HTTP/2 into a real gateway in this process, and what an HTTP/1.1 application behind it gets.

pub mod meaning;
mod origin;
pub mod rig;
pub mod script;

#[cfg(test)]
mod tests {
    use super::{meaning::judge, rig::Rig, script::Script};
    use std::{fs, path::Path};

    /// A seed says in its name what becomes of it, so that none of them proves nothing.
    #[test]
    fn seeds_arrive_or_are_refused_as_their_names_say() {
        let mut rig = Rig::start();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/http2_head");
        for seed in fs::read_dir(folder).unwrap() {
            let path = seed.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let script = Script::read(&fs::read(&path).unwrap());
            let seen = rig.send(&script);
            judge(&script, &seen);
            match name.split('-').next() {
                Some("passes") => assert!(seen.is_answered && seen.requests.len() == 1, "{name}: {seen:?}"),
                Some("refused") => assert!(!seen.is_answered && seen.requests.is_empty(), "{name}: {seen:?}"),
                _ => {}
            }
        }
    }
}
