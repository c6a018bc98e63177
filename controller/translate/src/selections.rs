//! Pods by their labels, as one object that stands for all of them: under a name that no Pod can have. Never which Pods they are.

use crate::{Key, kinds::ObjectRef};
use std::collections::BTreeMap;

/// The Pods of a namespace with these labels. An object of that name is shown once all of them were.
pub fn object(namespace: &str, labels: &BTreeMap<String, String>) -> ObjectRef {
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    ObjectRef::new("", "Pod", namespace, &labels.join(","))
}

/// Its labels; `None` for another object.
pub fn labels(object: &ObjectRef) -> Option<BTreeMap<String, String>> {
    let is_it = object.group.is_empty() && object.kind == "Pod" && object.name.contains('=');
    let labels = object.name.as_str().split(',').filter_map(|label| label.split_once('='));
    is_it.then(|| labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

/// How `Objects` know that all of its Pods are known.
pub fn key(namespace: &str, labels: &BTreeMap<String, String>) -> Key {
    let object = object(namespace, labels);
    (object.namespace, object.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_they_were_written() {
        let all = [("app", "cart"), ("example.com/tier", ""), ("zone", "a.b_c")];
        let all: BTreeMap<String, String> = all.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        for some in [all.clone(), all.into_iter().take(1).collect()] {
            assert_eq!(labels(&object("shop", &some)), Some(some));
        }
        assert_eq!(labels(&ObjectRef::new("", "Pod", "shop", "cart-1")), None);
    }
}
