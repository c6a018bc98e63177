//! A part of the index: some hosts with all that is matched on them, in a few blocks of memory. Never changes once made; an edit of one of its rules makes it anew, and no other.

use crate::{
    CompiledRule,
    grounds::{Grounds, Place},
    texts::Texts,
};
use foldhash::fast::RandomState;
use headgate_config::{HostPattern, PathMatch};
use std::{cmp::Reverse, sync::Arc};

/// Hosts and their rules.
#[derive(Debug)]
pub(crate) struct Shard<B> {
    /// By what the listener is known by and the kind of host.
    hosts: Texts<HostIndex>,
    /// By twice the number of the host for an exact path, by one more for a prefix without its trailing slash.
    pub(crate) paths: Texts<Group>,
    /// Lengths of prefixes.
    pub(crate) lengths: Box<[u32]>,
    pub(crate) candidates: Box<[Candidate<B>]>,
    /// Effective patterns that are narrower than what listener and route both match.
    pub(crate) narrow: Box<[HostPattern]>,
}

/// What is known of the paths of one host.
#[derive(Debug, Default)]
pub(crate) struct HostIndex {
    pub(crate) number: u32,
    pub(crate) has_exact: bool,
    /// Of the prefix `/`.
    pub(crate) root: Group,
    pub(crate) expressions: Group,
    /// The lengths that prefixes have, longest first; those of `/` not among them. So a path with 1,000 slashes costs no
    /// more look-ups than there are lengths.
    pub(crate) lengths: Group,
}

/// A part of a list.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Group {
    start: u32,
    len: u32,
}

impl Group {
    pub(crate) fn of<T>(self, list: &[T]) -> &[T] {
        &list[self.start as usize..self.start as usize + self.len as usize]
    }
}

/// A match of a rule under one key.
#[derive(Debug)]
pub(crate) struct Candidate<B> {
    pub(crate) rule: Arc<CompiledRule<B>>,
    pub(crate) at: u32,
    /// Index in `narrow`, `WIDE` or `PLAIN`.
    narrow: u32,
}

/// The host says no more than what listener and route both match.
const WIDE: u32 = u32::MAX;
/// The same, and nothing but host and path is asked.
const PLAIN: u32 = u32::MAX - 1;

impl<B> Candidate<B> {
    /// Whether nothing but host and path is asked.
    pub(crate) fn is_plain(&self) -> bool {
        self.narrow == PLAIN
    }

    /// The pattern that a host must match beside that under which it was found.
    pub(crate) fn narrow<'s>(&self, shard: &'s Shard<B>) -> Option<&'s HostPattern> {
        shard.narrow.get(self.narrow as usize)
    }
}

impl<B> Shard<B> {
    /// Makes it of all rules that have a place in it, in any order; `is_here` says of a place whether it is.
    pub(crate) fn make<'r>(
        rules: impl Iterator<Item = &'r Arc<CompiledRule<B>>>,
        grounds: &Grounds<'_>,
        hasher: &RandomState,
        is_here: impl Fn(&Place<'_>) -> bool,
    ) -> Self
    where
        B: 'r,
    {
        let mut draft = Draft::new(hasher);
        for rule in rules {
            grounds.places(rule.config()).filter(|place| is_here(place)).for_each(|place| draft.attach(rule, &place));
        }
        draft.finish()
    }

    /// What is matched on a host, whose hash the caller knows.
    pub(crate) fn host(&self, hash: u64, owner: u32, text: &[u8]) -> Option<&HostIndex> {
        self.hosts.get_hashed(hash, owner, text)
    }

    /// The rules, each once, in no order.
    pub(crate) fn rules(&self) -> Vec<&Arc<CompiledRule<B>>> {
        let mut rules: Vec<_> = self.candidates.iter().map(|candidate| &candidate.rule).collect();
        rules.sort_unstable_by_key(|rule| Arc::as_ptr(rule));
        rules.dedup_by_key(|rule| Arc::as_ptr(rule));
        rules
    }
}

/// A shard while it is made: a group is known by a number, which its `start` holds, plus one so that 0 is none.
struct Draft<B> {
    hosts: Texts<HostIndex>,
    paths: Texts<Group>,
    entries: Vec<(u32, Candidate<B>)>,
    groups: u32,
    narrow: Vec<HostPattern>,
    /// By the number of the host: lengths of its prefixes, longest first.
    lengths: Vec<Vec<u32>>,
}

impl<B> Draft<B> {
    fn new(hasher: &RandomState) -> Self {
        Self {
            hosts: Texts::hashed_by(hasher),
            paths: Texts::hashed_by(hasher),
            entries: Vec::new(),
            groups: 0,
            narrow: Vec::new(),
            lengths: Vec::new(),
        }
    }

    fn attach(&mut self, rule: &Arc<CompiledRule<B>>, place: &Place<'_>) {
        let narrow = if place.is_wide { WIDE } else { self.narrow(&place.host.pattern) };
        for (at, matching) in rule.config().matches.iter().enumerate() {
            let group = self.group(place, &matching.path);
            let narrow = if place.is_wide && rule.is_plain(at) { PLAIN } else { narrow };
            self.entries.push((group, Candidate { rule: Arc::clone(rule), at: at as u32, narrow }));
        }
    }

    fn narrow(&mut self, pattern: &HostPattern) -> u32 {
        self.narrow.push(pattern.clone());
        self.narrow.len() as u32 - 1
    }

    /// The number of the group of a key.
    fn group(&mut self, place: &Place<'_>, path: &PathMatch) -> u32 {
        let Self { hosts, paths, groups, lengths, .. } = self;
        let host = hosts.get_or_insert(place.owner, place.text(), || {
            lengths.push(Vec::new());
            HostIndex { number: lengths.len() as u32 - 1, ..HostIndex::default() }
        });
        let group = match path {
            PathMatch::Regex(_) => &mut host.expressions,
            PathMatch::Exact(text) => {
                host.has_exact = true;
                paths.get_or_insert(2 * host.number, text.as_bytes(), Group::default)
            }
            PathMatch::Prefix(text) => match text.trim_end_matches('/') {
                "" => &mut host.root,
                text => {
                    let known = &mut lengths[host.number as usize];
                    let len = text.len() as u32;
                    if let Err(at) = known.binary_search_by(|other| len.cmp(other)) {
                        known.insert(at, len);
                    }
                    paths.get_or_insert(2 * host.number + 1, text.as_bytes(), Group::default)
                }
            },
        };
        if group.start == 0 {
            *groups += 1;
            group.start = *groups;
        }
        group.start
    }

    /// Lays the groups out one after another, each sorted.
    fn finish(self) -> Shard<B> {
        let Self { mut hosts, mut paths, mut entries, groups, lengths, narrow } = self;
        let mut starts = vec![0_u32; groups as usize + 2];
        entries.iter().for_each(|(group, _)| starts[*group as usize + 1] += 1);
        let is_sorted = starts.iter().all(|len| *len < 2);
        for group in 1..starts.len() {
            starts[group] += starts[group - 1];
        }
        if is_sorted {
            entries.sort_unstable_by_key(|(group, _)| *group);
        } else {
            entries.sort_by_cached_key(|(group, candidate)| (*group, rank(candidate)));
        }
        let place = |group: &mut Group| {
            let number = group.start as usize;
            *group = Group { start: starts[number], len: starts[number + 1] - starts[number] };
        };
        paths.values_mut().for_each(place);
        let mut all_lengths = Vec::new();
        for host in hosts.values_mut() {
            place(&mut host.root);
            place(&mut host.expressions);
            let known = &lengths[host.number as usize];
            host.lengths = Group { start: all_lengths.len() as u32, len: known.len() as u32 };
            all_lengths.extend_from_slice(known);
        }
        hosts.shrink();
        paths.shrink();
        let candidates = entries.into_iter().map(|(_, candidate)| candidate).collect();
        Shard { hosts, paths, lengths: all_lengths.into(), candidates, narrow: narrow.into() }
    }
}

/// Greatest `Rank` first. Rules of equal rank (an HTTPRoute and a GRPCRoute of one name, made in one second) stand by name.
fn rank<B>(candidate: &Candidate<B>) -> impl Ord + use<B> {
    // One key has one declared host, so whatever stands here does not decide.
    let rank = candidate.rule.rank(&HostPattern::Any, candidate.at as usize);
    (Reverse(rank), candidate.rule.name().clone())
}
