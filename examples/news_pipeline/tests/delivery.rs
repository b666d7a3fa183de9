//! No confirmed article is lost: 100 000 numbered articles pass through the reference service's producer and a group of
//! two consumers. One consumer is killed midway, and with it the broker if its storage is persistent.
//!
//! `scripts/install_broker.sh` installs the external broker.

mod support;

use std::time::Duration;

use support::pipeline::{Folder, Member, Part, SESSION_TIMEOUT, Tansu, eventually, missing};

/// Number of articles.
const COUNT: u64 = 100_000;

/// Articles that each consumer has before one of them is killed.
const BEFORE_THE_KILL: usize = 3_000;

/// Articles published after the group has left.
const LATER: u64 = 500;

fn produce(servers: &str, arguments: &[&str]) -> Part {
    Part::start(&[&["produce", "--bootstrap-servers", servers], arguments].concat())
}

/// Kills a consumer midway, calls `midway`, and checks that every number arrives.
fn delivers_every_number(name: &str, servers: &str, midway: impl FnOnce()) {
    let folder = Folder::new(name);
    // The survivor joins first and leads the group, because Tansu 0.6 may wait forever for a leader that is gone.
    let survivor = Member::join(servers, &folder, "survivor");
    survivor.part.wait_for_log("this member has 8 partitions");
    let victim = Member::join(servers, &folder, "victim");
    for member in [&victim, &survivor] {
        member.part.wait_for_log("this member has 4 partitions");
    }
    // At this rate, publishing takes long enough for a kill in the middle of it.
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

/// After the last member of a group has left, a new member gets only later articles.
fn an_orderly_restart_repeats_nothing(servers: &str, folder: &Folder) {
    let successor = Member::join(servers, folder, "successor");
    let later = produce(servers, &["--from", &COUNT.to_string(), "--count", &LATER.to_string()]);
    let (code, logged) = later.end();
    assert_eq!(code, Some(0), "{logged:#?}");
    let expected: Vec<u64> = (COUNT..COUNT + LATER).collect();
    eventually("what came later is recorded", || successor.recorded().len() >= expected.len());
    // Repeated articles would come before later ones of the same partition.
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
        // Every session ends. If only the victim's ended, Tansu 0.6 would give the survivor the same partitions as
        // before, because it does not change the group.
        std::thread::sleep(SESSION_TIMEOUT + Duration::from_secs(1));
        tansu.run();
    });
}
