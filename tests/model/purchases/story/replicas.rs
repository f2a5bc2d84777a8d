//! What replicas say to each other, and how one becomes leader.

use super::*;

impl Purchases {
    pub(super) fn tell_replicate(
        memory: &mut Memory,
        after: &State,
        at: (usize, usize),
        s: &mut Scene,
    ) {
        let (leader, follower) = at;
        let Some((request, _)) = after.members[leader].replicating_to.get(&follower) else {
            return;
        };
        let rows = &request.rows;
        let (from, to) = (REPLICAS[leader], REPLICAS[follower]);
        let name = match rows.orders.len() {
            0 => "heartbeat".into(),
            count => format!("append {}", orders(rows.after.length, count)),
        };
        s.say(match rows.orders.len() {
            0 => format!("{} sends {} a heartbeat.", capital(&person(leader)), person(follower)),
            count => format!(
                "{} sends {} {}.",
                capital(&person(leader)),
                person(follower),
                orders(rows.after.length, count)
            ),
        });
        memory.rows.insert(at, s.send(from, to, name));
    }

    /// What a follower does with rows. Returns its answer.
    pub(super) fn tell_taken(states: (&State, &State), follower: usize, s: &mut Scene) {
        let (before, after) = states;
        let (old, new) = (&before.members[follower], &after.members[follower]);
        let node = REPLICAS[follower];
        let who = capital(&person(follower));
        if new.on_disk > old.on_disk {
            let what = orders(old.on_disk as u64, new.on_disk - old.on_disk);
            s.local(node, format!("{what} on disk"));
            s.say(format!("{who} writes {what} to its disk."));
        } else if new.rows.len() > old.rows.len() {
            let what = orders(old.rows.len() as u64, new.rows.len() - old.rows.len());
            s.local(node, "write to disk");
            s.say(format!("{who} begins to write {what} to its disk."));
        }
    }

    pub(super) fn tell_take(
        memory: &mut Memory,
        states: (&State, &State),
        at: (usize, usize),
        s: &mut Scene,
    ) {
        let (leader, follower) = at;
        let Some(message) = memory.rows.remove(&at) else { return };
        s.receive(&message);
        Self::tell_taken(states, follower, s);
        let Some((_, Some(reply))) = states.1.members[leader].replicating_to.get(&follower) else {
            return;
        };
        let (text, said) = match reply {
            AppendReply::Synced { length: 0 } => {
                ("0 on disk".into(), "that its log is empty".into())
            }
            AppendReply::Synced { length } => {
                (format!("{length} on disk"), format!("that it has {length} on its disk"))
            }
            AppendReply::Gap { length } => (
                format!("gap: I have {length}"),
                format!("that orders are missing: it has {length}"),
            ),
            AppendReply::Stale(leadership) => {
                (format!("stale: {}", epoch_of(*leadership)), "that the epoch has ended".into())
            }
            AppendReply::Diverged => ("diverged".into(), "that the logs differ".into()),
        };
        s.say(format!("{} answers {said}.", capital(&person(follower))));
        memory.rows.insert(at, s.send(REPLICAS[follower], REPLICAS[leader], text));
    }

    pub(super) fn tell_note(
        memory: &mut Memory,
        states: (&State, &State),
        at: (usize, usize),
        s: &mut Scene,
    ) {
        let (before, after) = states;
        let (leader, follower) = at;
        if let Some(answer) = memory.rows.remove(&at) {
            s.receive(&answer);
        }
        let is_live = |state: &State| state.members[leader].live.contains(&follower);
        let (who, whom) = (capital(&person(leader)), person(follower));
        if is_live(after) && !is_live(before) {
            s.local(REPLICAS[leader], format!("live: {whom}"));
        }
        s.say(match (is_live(before), is_live(after)) {
            (false, true) => format!("{who} counts {whom} as live from now on."),
            (true, false) => format!("{who} no longer counts {whom} as live."),
            (true, true) | (false, false) => format!("{who} has the answer of {whom}."),
        });
    }

    pub(super) fn tell_lose(
        memory: &mut Memory,
        states: (&State, &State),
        at: (usize, usize),
        s: &mut Scene,
    ) {
        let (before, after) = states;
        let (leader, follower) = at;
        s.timer(REPLICAS[leader], format!("{} is slow", person(follower)));
        if let Some(message) = memory.rows.remove(&at) {
            if after.stray_rows.len() > before.stray_rows.len() {
                memory.stray_rows.push((follower, message));
            } else {
                s.lose(&message);
            }
        }
        s.say(format!(
            "{} has waited too long for {}, and counts it as live no more.",
            capital(&person(leader)),
            person(follower)
        ));
    }

    /// A nomination, and what the catalog makes of the acquisition.
    pub(super) fn tell_nominate(
        memory: &mut Memory,
        states: (&State, &State),
        at: (usize, Epoch),
        s: &mut Scene,
    ) {
        let (before, after) = states;
        let (member, seen) = at;
        let (node, who) = (REPLICAS[member], person(member));
        s.deliver(FRONTEND, node, format!("lead, end epoch {}", seen.0));
        s.deliver(node, CATALOG, format!("acquire, end epoch {}", seen.0));
        s.say(format!(
            "A front-end nominates {who}, which asks the catalog for the leadership, to end \
             epoch {}.",
            seen.0
        ));
        let known = |state: &State| state.disk.stock.status().leadership;
        let shown = |state: &State| state.stock.status().leadership;
        if known(after) != known(before) || shown(after) != shown(before) {
            let new = if known(after) == known(before) { shown(after) } else { known(after) };
            s.local(CATALOG, epoch_of(new));
            s.say(format!("The catalog makes it the leader of epoch {}.", new.epoch.0));
            if known(after) == known(before) {
                s.say("It tells others before the epoch is on disk.");
            }
        } else if after.writer.is_none() {
            s.local(CATALOG, "refuse");
        }
        Self::tell_acquisition_answers(memory, states, s);
    }

    pub(super) fn tell_acquisition_answers(
        memory: &mut Memory,
        states: (&State, &State),
        s: &mut Scene,
    ) {
        let (before, after) = states;
        for (request, _, reply) in after.acquisitions.iter().skip(before.acquisitions.len()) {
            let member = member_of(request.nominee);
            let text = match reply {
                AcquisitionReply::Won { leadership, .. } => {
                    format!("you lead epoch {}", leadership.epoch.0)
                }
                AcquisitionReply::Lost(known) => format!("lost: {}", epoch_of(known.leadership)),
                AcquisitionReply::Foreign { .. } => "refused: foreign log".into(),
            };
            match reply {
                AcquisitionReply::Foreign { .. } => s.say(format!(
                    "The catalog refuses: the log of {} is no prefix of the journal.",
                    person(member)
                )),
                AcquisitionReply::Lost(known) => s.say(format!(
                    "The catalog refuses: that epoch has ended. It answers {}.",
                    epoch_of(known.leadership)
                )),
                AcquisitionReply::Won { .. } => {}
            }
            memory.acquisitions.push(s.send(CATALOG, REPLICAS[member], text));
        }
    }

    pub(super) fn tell_chosen(
        memory: &mut Memory,
        states: (&State, &State),
        place: usize,
        s: &mut Scene,
    ) {
        let (before, after) = states;
        let (request, ..) = &before.acquisitions[place];
        let member = member_of(request.nominee);
        if place < memory.acquisitions.len() {
            s.receive(&memory.acquisitions.remove(place));
        }
        let core = &after.members[member].core;
        let who = capital(&person(member));
        s.say(match (core.has_acquired(), core.leads()) {
            (true, Some(epoch)) => format!("{who} learns that it leads in epoch {}.", epoch.0),
            (true, None) => {
                format!("{who} learns that it is to lead in epoch {}.", core.leadership().epoch.0)
            }
            (false, _) => format!("{who} learns that it does not lead."),
        });
        s.local(
            REPLICAS[member],
            if core.has_acquired() { "acquired leadership" } else { "does not lead" },
        );
    }
}
