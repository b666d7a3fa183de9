//! Nothing that Kafka confirmed is lost: 100 000 numbered articles through the reference service's producer and a group
//! of two consumers, one of which is killed midway, and with it the broker, where that keeps its messages.
//!
//! The broker that is not ours is installed by `scripts/install_broker.sh`.

mod support;

use std::time::Duration;

use support::pipeline::{Folder, Member, Part, SESSION_TIMEOUT, Tansu, eventually, missing};

/// Articles of the whole test.
const COUNT: u64 = 100_000;

/// How many of them each consumer has before one of them is killed.
const BEFORE_THE_KILL: usize = 3_000;

/// Published after the group was gone, in the orderly way.
const LATER: u64 = 500;

fn produce(servers: &str, arguments: &[&str]) -> Part {
    Part::start(&[&["produce", "--bootstrap-servers", servers], arguments].concat())
}

/// Kills a consumer midway, calls `midway`, and looks for every number.
fn delivers_every_number(name: &str, servers: &str, midway: impl FnOnce()) {
    let folder = Folder::new(name);
    // The survivor comes first, and leads the group: Tansu 0.6 may wait for ever for a leader that is gone.
    let survivor = Member::join(servers, &folder, "survivor");
    survivor.part.wait_for_log("this member has 8 partitions");
    let victim = Member::join(servers, &folder, "victim");
    for member in [&victim, &survivor] {
        member.part.wait_for_log("this member has 4 partitions");
    }
    // At this rate, publishing takes as many seconds as the kill needs to fall into the middle of it.
    let producer = produce(servers, &["--count", &COUNT.to_string(), "--rate", "10000"]);
    eventually("both consume", || [&victim, &survivor].iter().all(|member| member.recorded().len() >= BEFORE_THE_KILL));
    victim.part.signal("KILL");
    let at_the_kill = victim.recorded().len() + survivor.recorded().len();
    assert!(at_the_kill < 90_000, "the kill came at {at_the_kill} of {COUNT}, which is not midway");
    midway();

    let (code, logged) = producer.end();
    assert_eq!(code, Some(0), "every number is confirmed: {logged:#?}");
    eventually("every number is recorded", || missing(COUNT, &[&victim.recorded(), &survivor.recorded()]).is_empty());
    let (killed, survived) = (victim.recorded(), survivor.recorded());
    let seen_twice = killed.len() + survived.len() - usize::try_from(COUNT).expect("it fits");
    println!(
        "{name}: {} numbers by the killed member, {} by the other, {seen_twice} seen twice",
        killed.len(),
        survived.len()
    );
    assert!(killed.len() >= BEFORE_THE_KILL, "what was recorded stays recorded");
    assert_eq!(survivor.leave(), Some(0), "it commits and ends");
    an_orderly_restart_repeats_nothing(servers, &folder);
}

/// A new member of a group whose last member has left in the orderly way gets what came later, and nothing twice.
fn an_orderly_restart_repeats_nothing(servers: &str, folder: &Folder) {
    let successor = Member::join(servers, folder, "successor");
    let later = produce(servers, &["--from", &COUNT.to_string(), "--count", &LATER.to_string()]);
    let (code, logged) = later.end();
    assert_eq!(code, Some(0), "{logged:#?}");
    let expected: Vec<u64> = (COUNT..COUNT + LATER).collect();
    eventually("what came later is recorded", || successor.recorded().len() >= expected.len());
    // What is repeated would come first, before what came later in the same partition.
    let mut recorded = successor.recorded();
    recorded.sort_unstable();
    assert_eq!(recorded, expected);
    assert_eq!(successor.leave(), Some(0));
}

#[test]
fn the_embedded_broker_loses_nothing_when_a_consumer_is_killed() {
    let broker = Part::start(&["broker"]);
    let servers = broker.announced("broker");
    delivers_every_number("embedded", &servers, || {});
}

#[test]
fn a_broker_that_is_not_ours_loses_nothing_when_it_is_killed_too() {
    let Some(mut tansu) = Tansu::start("tansu-storage") else { return };
    let servers = tansu.servers();
    delivers_every_number("tansu", &servers, || {
        tansu.kill();
        // Every client notices, and nobody's session lives on. If only the victim's ended, Tansu 0.6 would tell the
        // survivor so, and then hand it the partitions that it had before: its group is formed, and stays so.
        std::thread::sleep(SESSION_TIMEOUT + Duration::from_secs(1));
        tansu.run();
    });
}
