//! What is looked up from elsewhere while one object is translated: grants, slices and labels, by reverse indexes. Never changes anything.

use crate::{
    Key, Objects, ServiceTraits,
    backends::find_port,
    kinds::{EndpointSlice, Holder, ObjectRef, ReferenceGrant, Service},
    scaling::Scaling,
};
use headgate_config::BackendName;
use std::{collections::BTreeMap, sync::Arc};

/// Objects with their reverse indexes.
pub(crate) struct Lookup<'a> {
    pub objects: &'a Objects,
    slices: &'a Slices,
    scaling: &'a Scaling,
    grants: BTreeMap<&'a str, Vec<&'a ReferenceGrant>>,
}

/// EndpointSlices by the Service that they belong to, each list by name.
#[derive(Debug, Default)]
pub(crate) struct Slices(BTreeMap<Key, Vec<Arc<EndpointSlice>>>);

impl Slices {
    /// Those of all objects.
    pub fn of(objects: &Objects) -> Self {
        let mut slices = Self::default();
        objects.endpoint_slices.values().for_each(|slice| drop(slices.add(slice)));
        slices
    }

    /// Adds a slice, or takes it in place of an earlier version; the Service that it belongs to.
    pub fn add(&mut self, slice: &Arc<EndpointSlice>) -> Option<Key> {
        let service = service_of(slice)?;
        let list = self.0.entry(service.clone()).or_default();
        match list.binary_search_by(|known| known.meta.name.cmp(&slice.meta.name)) {
            Ok(at) => list[at] = Arc::clone(slice),
            Err(at) => list.insert(at, Arc::clone(slice)),
        }
        Some(service)
    }

    /// Removes a slice; the Service that it belonged to.
    pub fn remove(&mut self, slice: &EndpointSlice) -> Option<Key> {
        let service = service_of(slice)?;
        let list = self.0.get_mut(&service)?;
        list.retain(|known| known.meta.name != slice.meta.name);
        if list.is_empty() {
            self.0.remove(&service);
        }
        Some(service)
    }
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    (!slice.service.is_empty()).then(|| (slice.meta.namespace.clone(), slice.service.clone()))
}

impl<'a> Lookup<'a> {
    /// Builds the index of grants; that of slices, of which there are many, is kept.
    pub fn new(objects: &'a Objects, slices: &'a Slices, scaling: &'a Scaling) -> Self {
        let mut grants = BTreeMap::<&str, Vec<&ReferenceGrant>>::new();
        for grant in objects.reference_grants.values() {
            grants.entry(&grant.meta.namespace).or_default().push(grant);
        }
        Self { objects, slices, scaling, grants }
    }

    /// Whether an object may refer to `to`: its own namespace always, others by a grant.
    pub fn permits(&self, from: Holder<'_>, to: &ObjectRef) -> bool {
        let by_grant =
            || self.grants.get(to.namespace.as_str()).is_some_and(|all| all.iter().any(|one| one.allows(from, to)));
        from.namespace == to.namespace || by_grant()
    }

    /// What a function or a policy says of a Service port, if it scales.
    pub fn traits(&self, name: &BackendName) -> Option<&'a ServiceTraits> {
        let key = (name.namespace.clone(), name.service.clone());
        self.objects.traits.get(&key).or_else(|| {
            let service = self.objects.services.get(&key)?;
            self.scaling.traits(&key, &find_port(service, name.port, name.transport)?.name)
        })
    }

    /// The Service of a Backend, or what an XBackend is as one.
    pub fn service(&self, backend: &BackendName) -> Option<&'a Arc<Service>> {
        let key = (backend.namespace.clone(), backend.service.clone());
        self.objects.services.get(&key).or_else(|| self.objects.x_services.get(&key))
    }

    /// Slices of a Service, by name.
    pub fn slices(&self, service: &Key) -> &'a [Arc<EndpointSlice>] {
        self.slices.0.get(service).map(Vec::as_slice).unwrap_or_default()
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
