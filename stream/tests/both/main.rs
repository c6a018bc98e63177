//! Controller and gateway over real TLS on this machine: what a gateway serves and what a controller hears of it.
#![allow(clippy::unwrap_used, reason = "tests panic to fail")]

mod ends;
mod given;
mod relay;

use ends::{Controller, Pod, quick, until};
use given::{certificate, endpoints, gateway, snapshot};
use headgate_config::{Activation, Demand, Version};
use headgate_stream::{Report, authority::Material};
use relay::Relay;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_serves_what_is_published_and_says_so() {
    let controller = Controller::start("one", true).await;
    let pod = Pod::start(&controller.at(), &controller);
    let number = controller.publisher.endpoints(&gateway(), endpoints(0, &[81], Activation::Ready));
    let first = controller.publisher.publish(&gateway(), snapshot(3), certificate());
    controller.heard(|report| *report == Report::Acknowledged { version: first, problems: Vec::new() }).await;
    controller.heard(|report| matches!(report, Report::EndpointsApplied { sequence } if *sequence >= number)).await;
    assert_eq!(pod.plane.snapshot(), Some(snapshot(3)));
    assert_eq!(pod.plane.certificates(), *certificate());
    assert_eq!(pod.plane.listed(0), [81]);

    let second = controller.publisher.publish(&gateway(), snapshot(4), certificate());
    assert!(second > first);
    controller.heard(|report| *report == Report::Acknowledged { version: second, problems: Vec::new() }).await;
    assert_eq!(pod.plane.snapshot(), Some(snapshot(4)));
    controller.publisher.endpoints(&gateway(), endpoints(0, &[82, 83], Activation::Ready));
    until(|| pod.plane.listed(0) == [82, 83]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_in_a_version_reaches_the_controller() {
    let controller = Controller::start("one", true).await;
    let pod = Pod::start(&controller.at(), &controller);
    pod.plane.find_wrong("port 80 is in use");
    let version = controller.publisher.publish(&gateway(), snapshot(1), certificate());
    let problems = vec!["port 80 is in use".to_owned()];
    controller.heard(|report| *report == Report::Acknowledged { version, problems: problems.clone() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconnect_costs_what_differs() {
    let controller = Controller::start("one", true).await;
    let relay = Relay::start(controller.port).await;
    let pod = Pod::start(&relay.at(), &controller);
    for index in 0..50 {
        controller.publisher.endpoints(&gateway(), endpoints(index, &[81], Activation::Ready));
    }
    controller.publisher.publish(&gateway(), snapshot(500), certificate());
    until(|| pod.plane.snapshot() == Some(snapshot(500)) && pod.plane.listed(49) == [81]).await;
    let whole = relay.down_bytes();
    assert!(whole > 100_000, "{whole}");

    relay.cut();
    controller.heard(|report| *report == Report::Gone).await;
    controller.publisher.publish(&gateway(), snapshot(501), certificate());
    until(|| pod.plane.snapshot() == Some(snapshot(501))).await;
    let difference = relay.down_bytes() - whole;
    assert!(difference < 20_000, "{difference} of {whole}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_gets_nothing_until_the_file_has_the_right_one() {
    let controller = Controller::start("one", true).await;
    controller.publisher.publish(&gateway(), snapshot(1), certificate());
    let pod = Pod::start_with_token(&controller.at(), &controller, "no such token");
    until(|| controller.asked() > 1).await;
    assert_eq!((pod.plane.snapshot(), controller.reports()), (None, Vec::new()));
    pod.write_token("a/web/pod");
    until(|| pod.plane.snapshot() == Some(snapshot(1))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_of_another_gateway_gets_nothing() {
    let controller = Controller::start("one", true).await;
    controller.publisher.publish(&gateway(), snapshot(1), certificate());
    for token in ["a/other/pod", "a/web/another-pod"] {
        let asked = controller.asked();
        let pod = Pod::start_with_token(&controller.at(), &controller, token);
        until(|| controller.asked() > asked + 1).await;
        assert_eq!((pod.plane.snapshot(), controller.reports()), (None, Vec::new()), "{token}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_another_authority_vouches_for_is_not_followed() {
    let (controller, other) = (Controller::start("one", true).await, Controller::start("two", true).await);
    controller.publisher.publish(&gateway(), snapshot(1), certificate());
    let pod = Pod::start(&controller.at(), &other);
    until(|| controller.handshakes() > 1).await;
    assert_eq!((pod.plane.snapshot(), controller.asked()), (None, 0));
    // the file is read for each connection
    pod.write_authority(&controller);
    until(|| pod.plane.snapshot() == Some(snapshot(1))).await;
}

/// As an authority grows old: its certificate is renewed, a second authority is trusted, and then that one signs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_authorities_are_renewed_while_a_gateway_follows() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let names = ["localhost".to_owned()];
    let renewed = |held: Option<&Material>, days_ago: u32| {
        Material::renewed(held, &names, SystemTime::now() - DAY * days_ago).unwrap().expect("it is due")
    };
    let first = renewed(None, 482);
    let old = renewed(Some(&first), 62);
    let resigned = renewed(Some(&old), 2);
    let next = renewed(Some(&resigned), 0);
    assert!(resigned.trusted().starts_with(&old.trusted()) && resigned.trusted().ends_with(&next.trusted()));
    let controller = Controller::with_authority("one", &old).await;
    let relay = Relay::start(controller.port).await;
    let pod = Pod::start(&relay.at(), &controller);
    let mut rules = 0;
    let mut serves = async || {
        rules += 1;
        controller.publisher.publish(&gateway(), snapshot(rules), certificate());
        until(|| pod.plane.snapshot() == Some(snapshot(rules))).await;
    };
    serves().await;
    // what a Pod has in its file, and what the controller shows; each time the stream that is there goes on, and so does the next
    for (trusted, shown) in [(&old, &resigned), (&resigned, &resigned), (&resigned, &next), (&next, &next)] {
        let handshakes = controller.handshakes();
        pod.write_trusted(trusted);
        controller.show(shown);
        serves().await;
        assert_eq!(controller.handshakes(), handshakes, "the stream goes on");
        relay.cut();
        until(|| controller.handshakes() > handshakes).await;
        serves().await;
    }
    // who never read the second one is told nothing
    let late = Pod::start(&controller.at(), &controller);
    let handshakes = controller.handshakes();
    until(|| controller.handshakes() > handshakes + 2).await;
    assert_eq!(late.plane.snapshot(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_follow_the_leader_and_change_over_without_a_loss() {
    let one = Controller::start("one", true).await;
    let two = Controller::sharing_authority("two", false, &one).await;
    for controller in [&one, &two] {
        controller.publisher.publish(&gateway(), snapshot(2), certificate());
    }
    let pod = Pod::start(&format!("{},{}", two.at(), one.at()), &one);
    one.heard(|report| *report == Report::Following(true)).await;
    until(|| pod.plane.snapshot() == Some(snapshot(2))).await;

    one.publisher.lead(false);
    two.publisher.lead(true);
    two.heard(|report| *report == Report::Following(true)).await;
    let version = two.publisher.publish(&gateway(), snapshot(3), certificate());
    two.heard(|report| *report == Report::Acknowledged { version, problems: Vec::new() }).await;
    assert!(pod.plane.history().iter().all(|rules| *rules >= 2), "nothing was lost: {:?}", pod.plane.history());
    one.heard(|report| *report == Report::Gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_falls_silent_is_left_and_its_gateway_serves_on() {
    let one = Controller::start("one", true).await;
    let two = Controller::sharing_authority("two", false, &one).await;
    for controller in [&one, &two] {
        controller.publisher.publish(&gateway(), snapshot(2), certificate());
    }
    let relay = Relay::start(one.port).await;
    let pod = Pod::start(&format!("{},{}", relay.at(), two.at()), &one);
    one.heard(|report| *report == Report::Following(true)).await;
    until(|| pod.plane.snapshot() == Some(snapshot(2))).await;
    relay.freeze();
    two.heard(|report| *report == Report::Following(true)).await;
    assert!(pod.plane.history().iter().all(|rules| *rules == 2));
}

/// It was cut off from what it tells of before the other one learned something new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_may_know_less_is_followed_only_by_who_knows_nothing() {
    let one = Controller::start("one", true).await;
    let two = Controller::sharing_authority("two", false, &one).await;
    let a_while_ago = Instant::now().checked_sub(Duration::from_secs(60)).expect("this machine runs for longer");
    let (reached, current) = watch::channel(a_while_ago);
    two.publisher.current_as_of(current);
    two.publisher.publish(&gateway(), snapshot(1), certificate());
    one.publisher.publish(&gateway(), snapshot(2), certificate());
    let pod = Pod::start(&format!("{},{}", one.at(), two.at()), &one);
    until(|| pod.plane.snapshot() == Some(snapshot(2))).await;
    one.stop();
    let asked = two.asked();
    until(|| two.asked() > asked + 2).await;
    assert_eq!(pod.plane.snapshot(), Some(snapshot(2)), "{:?}", pod.plane.history());
    let new = Pod::start_with_token(&two.at(), &two, "a/web/pod");
    until(|| new.plane.snapshot() == Some(snapshot(1))).await;
    drop(new);

    reached.send_replace(Instant::now() + Duration::from_secs(3_600));
    until(|| pod.plane.snapshot() == Some(snapshot(1))).await;
    assert_eq!(pod.plane.history(), [2, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_come_whole_each_second_and_what_stirs_at_once() {
    let controller = Controller::start("one", true).await;
    let pod = Pod::start(&controller.at(), &controller);
    controller.heard(|report| *report == Report::Demand { list: Vec::new(), whole: true }).await;
    let demand = |queued| Demand { target: "a/f".into(), queued, ..Demand::default() };
    pod.plane.demand_now(vec![demand(3)]);
    controller.heard(|report| *report == Report::Demand { list: vec![demand(3)], whole: false }).await;
    controller.heard(|report| *report == Report::Demand { list: vec![demand(3)], whole: true }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_without_a_controller_serves_the_last_routes_and_keeps_no_key() {
    let controller = Controller::start("one", true).await;
    let pod = Pod::start(&controller.at(), &controller);
    controller.publisher.endpoints(&gateway(), endpoints(0, &[81], Activation::Ready));
    controller.publisher.publish(&gateway(), snapshot(3), certificate());
    until(|| pod.plane.snapshot() == Some(snapshot(3)) && pod.plane.listed(0) == [81]).await;
    until(|| pod.kept().is_some()).await;
    assert!(!String::from_utf8_lossy(&pod.kept().unwrap()).contains("PRIVATE"));

    controller.stop();
    let again = pod.restart();
    until(|| again.plane.snapshot() == Some(snapshot(3)) && again.plane.listed(0) == [81]).await;
    assert!(again.plane.certificates().is_empty(), "keys are never kept");

    let later = Controller::on_port(controller.port, "later", &controller).await;
    later.publisher.publish(&gateway(), snapshot(3), certificate());
    until(|| again.plane.certificates() == *certificate()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_file_is_passed_over() {
    let controller = Controller::start("one", true).await;
    let pod = Pod::start(&controller.at(), &controller);
    controller.publisher.publish(&gateway(), snapshot(3), certificate());
    until(|| pod.kept().is_some()).await;
    let mut bytes = pod.kept().unwrap();
    bytes.truncate(bytes.len() / 2);
    pod.keep(&bytes);
    let again = pod.restart();
    until(|| again.plane.snapshot() == Some(snapshot(3))).await;
    assert_eq!(again.plane.history(), [3], "from the controller, and not from the file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_comes_again_takes_the_place_of_its_own_stream() {
    let controller = Controller::start("one", true).await;
    let version = controller.publisher.publish(&gateway(), snapshot(1), certificate());
    assert_eq!(version, Version(1));
    let pod = Pod::start(&controller.at(), &controller);
    until(|| pod.plane.snapshot() == Some(snapshot(1))).await;
    let again = pod.restart();
    until(|| again.plane.snapshot() == Some(snapshot(1))).await;
    controller.publisher.publish(&gateway(), snapshot(2), certificate());
    until(|| again.plane.snapshot() == Some(snapshot(2))).await;
    assert!(quick().silence < Duration::from_secs(5));
}
