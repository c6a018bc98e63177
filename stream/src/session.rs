//! One stream on the controller's side: hears a gateway, and says what it lacks. Never keeps more than the newest for a gateway or a controller that is slow.

use crate::{
    digest::Digest,
    dispatch::Dispatch,
    outbox::Outbox,
    publisher::{Publisher, Session},
    report::Report,
    wire::{self, Down, DownSay, Up, UpSay},
};
use headgate_config::{Demand, Version};
use std::{collections::HashSet, time::Instant};
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};

/// Digests that one gateway may say it holds: bounds what a gateway can make a controller keep.
const HOLDING_MOST: usize = 1_000_000;
/// Problems kept of one acknowledgement.
const PROBLEMS_MOST: usize = 100;
/// Scale targets that one gateway may count.
const TARGETS_MOST: usize = 100_000;

/// The ends of a stream.
pub struct Ends {
    /// What the gateway says.
    pub up: Streaming<Up>,
    /// What it is told.
    pub down: mpsc::Sender<Result<Down, Status>>,
}

/// Serves a stream whose gateway has said its first word, to its end.
pub async fn run(
    ends: Ends,
    hello: wire::UpHello,
    session: Session,
    publisher: Publisher,
    stop: watch::Receiver<bool>,
) {
    let Ends { up, down } = ends;
    let mut conversation = Conversation::new(hello, session, &publisher);
    let why = conversation.hold(up, &down, &publisher, stop).await;
    tracing::debug!(pod = conversation.session.pod, why = why.message(), "stream ended");
    // a gateway that reads nothing does not learn why
    let _ = down.try_send(Err(why));
    drop(down);
    let Conversation { session, outbox: mut left, .. } = conversation;
    let reports = session.desk.reports().clone();
    while let Some(report) = left.take() {
        let Ok(permit) = reports.reserve().await else { return };
        session.report(permit, report);
    }
    let Ok(permit) = reports.reserve().await else { return };
    session.report(permit, Report::Gone);
}

struct Conversation {
    session: Session,
    dispatch: Dispatch,
    outbox: Outbox,
    holding: Holding,
    heard: Instant,
    pending: Option<DownSay>,
}

/// What the gateway has said so far of what it holds.
#[derive(Default)]
struct Holding {
    pieces: HashSet<Digest>,
    keys: HashSet<Digest>,
    endpoints: HashSet<Digest>,
}

impl Conversation {
    fn new(hello: wire::UpHello, session: Session, publisher: &Publisher) -> Self {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        outbox.put(Report::Connected { program: hello.program });
        Self {
            session,
            dispatch: Dispatch::new(publisher.pace(), now),
            outbox,
            holding: Holding::default(),
            heard: now,
            pending: None,
        }
    }

    /// Until it ends; says why.
    async fn hold(
        &mut self,
        mut up: Streaming<Up>,
        down: &mpsc::Sender<Result<Down, Status>>,
        publisher: &Publisher,
        mut stop: watch::Receiver<bool>,
    ) -> Status {
        let mut news = self.session.desk.news();
        let mut leading = publisher.leading();
        let role = *leading.borrow_and_update();
        self.pending = Some(DownSay::Hello(publisher.hello(role)));
        let reports = self.session.desk.reports().clone();
        loop {
            if let Some(why) = self.think(publisher, &mut leading) {
                return why;
            }
            let wake = self.dispatch.wake_at().min(self.heard + publisher.pace().silence);
            tokio::select! {
                room = down.reserve(), if self.pending.is_some() => match (room, self.pending.take()) {
                    (Ok(room), Some(say)) => room.send(Ok(say.into())),
                    _ => return Status::cancelled("the gateway closed it"),
                },
                message = up.message() => match message {
                    Ok(Some(Up { say: Some(say) })) => {
                        self.heard = Instant::now();
                        if let Err(why) = self.hear(say, publisher) {
                            return why;
                        }
                    }
                    // of a later version
                    Ok(Some(Up { say: None })) => self.heard = Instant::now(),
                    Ok(None) => return Status::cancelled("the gateway closed it"),
                    Err(why) => return why,
                },
                room = reports.reserve(), if !self.outbox.is_empty() => match (room, self.outbox.take()) {
                    (Ok(room), Some(report)) => self.session.report(room, report),
                    _ => return Status::unavailable("this controller is stopping"),
                },
                _ = news.changed() => {}
                _ = leading.changed(), if self.pending.is_none() => leading.mark_changed(),
                _ = &mut self.session.replaced => return Status::aborted("a later stream of the same Pod took its place"),
                () = stopped(&mut stop) => return Status::unavailable("this controller is stopping"),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    /// Decides what to say next, and whether to go on.
    fn think(&mut self, publisher: &Publisher, leading: &mut watch::Receiver<bool>) -> Option<Status> {
        let now = Instant::now();
        if now >= self.heard + publisher.pace().silence {
            return Some(Status::deadline_exceeded("the gateway was silent for too long"));
        }
        if self.dispatch.is_overdue(now) {
            return Some(Status::deadline_exceeded("a version was not acknowledged in time"));
        }
        let state = self.session.desk.state();
        if state.forgotten {
            return Some(Status::not_found("the Gateway is gone"));
        }
        if self.pending.is_none() && leading.has_changed().unwrap_or(false) {
            let leading = *leading.borrow_and_update();
            self.pending = Some(DownSay::Role(wire::Role { leading }));
        }
        if self.pending.is_none() {
            // the lock is held while at most one message is made
            self.pending = self.dispatch.next(state.publication.as_ref(), &state.ledger, now);
        }
        None
    }

    fn hear(&mut self, say: UpSay, publisher: &Publisher) -> Result<(), Status> {
        match say {
            UpSay::Hello(_) => return Err(Status::invalid_argument("a second first word")),
            UpSay::Holding(holding) => self.holding(&holding, publisher)?,
            UpSay::Unfollow(_) => {
                self.dispatch.unfollow();
                self.outbox.put(Report::Following(false));
            }
            UpSay::Ack(wire::Ack { version, mut problems }) => {
                problems.truncate(PROBLEMS_MOST);
                self.dispatch.acknowledged(Version(version));
                self.outbox.put(Report::Acknowledged { version: Version(version), problems });
            }
            UpSay::EndpointsAck(ack) => self.outbox.put(Report::EndpointsApplied { sequence: ack.sequence }),
            UpSay::Demand(demand) => {
                if demand.list.len() > TARGETS_MOST {
                    return Err(Status::resource_exhausted("more scale targets than a gateway may count"));
                }
                let read = |json: &bytes::Bytes| serde_json::from_slice::<Demand>(json).ok();
                let list = demand.list.iter().filter_map(read).collect();
                self.outbox.put(Report::Demand { list, whole: demand.whole });
            }
            UpSay::Beat(_) => {}
        }
        Ok(())
    }

    fn holding(&mut self, said: &wire::Holding, publisher: &Publisher) -> Result<(), Status> {
        let Holding { pieces, keys, endpoints } = &mut self.holding;
        pieces.extend(Digest::split(&said.pieces));
        keys.extend(Digest::split(&said.certificates));
        endpoints.extend(Digest::split(&said.endpoints));
        if pieces.len() + keys.len() + endpoints.len() > HOLDING_MOST {
            return Err(Status::resource_exhausted("more pieces than a gateway may hold"));
        }
        if said.last {
            let Holding { pieces, keys, endpoints } = std::mem::take(&mut self.holding);
            let state = self.session.desk.state();
            let newest = state.ledger.newest();
            // one that waits for its keys serves better with those of a while ago than with none
            let has_keys = !keys.is_empty() || state.publication.as_ref().is_none_or(|version| version.has_no_keys());
            drop(state);
            if !pieces.is_empty() && has_keys && !publisher.is_current(Instant::now()) {
                let why = "this controller may know less than the gateway: it has not reached its source for a while";
                return Err(Status::unavailable(why));
            }
            self.dispatch.follow(pieces, keys, endpoints, newest);
            self.outbox.put(Report::Following(true));
        }
        Ok(())
    }
}

/// Returns once it is said to stop.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // who could say it is gone: that says it too
    let _ = stop.wait_for(|stop| *stop).await;
}
