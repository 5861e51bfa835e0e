//! Figures on the board: what each worker has done, and what the master says about slots and server.
//!
//! Counters count over all owners of a slot since the area was created; only the slot's owner writes
//! them, the master's words only the master. They are for people and monitors, and nothing is decided by
//! them. It must not know what is counted.

use std::sync::atomic::Ordering;

use super::algorithm::board;
use super::algorithm::memory::Memory;
use super::area::SharedArea;
use super::participant::Participant;

/// Close codes that have a counter each: 1000 and those behind it.
pub const CLOSE_CODES: u16 = 16;

/// What a worker has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Plain HTTP requests that were answered, refusals among them.
    pub requests: u64,
    /// Microseconds between their heads (or the last bytes of their bodies) and their answers.
    pub request_us: u64,
    /// Requests of any kind that were refused, with a status from 400 on.
    pub refusals: u64,
    /// Opening handshakes that were completed.
    pub handshakes: u64,
    /// Messages of clients.
    pub messages_in: u64,
    /// Messages to single clients; those of the log are `delivered`.
    pub messages_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent, those of the log among them.
    pub bytes_out: u64,
    /// Pings sent for keeping alive.
    pub pings: u64,
    /// Clients given up because no answer came.
    pub pong_timeouts: u64,
    /// Clients handed over to another worker.
    pub clients_given: u64,
    /// Clients taken over from another worker.
    pub clients_taken: u64,
    /// Clients offered to another worker that stayed: not taken, or something went wrong.
    pub clients_returned: u64,
    /// Conversations that ended, by close code: that of 1000 first, then 1001 and so on.
    pub closes: [u64; CLOSE_CODES as usize],
    /// Those with a code of libraries or applications, 3000 to 4999.
    pub closes_other: u64,
}

impl Figures {
    /// Counts the end of a conversation.
    pub fn count_close(&mut self, code: u16) {
        let registered = code
            .checked_sub(1000)
            .and_then(|index| self.closes.get_mut(usize::from(index)));
        *registered.unwrap_or(&mut self.closes_other) += 1;
    }

    /// The sum of two.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        let mut of_other = *other;
        for ((_, sum), (_, more)) in self.words().into_iter().zip(of_other.words()) {
            *sum = sum.wrapping_add(*more);
        }
        for ((_, sum), (_, more)) in self.close_words().zip(of_other.close_words()) {
            *sum = sum.wrapping_add(*more);
        }
        self
    }

    /// Where each of them lies in its slot, but for `closes`.
    fn words(&mut self) -> [(usize, &mut u64); 14] {
        [
            (board::FIGURE_REQUESTS, &mut self.requests),
            (board::FIGURE_REQUEST_US, &mut self.request_us),
            (board::FIGURE_REFUSALS, &mut self.refusals),
            (board::FIGURE_HANDSHAKES, &mut self.handshakes),
            (board::FIGURE_MESSAGES_IN, &mut self.messages_in),
            (board::FIGURE_MESSAGES_OUT, &mut self.messages_out),
            (board::FIGURE_BYTES_IN, &mut self.bytes_in),
            (board::FIGURE_BYTES_OUT, &mut self.bytes_out),
            (board::FIGURE_PINGS, &mut self.pings),
            (board::FIGURE_PONG_TIMEOUTS, &mut self.pong_timeouts),
            (board::FIGURE_CLOSES_OTHER, &mut self.closes_other),
            (board::FIGURE_CLIENTS_GIVEN, &mut self.clients_given),
            (board::FIGURE_CLIENTS_TAKEN, &mut self.clients_taken),
            (board::FIGURE_CLIENTS_RETURNED, &mut self.clients_returned),
        ]
    }

    /// The same for `closes`.
    fn close_words(&mut self) -> impl Iterator<Item = (usize, &mut u64)> {
        let closes = self.closes.iter_mut().enumerate();
        closes.map(|(at, count)| (board::FIGURE_CLOSES + 8 * at, count))
    }
}

/// A word for people of up to 16 ASCII characters, as it lies on the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Label([u64; 2]);

impl Label {
    fn of(text: &str) -> Self {
        let mut words = [0; 2];
        for (word, bytes) in words.iter_mut().zip(text.as_bytes().chunks(8)) {
            let mut padded = [0; 8];
            for (to, from) in padded.iter_mut().zip(bytes) {
                *to = *from;
            }
            *word = u64::from_le_bytes(padded);
        }
        Self(words)
    }

    /// The text; what is no printable ASCII is left out.
    fn text(self) -> String {
        let bytes = self.0.iter().flat_map(|word| word.to_le_bytes());
        bytes.filter(u8::is_ascii_graphic).map(char::from).collect()
    }
}

/// What the master says about a slot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotNote {
    /// What its supervisor makes of the slot, in one word of at most 16 ASCII characters.
    pub state: String,
    /// The load of the configuration that its worker serves; 0 for none.
    pub generation: u32,
    /// Workers that were started in it.
    pub spawns: u64,
    /// When the last of them was, microseconds of Unix time; 0 for never.
    pub spawned_us: u64,
}

/// What the master says about the server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerNote {
    /// What it is doing, in one word of at most 16 ASCII characters.
    pub phase: String,
    /// The latest load of the configuration.
    pub generation: u32,
}

impl Participant {
    /// Adds to this slot's figures, and sets `more` to zero.
    pub fn count_figures(&self, more: &mut Figures) {
        let count = |(field, count): (usize, &mut u64)| {
            if *count > 0 {
                // Only the slot's owner writes these, so no exchange is needed.
                let word = self.objects().board64(board::figure(self.slot(), field));
                let sum = word.load(Ordering::Relaxed).wrapping_add(*count);
                word.store(sum, Ordering::Relaxed);
                *count = 0;
            }
        };
        more.words().into_iter().for_each(count);
        if more.closes != [0; CLOSE_CODES as usize] {
            more.close_words().for_each(count);
        }
    }

    /// Shows what the master says about a slot. Only the master calls it.
    pub fn note_slot(&self, slot: u16, note: &SlotNote) {
        if slot >= board::PARTICIPANT_COUNT {
            return;
        }
        let at = |field| board::figure(slot, field);
        self.show_label(at(board::NOTE_STATE), &note.state);
        let objects = self.objects();
        objects
            .board32(at(board::NOTE_GENERATION))
            .store(note.generation, Ordering::Relaxed);
        for (field, value) in [
            (board::NOTE_SPAWNS, note.spawns),
            (board::NOTE_SPAWNED_US, note.spawned_us),
        ] {
            objects.board64(at(field)).store(value, Ordering::Relaxed);
        }
    }

    /// Shows what the master says about the server. Only the master calls it.
    pub fn note_server(&self, note: &ServerNote) {
        self.show_label(board::SERVER_PHASE, &note.phase);
        self.objects()
            .board32(board::SERVER_GENERATION)
            .store(note.generation, Ordering::Relaxed);
    }

    fn show_label(&self, at: usize, text: &str) {
        for (index, word) in Label::of(text).0.into_iter().enumerate() {
            self.objects()
                .board64(at + 8 * index)
                .store(word, Ordering::Relaxed);
        }
    }
}

impl SharedArea {
    /// What the workers of a slot have done; nothing for a slot that does not exist.
    #[must_use]
    pub fn figures(&self, slot: u16) -> Figures {
        let mut figures = Figures::default();
        if slot < board::PARTICIPANT_COUNT {
            let read = |(field, count): (usize, &mut u64)| {
                *count = self.word_at(board::figure(slot, field));
            };
            figures.words().into_iter().for_each(read);
            figures.close_words().for_each(read);
        }
        figures
    }

    /// What the master says about a slot.
    #[must_use]
    pub fn slot_note(&self, slot: u16) -> SlotNote {
        if slot >= board::PARTICIPANT_COUNT {
            return SlotNote::default();
        }
        let at = |field| board::figure(slot, field);
        SlotNote {
            state: self.label_at(at(board::NOTE_STATE)),
            generation: self
                .objects()
                .board32(at(board::NOTE_GENERATION))
                .load(Ordering::Relaxed),
            spawns: self.word_at(at(board::NOTE_SPAWNS)),
            spawned_us: self.word_at(at(board::NOTE_SPAWNED_US)),
        }
    }

    /// What the master says about the server.
    #[must_use]
    pub fn server_note(&self) -> ServerNote {
        ServerNote {
            phase: self.label_at(board::SERVER_PHASE),
            generation: self
                .objects()
                .board32(board::SERVER_GENERATION)
                .load(Ordering::Relaxed),
        }
    }

    /// When the area was created, microseconds of Unix time.
    #[must_use]
    pub fn created_us(&self) -> u64 {
        self.word_at(board::SUPER_CREATED_US)
    }

    fn word_at(&self, at: usize) -> u64 {
        self.objects().board64(at).load(Ordering::Relaxed)
    }

    /// A label that changes while it is read is read again; should it change each time, some of it.
    fn label_at(&self, at: usize) -> String {
        let read = || Label([self.word_at(at), self.word_at(at + 8)]);
        let mut label = read();
        for _ in 0..4 {
            let again = read();
            if again == label {
                break;
            }
            label = again;
        }
        label.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharedarea::{Geometry, ParticipantKind};

    fn area() -> SharedArea {
        SharedArea::create(Geometry::with_spool(64 * 1024), 1, 77).unwrap()
    }

    #[test]
    fn figures_add_up_over_the_owners_of_a_slot() {
        let area = area();
        for _ in 0..2 {
            let worker = area.join(ParticipantKind::Worker, 3).unwrap();
            let mut more = Figures {
                bytes_in: 5,
                ..Figures::default()
            };
            more.count_close(1000);
            more.count_close(1015);
            more.count_close(4000);
            worker.count_figures(&mut more);
            assert_eq!(more, Figures::default());
            worker.count_figures(&mut more);
        }
        let figures = area.figures(3);
        assert_eq!((figures.bytes_in, figures.closes_other), (10, 2));
        assert_eq!((figures.closes[0], figures.closes[15]), (2, 2));
        assert_eq!(figures.plus(&figures).closes[15], 4);
        assert_eq!(area.figures(2), Figures::default());
        assert_eq!(area.figures(64), Figures::default());
    }

    #[test]
    fn no_two_figures_share_a_word() {
        let mut figures = Figures::default();
        let mut places: Vec<usize> = figures.words().iter().map(|(at, _)| *at).collect();
        places.extend(figures.close_words().map(|(at, _)| at));
        places.sort_unstable();
        places.dedup();
        assert_eq!(8 * places.len(), size_of::<Figures>());
        assert!(places.iter().all(|at| at + 8 <= board::NOTE_STATE));
    }

    #[test]
    fn what_the_master_says_is_read_by_all() {
        let area = area();
        let master = area.join(ParticipantKind::Master, 0).unwrap();
        let note = SlotNote {
            state: "serving".into(),
            generation: 2,
            spawns: 3,
            spawned_us: 4,
        };
        master.note_slot(63, &note);
        master.note_slot(64, &note);
        assert_eq!(area.slot_note(63), note);
        assert_eq!(area.slot_note(62), SlotNote::default());
        let note = ServerNote {
            phase: "sixteen letters!".into(),
            generation: 9,
        };
        master.note_server(&note);
        assert_eq!(area.server_note().phase, "sixteenletters!");
        assert_eq!(area.server_note().generation, 9);
        assert_eq!(area.created_us(), 77);
    }
}
