//! Where the rules of a Table are found: by listener, host as the route declares it, and path. Orders by `Rank`, and by nothing else.
//!
//! Hosts are looked up from the most specific to the least, and of a host's paths exact ones before expressions before
//! prefixes by length: the order of the first two fields of `Rank`. What has the same key is one group, sorted by `Rank`.
//!
//! Hosts stand in shards by their hash, so that an edit makes a few hundred entries anew however many there are, and a request
//! looks at little more memory than if all stood in one.

use crate::{
    CompiledRule, Failed,
    grounds::{Grounds, Place, owner},
    listeners::suffixes,
    shard::{Candidate, Group, HostIndex, Placed, Shard},
    texts,
};
use foldhash::fast::RandomState;
use headgate_message::RequestHead;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// Entries that a shard has on average when all are made anew: between half of it and it.
const ENTRIES: usize = 128;
/// All are made anew when the average has grown or shrunk by so much.
const GROWN: usize = 2;
const SHRUNK: usize = 4;

/// The index.
#[derive(Debug)]
pub(crate) struct Index<B> {
    /// The same in all versions, as shards are shared.
    hasher: RandomState,
    /// A power of two.
    shards: Box<[Arc<Shard<B>>]>,
    entries: usize,
}

/// What one version has and another has not, or has otherwise. A rule may be in both lists.
#[derive(Debug)]
pub(crate) struct Edit<B> {
    pub(crate) gone: Vec<Arc<CompiledRule<B>>>,
    pub(crate) come: Vec<Arc<CompiledRule<B>>>,
}

impl<B> Default for Index<B> {
    fn default() -> Self {
        Self { hasher: RandomState::default(), shards: Box::default(), entries: 0 }
    }
}

/// What a look-up finds.
pub(crate) enum Hit<'t, B> {
    /// The rule, the index of its match, the length in bytes of what it takes of the path, and whether that is a prefix.
    Rule { rule: &'t Arc<CompiledRule<B>>, at: usize, taken: usize, is_prefix: bool },
    /// No rule; the nearest to one failed in this part.
    Failed(Failed<'t>),
    /// No rule of this listener says this host.
    NoHost,
}

impl<B> Index<B> {
    /// The rule that takes a request on a listener.
    pub(crate) fn find<'t>(&'t self, tag: u32, head: &RequestHead) -> Hit<'t, B> {
        let mut failed = Failed::Path;
        let mut any_host = false;
        for (shard, host) in self.hosts(tag, head.host_bytes()) {
            any_host = true;
            let mut search = Search { shard, head, path: head.path_bytes(), failed };
            if let Some(hit) = search.host(host) {
                return hit;
            }
            failed = search.failed;
        }
        if any_host { Hit::Failed(failed) } else { Hit::NoHost }
    }

    /// The rule that takes a connection for a server name on a listener of the transport layer.
    pub(crate) fn find_named(&self, tag: u32, name: &str) -> Option<&Arc<CompiledRule<B>>> {
        self.hosts(tag, name.as_bytes()).find_map(|(shard, host)| {
            let holds = |candidate: &&Candidate<B>| candidate.narrow(shard).is_none_or(|pattern| pattern.takes(name));
            Some(&host.root.of(&shard.candidates).iter().find(holds)?.rule)
        })
    }

    /// From the most specific to the least.
    fn hosts<'t, 'h>(
        &'t self,
        tag: u32,
        host: &'h [u8],
    ) -> impl Iterator<Item = (&'t Shard<B>, &'t HostIndex)> + use<'t, 'h, B> {
        let exact = self.host(owner::exact(tag), host);
        let wildcards = suffixes(host).filter_map(move |suffix| self.host(owner::wildcard(tag), suffix));
        let any = std::iter::once_with(move || self.host(owner::any(tag), b"")).flatten();
        exact.into_iter().chain(wildcards).chain(any)
    }

    fn host(&self, owner: u32, text: &[u8]) -> Option<(&Shard<B>, &HostIndex)> {
        let hash = texts::hash(&self.hasher, owner, text);
        let shard = self.shards.get(number(hash, self.shards.len()))?;
        Some((shard, shard.host(hash, owner, text)?))
    }
}

/// Which of the shards something is in. Tables of a shard use the lowest and the highest bits of the hash.
fn number(hash: u64, shards: usize) -> usize {
    (hash >> 24) as usize & shards.wrapping_sub(1)
}

impl<B> Index<B> {
    /// The index after an edit. `rules` are all of the new version, which are gone through only where the number of shards is to be another.
    pub(crate) fn after<'r>(
        &self,
        edit: &Edit<B>,
        before: &Grounds<'_>,
        now: &Grounds<'_>,
        rules: impl Iterator<Item = &'r Arc<CompiledRule<B>>>,
    ) -> Self
    where
        B: 'r,
    {
        let sum = |rules: &[Arc<CompiledRule<B>>], on: &Grounds<'_>| {
            rules.iter().map(|rule| on.count(rule.config())).sum::<usize>()
        };
        let entries = (self.entries + sum(&edit.come, now)).saturating_sub(sum(&edit.gone, before));
        let are_enough = self.shards.len() == 1 || entries >= self.shards.len() * ENTRIES / SHRUNK;
        let fits = !self.shards.is_empty() && entries <= self.shards.len() * ENTRIES * GROWN && are_enough;
        if !fits {
            return self.anew(entries, now, rules);
        }
        let of_gone = edit.gone.iter().flat_map(|rule| before.places(rule.config()));
        let of_come = edit.come.iter().flat_map(|rule| now.places(rule.config()));
        let touched = of_gone.chain(of_come).map(|place| self.number(&place));
        let mut touched: BTreeMap<usize, Vec<Placed<'_, B>>> = touched.map(|number| (number, Vec::new())).collect();
        let gone: HashSet<_> = edit.gone.iter().map(Arc::as_ptr).collect();
        let stay: HashMap<_, _> = touched.keys().flat_map(|number| self.shards[*number].rules()).collect();
        let stay = stay.into_iter().filter(|(at, _)| !gone.contains(at)).map(|(_, rule)| rule);
        // each rule once, in however many shards it stands
        for rule in stay.chain(&edit.come) {
            for place in now.places(rule.config()) {
                if let Some(places) = touched.get_mut(&self.number(&place)) {
                    places.push((rule, place));
                }
            }
        }
        let mut shards = self.shards.clone();
        for (number, places) in touched {
            shards[number] = Arc::new(Shard::make(places.into_iter(), &self.hasher));
        }
        Self { hasher: self.hasher.clone(), shards, entries }
    }

    /// All shards, as many as fit so many entries.
    fn anew<'r>(
        &self,
        entries: usize,
        grounds: &Grounds<'_>,
        rules: impl Iterator<Item = &'r Arc<CompiledRule<B>>>,
    ) -> Self
    where
        B: 'r,
    {
        let count = entries.div_ceil(ENTRIES).next_power_of_two();
        let mut parts: Vec<Vec<Placed<'_, B>>> = Vec::new();
        parts.resize_with(count, Vec::new);
        for rule in rules {
            for place in grounds.places(rule.config()) {
                parts[number(place.hash(&self.hasher), count)].push((rule, place));
            }
        }
        let shards = parts.into_iter().map(|part| Arc::new(Shard::make(part.into_iter(), &self.hasher))).collect();
        Self { hasher: self.hasher.clone(), shards, entries }
    }

    fn number(&self, place: &Place<'_>) -> usize {
        number(place.hash(&self.hasher), self.shards.len())
    }
}

impl<B> Default for Edit<B> {
    fn default() -> Self {
        Self { gone: Vec::new(), come: Vec::new() }
    }
}

struct Search<'t, 'h, B> {
    shard: &'t Shard<B>,
    head: &'h RequestHead,
    path: &'h [u8],
    failed: Failed<'t>,
}

impl<'t, B> Search<'t, '_, B> {
    fn host(&mut self, host: &HostIndex) -> Option<Hit<'t, B>> {
        let (shard, path) = (self.shard, self.path);
        if let Some(group) = shard.exact(host, path)
            && let Some(hit) = self.group(group, path.len(), false)
        {
            return Some(hit);
        }
        if let Some(hit) = self.expressions(host.expressions) {
            return Some(hit);
        }
        for (len, group) in shard.prefixes(host, path) {
            if let Some(hit) = self.group(group, len, true) {
                return Some(hit);
            }
        }
        // The path of `OPTIONS *` is `*`, which is below no prefix.
        path.starts_with(b"/").then(|| self.group(host.root, 0, true)).flatten()
    }

    /// The first of a group that holds: it is sorted by `Rank`.
    fn group(&mut self, group: Group, taken: usize, is_prefix: bool) -> Option<Hit<'t, B>> {
        let shard = self.shard;
        let held = group.of(&shard.candidates).iter().find(|candidate| self.holds(candidate))?;
        Some(Hit::Rule { rule: &held.rule, at: held.at as usize, taken, is_prefix })
    }

    fn expressions(&mut self, group: Group) -> Option<Hit<'t, B>> {
        let shard = self.shard;
        let held = group.of(&shard.candidates).iter().find(|candidate| {
            candidate.rule.path_is_match(candidate.at as usize, self.path) && self.holds(candidate)
        })?;
        Some(Hit::Rule { rule: &held.rule, at: held.at as usize, taken: self.path.len(), is_prefix: false })
    }

    /// Whether all but the path holds.
    fn holds(&mut self, candidate: &'t Candidate<B>) -> bool {
        if candidate.is_plain() {
            return true;
        }
        if candidate.narrow(self.shard).is_some_and(|pattern| !pattern.takes(self.head.host())) {
            return false;
        }
        let failing = candidate.rule.failing(candidate.at as usize, self.head);
        if let Some(failed) = failing
            && failed.stage() > self.failed.stage()
        {
            self.failed = failed;
        }
        failing.is_none()
    }
}
