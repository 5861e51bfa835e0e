//! What the master says on the board about slots and server, so that any worker can answer for all.
//!
//! It must not know who reads it.

use super::supervisor::Supervisor;
use crate::sharedarea::{Participant, ServerNote, SharedArea, SlotNote};

/// Shows what the supervisor makes of everything; `generation` is the latest load of the configuration.
pub(super) fn show(
    supervisor: &Supervisor,
    generation: u32,
    area: &SharedArea,
    participant: &Participant,
) {
    participant.note_server(&ServerNote {
        phase: supervisor.phase_name().to_owned(),
        generation,
    });
    for (slot, state) in supervisor.slots() {
        let note = SlotNote {
            state: state.name().to_owned(),
            generation: state.generation().unwrap_or(0),
            ..area.slot_note(slot)
        };
        participant.note_slot(slot, &note);
    }
}

/// Counts a process that was started in a slot.
pub(super) fn spawned(slot: u16, area: &SharedArea, participant: &Participant, now_us: u64) {
    let before = area.slot_note(slot);
    let note = SlotNote {
        spawns: before.spawns + 1,
        spawned_us: now_us,
        ..before
    };
    participant.note_slot(slot, &note);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::supervisor::Policy;
    use crate::sharedarea::{Geometry, ParticipantKind};

    #[test]
    fn slots_and_server_are_shown_and_processes_counted() {
        let area = SharedArea::create(Geometry::with_spool(64 * 1024), 1, 0).unwrap();
        let participant = area.join(ParticipantKind::Master, 0).unwrap();
        let supervisor = Supervisor::new(Policy::new(2, 0));
        for time in [5, 6] {
            spawned(1, &area, &participant, time);
        }
        show(&supervisor, 3, &area, &participant);
        let server = area.server_note();
        assert_eq!((server.phase.as_str(), server.generation), ("starting", 3));
        let note = area.slot_note(1);
        assert_eq!(
            (note.state.as_str(), note.spawns, note.spawned_us),
            ("empty", 2, 6)
        );
        assert_eq!(area.slot_note(3).state, "empty");
        assert_eq!(area.slot_note(63).state, "", "there is no such slot");
    }
}
