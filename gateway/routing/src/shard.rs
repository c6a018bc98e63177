//! A part of the index: some hosts with all that is matched on them, in a few blocks of memory. Never changes once made; an edit of one of its rules makes it anew, and no other.

use crate::{CompiledRule, grounds::Place, texts::Texts};
use foldhash::fast::RandomState;
use headgate_config::{HostPattern, PathMatch, Text};
use std::{cmp::Reverse, sync::Arc};

/// A rule, and a place of it.
pub(crate) type Placed<'r, B> = (&'r Arc<CompiledRule<B>>, Place<'r>);

/// Hosts and their rules.
#[derive(Debug)]
pub(crate) struct Shard<B> {
    /// By what the listener is known by and the kind of host.
    hosts: Texts<HostIndex>,
    /// Exact paths, by the number of the host.
    exact: Texts<Group>,
    few: Few,
    many: Many,
    pub(crate) candidates: Box<[Candidate<B>]>,
    /// Effective patterns that are narrower than what listener and route both match.
    pub(crate) narrow: Box<[HostPattern]>,
}

/// What is known of the paths of one host.
#[derive(Debug, Default)]
pub(crate) struct HostIndex {
    number: u32,
    has_exact: bool,
    /// Of the prefix `/`.
    pub(crate) root: Group,
    pub(crate) expressions: Group,
    /// The prefixes but `/` where they are few, longest first.
    few: Group,
    /// The lengths that prefixes have where they are many, longest first. So a path with 1,000 slashes costs no more look-ups than there are
    /// lengths.
    many: Group,
}

/// More than so many prefixes are many.
const FEW: usize = 6;

/// The prefixes of hosts that have few, those of one side by side: to compare them costs less than to hash parts of a path.
#[derive(Debug, Default)]
struct Few {
    prefixes: Box<[Prefix]>,
    texts: Box<[u8]>,
}

/// A prefix without its trailing slash, and what is matched under it.
#[derive(Debug)]
struct Prefix {
    text: Group,
    group: Group,
}

/// The prefixes of hosts that have many.
#[derive(Debug)]
struct Many {
    lengths: Box<[u32]>,
    /// By the number of the host.
    prefixes: Texts<Group>,
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
    /// Makes it of all places in it, in any order.
    pub(crate) fn make<'r>(places: impl Iterator<Item = Placed<'r, B>>, hasher: &RandomState) -> Self
    where
        B: 'r,
    {
        let mut draft = Draft::new(hasher);
        places.for_each(|(rule, place)| draft.attach(rule, &place));
        draft.finish()
    }

    /// What is matched on a host, whose hash the caller knows.
    pub(crate) fn host(&self, hash: u64, owner: u32, text: &[u8]) -> Option<&HostIndex> {
        self.hosts.get_hashed(hash, owner, text)
    }

    /// What is matched on a whole path of a host.
    pub(crate) fn exact(&self, host: &HostIndex, path: &[u8]) -> Option<Group> {
        if host.has_exact { self.exact.get(host.number, path).copied() } else { None }
    }

    /// The prefixes of a host but `/` that a path is below, longest first: their lengths, and what is matched under them.
    pub(crate) fn prefixes<'s>(
        &'s self,
        host: &'s HostIndex,
        path: &'s [u8],
    ) -> impl Iterator<Item = (usize, Group)> + use<'s, B> {
        // whole segments: the prefix ends where the path does, or before a slash
        let is_whole = move |len: &usize| path.len() == *len || path.get(*len) == Some(&b'/');
        let few = host.few.of(&self.few.prefixes).iter().filter_map(move |prefix| {
            let len = Some(prefix.text.len as usize).filter(is_whole)?;
            (path[..len] == *prefix.text.of(&self.few.texts)).then_some((len, prefix.group))
        });
        let many = host.many.of(&self.many.lengths).iter().filter_map(move |len| {
            let len = Some(*len as usize).filter(is_whole)?;
            Some((len, *self.many.prefixes.get(host.number, &path[..len])?))
        });
        few.chain(many)
    }

    /// The rules, each as often as it has entries here, by where they are.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (*const CompiledRule<B>, &Arc<CompiledRule<B>>)> {
        self.candidates.iter().map(|candidate| (Arc::as_ptr(&candidate.rule), &candidate.rule))
    }
}

/// A shard while it is made: a group is known by a number, which its `start` holds, plus one so that 0 is none.
struct Draft<B> {
    hosts: Texts<HostIndex>,
    exact: Texts<Group>,
    prefixes: Texts<Group>,
    entries: Vec<(u32, Candidate<B>)>,
    groups: u32,
    narrow: Vec<HostPattern>,
    /// By the number of the host: its prefixes but `/`, as rules write them.
    of_hosts: Vec<Vec<Text>>,
}

impl<B> Draft<B> {
    fn new(hasher: &RandomState) -> Self {
        Self {
            hosts: Texts::hashed_by(hasher),
            exact: Texts::hashed_by(hasher),
            prefixes: Texts::hashed_by(hasher),
            entries: Vec::new(),
            groups: 0,
            narrow: Vec::new(),
            of_hosts: Vec::new(),
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
        let Self { hosts, exact, prefixes, groups, of_hosts, .. } = self;
        let host = hosts.get_or_insert(place.owner, place.text(), || {
            of_hosts.push(Vec::new());
            HostIndex { number: of_hosts.len() as u32 - 1, ..HostIndex::default() }
        });
        let group = match path {
            PathMatch::Regex(_) => &mut host.expressions,
            PathMatch::Exact(text) => {
                host.has_exact = true;
                exact.get_or_insert(host.number, text.as_bytes(), Group::default)
            }
            PathMatch::Prefix(text) => match text.trim_end_matches('/') {
                "" => &mut host.root,
                short => prefixes.get_or_insert(host.number, short.as_bytes(), || {
                    of_hosts[host.number as usize].push(text.clone());
                    Group::default()
                }),
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
        let Self { mut hosts, mut exact, mut prefixes, mut entries, groups, narrow, of_hosts } = self;
        let mut starts = vec![0_u32; groups as usize + 2];
        entries.iter().for_each(|(group, _)| starts[*group as usize + 1] += 1);
        let are_single = starts.iter().all(|len| *len < 2);
        for group in 1..starts.len() {
            starts[group] += starts[group - 1];
        }
        match are_single {
            true => entries.sort_unstable_by_key(|(group, _)| *group),
            false => entries.sort_by_cached_key(|(group, candidate)| (*group, rank(candidate))),
        }
        let place = |group: &mut Group| {
            let number = group.start as usize;
            *group = Group { start: starts[number], len: starts[number + 1] - starts[number] };
        };
        exact.values_mut().chain(prefixes.values_mut()).for_each(place);
        let mut lists = Lists { few: Vec::new(), texts: Vec::new(), lengths: Vec::new(), many: prefixes.emptied() };
        for host in hosts.values_mut() {
            place(&mut host.root);
            place(&mut host.expressions);
            lists.lay_out(host, &of_hosts[host.number as usize], &prefixes);
        }
        hosts.shrink();
        exact.shrink();
        let candidates = entries.into_iter().map(|(_, candidate)| candidate).collect();
        let (few, many) = lists.finish();
        Shard { hosts, exact, few, many, candidates, narrow: narrow.into() }
    }
}

/// The prefixes of all hosts while they are laid out.
struct Lists {
    few: Vec<Prefix>,
    texts: Vec<u8>,
    lengths: Vec<u32>,
    many: Texts<Group>,
}

impl Lists {
    fn lay_out(&mut self, host: &mut HostIndex, written: &[Text], groups: &Texts<Group>) {
        let mut all: Vec<&[u8]> = written.iter().map(|text| text.trim_end_matches('/').as_bytes()).collect();
        all.sort_unstable_by_key(|text| (Reverse(text.len()), *text));
        let known = all.iter().filter_map(|text| Some((*text, *groups.get(host.number, text)?)));
        if all.len() <= FEW {
            let start = self.few.len() as u32;
            for (text, group) in known {
                let text_at = Group { start: self.texts.len() as u32, len: text.len() as u32 };
                self.texts.extend_from_slice(text);
                self.few.push(Prefix { text: text_at, group });
            }
            host.few = Group { start, len: all.len() as u32 };
        } else {
            for (text, group) in known {
                self.many.get_or_insert(host.number, text, || group);
            }
            let start = self.lengths.len() as u32;
            self.lengths.extend(all.chunk_by(|a, b| a.len() == b.len()).map(|same| same[0].len() as u32));
            host.many = Group { start, len: self.lengths.len() as u32 - start };
        }
    }

    fn finish(self) -> (Few, Many) {
        let Self { few, texts, lengths, many: mut prefixes } = self;
        prefixes.shrink();
        (Few { prefixes: few.into(), texts: texts.into() }, Many { lengths: lengths.into(), prefixes })
    }
}

/// Greatest `Rank` first. Rules of equal rank (an HTTPRoute and a GRPCRoute of one name, made in one second) stand by name.
fn rank<B>(candidate: &Candidate<B>) -> impl Ord + use<B> {
    // One key has one declared host, so whatever stands here does not decide.
    let rank = candidate.rule.rank(&HostPattern::Any, candidate.at as usize);
    (Reverse(rank), candidate.rule.name().clone())
}
