//! Objects of files as they are written, whatever their kind: for who compares files with a cluster. It judges nothing; what cannot be read is left out, and [`super::directory`] tells of it.

use super::{
    directory::{documents_of, items},
    tree,
    yaml::{self, Parsed},
};
use serde_json::Value;
use std::path::PathBuf;

/// The objects below these paths, in their order.
pub fn of_paths(paths: &[PathBuf]) -> Vec<Value> {
    let files = tree::walk(paths).files;
    let read = files.iter().filter_map(|file| documents_of(&file.path).ok());
    read.flat_map(|(_, documents)| of_documents(&documents)).collect()
}

/// The objects of one text.
pub fn of_text(text: &str) -> Vec<Value> {
    of_documents(&yaml::parse(text))
}

fn of_documents(documents: &[Parsed]) -> Vec<Value> {
    let whole = documents.iter().filter_map(|parsed| match parsed {
        Parsed::Document(document) => Some(document),
        Parsed::Broken(_) => None,
    });
    let objects = whole.flat_map(|document| items(&document.value, &document.places));
    objects.map(|(value, _)| value.clone()).filter(|value| value["kind"].is_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_all_kinds_are_given_and_items_of_a_list_each() {
        let text = "kind: A\n---\n{\n---\napiVersion: v1\nkind: List\nitems:\n- kind: B\n- kind: C\n---\njust text\n";
        let kinds: Vec<_> = of_text(text).iter().map(|value| value["kind"].as_str().unwrap().to_owned()).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
    }
}
