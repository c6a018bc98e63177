//! Makes the events of the schedule happen, each when its time has come. What it began it also ends: nothing is poisoned or spoilt when it is over.

use crate::{
    ledger::Lane,
    load::{burst, text},
    plan::Event,
    world::World,
};
use futures_util::FutureExt;
use headgate_e2e::{Wire, within};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Makes them all happen; how many of each kind did.
pub async fn all(world: Arc<World>, events: Vec<(Duration, Event)>) -> BTreeMap<&'static str, u64> {
    let begun = Instant::now();
    let (mut counts, mut running): (BTreeMap<_, u64>, _) = (BTreeMap::new(), JoinSet::new());
    for (number, (at, event)) in events.into_iter().enumerate() {
        tokio::time::sleep_until((begun + at).into()).await;
        if one(&world, event, number as u64, &mut running) {
            *counts.entry(event.kind()).or_default() += 1;
            world.ledger.say(&format!("{event:?}"));
        }
        while running.try_join_next().is_some() {}
    }
    running.join_all().await;
    world.heal();
    world.weigh(1, 1);
    counts
}

/// Begins one; whether it could.
fn one(world: &Arc<World>, event: Event, number: u64, running: &mut JoinSet<()>) -> bool {
    match event {
        Event::Poison { proxy, .. } if world.proxies[proxy].is_poisoned() => return false,
        Event::Weights(a, b) => world.weigh(a, b),
        Event::Certificate => world.certify(),
        Event::Kill => return world.kill(),
        longer => {
            if let Event::Poison { proxy, poison, .. } = longer {
                world.proxies[proxy].poison(poison);
            }
            let world = world.clone();
            running.spawn(async move {
                if let Err(panic) = AssertUnwindSafe(to_its_end(&world, longer, number)).catch_unwind().await {
                    world.ledger.fault(format!("{longer:?}: {}", text(&*panic)));
                }
            });
        }
    }
    true
}

/// Those that take a while.
async fn to_its_end(world: &Arc<World>, event: Event, number: u64) {
    match event {
        Event::Poison { proxy, time, .. } => {
            tokio::time::sleep(time).await;
            world.proxies[proxy].poison(None);
        }
        Event::Nonsense(time) => {
            world.spoil();
            tokio::time::sleep(time).await;
            world.weigh(1, 1);
        }
        Event::Replaced(service) => world.replace(service).await,
        Event::Burst(count) => burst(world.clone(), Lane::Kept, count, number << 16).await,
        Event::Cold(count) => burst(world.clone(), Lane::Cold, count, number << 16).await,
        Event::Passing => pass(world, &format!("passing-{number}")).await,
        Event::Weights(..) | Event::Certificate | Event::Kill => {}
    }
}

/// A function comes, is asked from zero, and goes.
async fn pass(world: &Arc<World>, name: &str) {
    let address = world.place.plain;
    let host = format!("{name}.localhost");
    world.add(name);
    within("a function that is added", answers(address, &host, 200)).await;
    for _ in 0..10 {
        let answer = Wire::get(address, &host, "/bytes/1000").await;
        assert!(answer.status == 200 && answer.body == crate::ask::bytes(1_000), "{name}: {answer:?}");
    }
    world.remove(name);
    within("a function that is removed", answers(address, &host, 404)).await;
}

/// Asks until that is the answer.
async fn answers(address: SocketAddr, host: &str, status: u16) {
    while Wire::get(address, host, "/bytes/10").await.status != status {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
