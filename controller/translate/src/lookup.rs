//! What is looked up from elsewhere while one object is translated: grants, slices and labels, by reverse indexes. Never changes anything.

use crate::{
    Key, Objects,
    kinds::{EndpointSlice, GATEWAY_GROUP, ObjectRef, ReferenceGrant},
};
use std::collections::BTreeMap;

/// Objects with their reverse indexes.
pub(crate) struct Lookup<'a> {
    pub objects: &'a Objects,
    grants: BTreeMap<&'a str, Vec<&'a ReferenceGrant>>,
    slices: BTreeMap<Key, Vec<&'a EndpointSlice>>,
}

impl<'a> Lookup<'a> {
    /// Builds the indexes.
    pub fn new(objects: &'a Objects) -> Self {
        let mut lookup = Self { objects, grants: BTreeMap::new(), slices: BTreeMap::new() };
        for grant in objects.reference_grants.values() {
            lookup.grants.entry(&grant.meta.namespace).or_default().push(grant);
        }
        for slice in objects.endpoint_slices.values().filter(|slice| !slice.service.is_empty()) {
            let key = (slice.meta.namespace.clone(), slice.service.clone());
            lookup.slices.entry(key).or_default().push(slice);
        }
        lookup
    }

    /// Whether an object of a kind of the Gateway API may refer to `to`: its own namespace always, others by a grant.
    pub fn permits(&self, kind: &str, namespace: &str, to: &ObjectRef) -> bool {
        namespace == to.namespace
            || self
                .grants
                .get(to.namespace.as_str())
                .is_some_and(|grants| grants.iter().any(|grant| grant.allows((GATEWAY_GROUP, kind, namespace), to)))
    }

    /// Slices of a Service, by name.
    pub fn slices(&self, service: &Key) -> &[&'a EndpointSlice] {
        self.slices.get(service).map(Vec::as_slice).unwrap_or_default()
    }

    /// Labels of a namespace; one that no source has told of has its name as the label that every namespace carries.
    pub fn namespace_labels(&self, name: &str) -> BTreeMap<String, String> {
        let own = || BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), name.to_owned())]);
        let known = Objects::get(&self.objects.namespaces, "", name);
        let mut labels = own();
        labels.extend(known.map(|namespace| namespace.meta.labels.clone()).unwrap_or_default());
        labels
    }
}
