//! Where the rules of a Table are found: by listener, host as the route declares it, and path. Orders by `Rank`, and by nothing else.
//!
//! Hosts are looked up from the most specific to the least, and of a host's paths exact ones before expressions before
//! prefixes by length: the order of the first two fields of `Rank`. What has the same key is one group, sorted by `Rank`.

use crate::{
    CompiledRule, Failed, Problem,
    listeners::{ListenerNumbers, Listeners, suffixes},
    texts::Texts,
};
use headgate_config::{Attachment, HostPattern, Listener, ListenerName, PathMatch};
use headgate_message::RequestHead;
use std::{cmp::Reverse, sync::Arc};

/// The index. Rules are known by their number in the Table.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// By the number of the listener, from 0: the rules that declare no hostname there.
    any: Box<[Option<HostIndex>]>,
    /// By twice the number of the listener for a host, by one more for a suffix.
    hosts: Texts<HostIndex>,
    /// By twice the number of the host for an exact path, by one more for a prefix without its trailing slash.
    paths: Texts<Group>,
    /// Lengths of prefixes.
    lengths: Box<[u32]>,
    candidates: Box<[Candidate]>,
    /// Effective patterns that are narrower than what listener and route both match.
    narrow: Box<[HostPattern]>,
}

/// What is known of the paths of one host.
#[derive(Debug, Default)]
struct HostIndex {
    number: u32,
    has_exact: bool,
    /// Of the prefix `/`.
    root: Group,
    expressions: Group,
    /// The lengths that prefixes have, longest first; those of `/` not among them. So a path with 1,000 slashes costs no
    /// more look-ups than there are lengths.
    lengths: Group,
}

/// A part of a list.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    start: u32,
    len: u32,
}

/// A match of a rule under one key.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    rule: u32,
    at: u32,
    /// Index in `narrow`, or `WIDE`.
    narrow: u32,
    /// Nothing but host and path is asked.
    plain: bool,
}

const WIDE: u32 = u32::MAX;

/// What a look-up finds.
pub(crate) enum Hit<'t> {
    /// The rule's number, the index of its match, the length in bytes of what it takes of the path, and whether that is a prefix.
    Rule { rule: u32, at: usize, taken: usize, is_prefix: bool },
    /// No rule; the nearest to one failed in this part.
    Failed(Failed<'t>),
    /// No rule of this listener says this host.
    NoHost,
}

impl Index {
    /// The rule that takes a request on a listener.
    pub(crate) fn find<'t, B>(
        &'t self,
        rules: &'t [Arc<CompiledRule<B>>],
        listener: u32,
        head: &RequestHead,
    ) -> Hit<'t> {
        let mut search = Search { index: self, rules, head, path: head.path_bytes(), failed: Failed::Path };
        let mut any_host = false;
        for host in self.hosts(listener, head.host_bytes()) {
            any_host = true;
            if let Some(hit) = search.host(host) {
                return hit;
            }
        }
        if any_host { Hit::Failed(search.failed) } else { Hit::NoHost }
    }

    /// The number of the rule that takes a connection for a server name on a listener of the transport layer.
    pub(crate) fn find_named(&self, listener: u32, name: &str) -> Option<u32> {
        let holds = |candidate: &&Candidate| {
            let narrow = self.narrow.get(candidate.narrow as usize);
            narrow.is_none_or(|pattern| pattern.takes(name))
        };
        self.hosts(listener, name.as_bytes())
            .find_map(|host| Some(host.root.of(&self.candidates).iter().find(holds)?.rule))
    }

    /// From the most specific to the least.
    fn hosts<'t>(&'t self, listener: u32, host: &'t [u8]) -> impl Iterator<Item = &'t HostIndex> {
        let exact = self.hosts.get(2 * listener, host);
        let wildcards = suffixes(host).filter_map(move |suffix| self.hosts.get(2 * listener + 1, suffix));
        exact.into_iter().chain(wildcards).chain(&self.any[listener as usize])
    }
}

struct Search<'t, 'h, B> {
    index: &'t Index,
    rules: &'t [Arc<CompiledRule<B>>],
    head: &'h RequestHead,
    path: &'h [u8],
    failed: Failed<'t>,
}

impl<'t, B> Search<'t, '_, B> {
    fn host(&mut self, host: &HostIndex) -> Option<Hit<'t>> {
        let path = self.path;
        let paths = &self.index.paths;
        if host.has_exact
            && let Some(group) = paths.get(2 * host.number, path)
            && let Some(hit) = self.group(*group, path.len(), false)
        {
            return Some(hit);
        }
        if let Some(hit) = self.expressions(host.expressions) {
            return Some(hit);
        }
        for &len in host.lengths.of(&self.index.lengths) {
            let len = len as usize;
            // Whole segments: the prefix ends where the path does, or before a slash.
            let ends = path.len() == len || path.get(len) == Some(&b'/');
            if ends
                && let Some(group) = paths.get(2 * host.number + 1, &path[..len])
                && let Some(hit) = self.group(*group, len, true)
            {
                return Some(hit);
            }
        }
        // The path of `OPTIONS *` is `*`, which is below no prefix.
        path.starts_with(b"/").then(|| self.group(host.root, 0, true)).flatten()
    }

    /// The first of a group that holds: it is sorted by `Rank`.
    fn group(&mut self, group: Group, taken: usize, is_prefix: bool) -> Option<Hit<'t>> {
        let candidates = group.of(&self.index.candidates);
        let held = candidates.iter().find(|candidate| self.holds(candidate))?;
        Some(Hit::Rule { rule: held.rule, at: held.at as usize, taken, is_prefix })
    }

    fn expressions(&mut self, group: Group) -> Option<Hit<'t>> {
        let held = group.of(&self.index.candidates).iter().find(|candidate| {
            let rule = &self.rules[candidate.rule as usize];
            rule.path_is_match(candidate.at as usize, self.path) && self.holds(candidate)
        })?;
        Some(Hit::Rule { rule: held.rule, at: held.at as usize, taken: self.path.len(), is_prefix: false })
    }

    /// Whether all but the path holds.
    fn holds(&mut self, candidate: &Candidate) -> bool {
        if candidate.plain {
            return true;
        }
        let narrow = self.index.narrow.get(candidate.narrow as usize);
        if narrow.is_some_and(|pattern| !pattern.takes(self.head.host())) {
            return false;
        }
        let failing = self.rules[candidate.rule as usize].failing(candidate.at as usize, self.head);
        if let Some(failed) = failing
            && failed.stage() > self.failed.stage()
        {
            self.failed = failed;
        }
        failing.is_none()
    }
}

impl Group {
    fn of<T>(self, list: &[T]) -> &[T] {
        &list[self.start as usize..self.start as usize + self.len as usize]
    }
}

/// An index while it is made: a group is known by a number, which its `start` holds, plus one so that 0 is none.
#[derive(Default)]
struct Draft {
    index: Index,
    entries: Vec<(u32, Candidate)>,
    groups: u32,
    hosts: u32,
    narrow: Vec<HostPattern>,
    /// By the number of the host: lengths of its prefixes, longest first.
    lengths: Vec<Vec<u32>>,
}

impl Index {
    /// Makes the index of rules, which are ordered by name.
    pub(crate) fn build<B>(
        rules: &[Arc<CompiledRule<B>>],
        listeners: &Listeners,
        numbers: &ListenerNumbers<'_>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut draft = Draft::default();
        draft.index.any = listeners.list().iter().map(|_| None).collect();
        for (number, rule) in rules.iter().enumerate() {
            for attachment in &rule.config().attachments {
                match numbers.get(&attachment.listener) {
                    Some(&listener) => {
                        let known = listeners.get(listener);
                        if known.protocol.is_http() == rule.name().kind.is_http() {
                            draft.attach(number as u32, rule, attachment, listener, &known.hostname);
                        } else {
                            problems.push(unfit(rule, known));
                        }
                    }
                    None => problems.push(unknown(rule, &attachment.listener)),
                }
            }
        }
        draft.finish(rules)
    }
}

impl Draft {
    fn attach<B>(
        &mut self,
        number: u32,
        rule: &CompiledRule<B>,
        to: &Attachment,
        listener: u32,
        hostname: &HostPattern,
    ) {
        for host in &to.hosts {
            let wide = hostname.intersect(&host.declared).as_ref() == Some(&host.pattern);
            let narrow = if wide { WIDE } else { self.narrow(&host.pattern) };
            for (at, matching) in rule.config().matches.iter().enumerate() {
                let group = self.group(listener, &host.declared, &matching.path);
                let plain = wide && rule.is_plain(at);
                self.entries.push((group, Candidate { rule: number, at: at as u32, narrow, plain }));
            }
        }
    }

    fn narrow(&mut self, pattern: &HostPattern) -> u32 {
        self.narrow.push(pattern.clone());
        self.narrow.len() as u32 - 1
    }

    /// The number of the group of a key.
    fn group(&mut self, listener: u32, declared: &HostPattern, path: &PathMatch) -> u32 {
        let Self { index, groups, hosts, lengths, .. } = self;
        let new_host = || {
            *hosts += 1;
            lengths.push(Vec::new());
            HostIndex { number: *hosts - 1, ..HostIndex::default() }
        };
        let host = match declared {
            HostPattern::Any => index.any[listener as usize].get_or_insert_with(new_host),
            HostPattern::Exact(name) => index.hosts.get_or_insert(2 * listener, name.as_str().as_bytes(), new_host),
            HostPattern::Wildcard(suffix) => {
                index.hosts.get_or_insert(2 * listener + 1, suffix.as_str().as_bytes(), new_host)
            }
        };
        let group = match path {
            PathMatch::Regex(_) => &mut host.expressions,
            PathMatch::Exact(text) => {
                host.has_exact = true;
                index.paths.get_or_insert(2 * host.number, text.as_bytes(), Group::default)
            }
            PathMatch::Prefix(text) => match text.trim_end_matches('/') {
                "" => &mut host.root,
                text => {
                    let known = &mut lengths[host.number as usize];
                    let len = text.len() as u32;
                    if let Err(at) = known.binary_search_by(|other| len.cmp(other)) {
                        known.insert(at, len);
                    }
                    index.paths.get_or_insert(2 * host.number + 1, text.as_bytes(), Group::default)
                }
            },
        };
        if group.start == 0 {
            *groups += 1;
            group.start = *groups;
        }
        group.start
    }

    /// Lays the groups out one after another, and sorts each.
    fn finish<B>(self, rules: &[Arc<CompiledRule<B>>]) -> Index {
        let Self { mut index, entries, groups, lengths, narrow, .. } = self;
        let mut starts = vec![0_u32; groups as usize + 2];
        entries.iter().for_each(|(group, _)| starts[*group as usize + 1] += 1);
        for group in 1..starts.len() {
            starts[group] += starts[group - 1];
        }
        let mut next = starts.clone();
        let mut candidates = vec![Candidate { rule: 0, at: 0, narrow: WIDE, plain: true }; entries.len()];
        for (group, candidate) in entries {
            candidates[next[group as usize] as usize] = candidate;
            next[group as usize] += 1;
        }
        for group in starts.windows(2) {
            sort(&mut candidates[group[0] as usize..group[1] as usize], rules);
        }
        let place = |group: &mut Group| {
            let number = group.start as usize;
            *group = Group { start: starts[number], len: starts[number + 1] - starts[number] };
        };
        index.paths.values_mut().for_each(place);
        let mut all_lengths = Vec::new();
        for host in index.any.iter_mut().flatten().chain(index.hosts.values_mut()) {
            place(&mut host.root);
            place(&mut host.expressions);
            let known = &lengths[host.number as usize];
            host.lengths = Group { start: all_lengths.len() as u32, len: known.len() as u32 };
            all_lengths.extend_from_slice(known);
        }
        index.hosts.shrink();
        index.paths.shrink();
        Index { lengths: all_lengths.into(), candidates: candidates.into(), narrow: narrow.into(), ..index }
    }
}

/// Greatest `Rank` first. Rules of equal rank (an HTTPRoute and a GRPCRoute of one name, made in one second) stand by name.
fn sort<B>(group: &mut [Candidate], rules: &[Arc<CompiledRule<B>>]) {
    if group.len() > 1 {
        // One key has one declared host, so whatever stands here does not decide.
        let rank =
            |candidate: &Candidate| rules[candidate.rule as usize].rank(&HostPattern::Any, candidate.at as usize);
        group.sort_by_cached_key(|candidate| (Reverse(rank(candidate)), candidate.rule));
    }
}

fn unfit<B>(rule: &CompiledRule<B>, listener: &Listener) -> Problem {
    let (kind, protocol) = (rule.name().kind.as_str(), listener.protocol.as_str());
    Problem {
        rule: Some(rule.name().clone()),
        listener: Some(listener.name.clone()),
        field: "spec.parentRefs".to_owned(),
        message: format!("a {kind} cannot serve what listener {} speaks, {protocol}: name another", listener.name),
    }
}

fn unknown<B>(rule: &CompiledRule<B>, listener: &ListenerName) -> Problem {
    Problem {
        rule: Some(rule.name().clone()),
        listener: Some(listener.clone()),
        field: "spec.parentRefs".to_owned(),
        message: format!("no listener {listener} serves: name one that exists and has no conflict"),
    }
}
