//! What goes wrong: drawn from the seed, for some seconds; then everything is put right.

use std::rc::Rc;
use std::time::Duration;

use super::disk::Health;
use super::message::Node;
use super::network::Weather;
use super::scene::Scene;
use super::world::Env;

/// How often a crash looks for something that is on its way to the disk.
const LOOKS: u32 = 2_000;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Crash,
    /// A crash with something on its way to the disk.
    CrashWhileWriting,
    Pause,
    CutOneWay,
    CutBothWays,
    Isolation,
    /// The front-ends do not reach a replica, which goes on.
    Unseen,
    FullDisk,
    SlowDisk,
    FailingDisk,
    Weather,
    Blackout,
}

const FAULTS: [Fault; 12] = [
    Fault::Crash,
    Fault::CrashWhileWriting,
    Fault::Pause,
    Fault::CutOneWay,
    Fault::CutBothWays,
    Fault::Isolation,
    Fault::Unseen,
    Fault::FullDisk,
    Fault::SlowDisk,
    Fault::FailingDisk,
    Fault::Weather,
    Fault::Blackout,
];

/// Lets things go wrong until `end`. Each seed draws which kinds, and how often: a run in which
/// everything fails all the time never gets far enough for what is rare.
pub(crate) fn start(scene: &Rc<Scene>, end: Duration) {
    let world = Rc::clone(&scene.world);
    let kinds: Vec<Fault> = FAULTS.into_iter().filter(|_| world.chance(450_000)).collect();
    let longest_peace = world.draw_time(Duration::from_millis(100)..Duration::from_secs(3));
    let env = Env { world, node: Node::World };
    if kinds.is_empty() {
        return;
    }
    let scene = Rc::clone(scene);
    env.clone().spawn(async move {
        loop {
            env.sleep(env.world.draw_time(Duration::from_millis(20)..longest_peace)).await;
            if env.world.time() >= end {
                return;
            }
            let kind = kinds[draw(&env, kinds.len())];
            let (env, scene) = (env.clone(), Rc::clone(&scene));
            env.clone().spawn(async move { befall(&env, &scene, kind).await });
        }
    });
}

/// Puts everything right.
pub(crate) fn heal(scene: &Rc<Scene>) {
    scene.world.trace(Node::World, || "heals everything".to_owned());
    scene.network.heal();
    for node in scene.servers() {
        scene.set_health(node, Health::Well);
        scene.world.resume(node);
        scene.start(node);
    }
}

async fn befall(env: &Env, scene: &Rc<Scene>, kind: Fault) {
    let servers = scene.servers();
    let one = servers[draw(env, servers.len())];
    let other = servers[draw(env, servers.len())];
    let length = env.world.draw_time(Duration::from_millis(20)..Duration::from_millis(2_500));
    env.trace(|| format!("{kind:?} of {one} ({other}), for {length:?}"));
    match kind {
        Fault::Crash => {
            scene.crash(one);
            env.sleep(length).await;
            // What filled the disk may be what ended the process.
            let is_full = env.world.chance(300_000);
            if is_full {
                scene.set_health(one, Health::Full);
            }
            scene.start(one);
            if is_full {
                env.sleep(length).await;
                scene.set_health(one, Health::Well);
            }
        }
        Fault::CrashWhileWriting => {
            for _ in 0..LOOKS {
                if scene.is_writing(one) {
                    scene.crash(one);
                    break;
                }
                env.sleep(Duration::from_micros(500)).await;
            }
            env.sleep(length).await;
            scene.start(one);
        }
        Fault::Blackout => {
            for node in &servers {
                scene.crash(*node);
            }
            env.sleep(length / 4).await;
            let first = draw(env, servers.len());
            for place in 0..servers.len() {
                env.sleep(length / 8).await;
                scene.start(servers[(first + place) % servers.len()]);
            }
        }
        Fault::Pause => {
            if scene.world.is_up(one) && !scene.world.is_paused(one) {
                scene.world.reached("a machine was paused");
                scene.world.pause(one);
                env.sleep(length).await;
                scene.world.resume(one);
            }
        }
        Fault::CutOneWay => {
            scene.network.cut(one, other);
            env.sleep(length).await;
            scene.network.mend(one, other);
        }
        Fault::CutBothWays => {
            cut_both_ways(scene, one, other);
            env.sleep(length).await;
            mend_both_ways(scene, one, other);
        }
        Fault::Isolation => {
            for node in servers.iter().filter(|node| **node != one) {
                cut_both_ways(scene, one, *node);
            }
            env.sleep(length).await;
            for node in servers.iter().filter(|node| **node != one) {
                mend_both_ways(scene, one, *node);
            }
        }
        Fault::Unseen => {
            for frontend in &scene.frontends {
                scene.network.cut(Node::Frontend(*frontend), one);
            }
            env.sleep(length).await;
            for frontend in &scene.frontends {
                scene.network.mend(Node::Frontend(*frontend), one);
            }
        }
        Fault::FullDisk => ail(env, scene, one, Health::Full, length).await,
        Fault::SlowDisk => ail(env, scene, one, Health::Slow, length).await,
        Fault::FailingDisk => ail(env, scene, one, Health::Failing, length).await,
        Fault::Weather => {
            let most = [10_000, 60_000, 200_000][draw(env, 3)];
            let weather = Weather {
                lost: env.world.draw(0..most),
                repeated: env.world.draw(0..most),
                very_late: env.world.draw(0..most / 2),
                slowness: env.world.draw_time(Duration::from_millis(1)..Duration::from_millis(120)),
            };
            env.trace(|| format!("{weather:?}"));
            scene.network.weather.set(weather);
        }
    }
}

async fn ail(env: &Env, scene: &Scene, node: Node, health: Health, length: Duration) {
    scene.set_health(node, health);
    env.sleep(length).await;
    scene.set_health(node, Health::Well);
}

fn cut_both_ways(scene: &Scene, one: Node, other: Node) {
    scene.network.cut(one, other);
    scene.network.cut(other, one);
}

fn mend_both_ways(scene: &Scene, one: Node, other: Node) {
    scene.network.mend(one, other);
    scene.network.mend(other, one);
}

fn draw(env: &Env, below: usize) -> usize {
    usize::try_from(env.world.draw(0..below as u64)).expect("few")
}
