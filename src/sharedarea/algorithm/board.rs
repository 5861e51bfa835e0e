//! Where everything lies: offsets, strides and bits of the board and the log. `docs/sharedarea.md`
//! is the same in prose, and a test compares the two. It must not know any algorithm.

/// First word of the superblock: "bellwthr" in ASCII, little-endian.
pub const MAGIC: u64 = u64::from_le_bytes(*b"bellwthr");
/// Version of this layout; a reader refuses any other.
pub const LAYOUT: u32 = 4;

// The documented byte offsets inside packed words are little-endian ones.
#[cfg(target_endian = "big")]
compile_error!("the layout of the shared area is defined for little-endian machines");

// Superblock: page 0 of the board.

/// `u64` [`MAGIC`], stored last when the area is created.
pub const SUPER_MAGIC: usize = 0;
/// `u32` [`LAYOUT`].
pub const SUPER_LAYOUT: usize = 8;
/// `u64` low half of the boot id.
pub const SUPER_BOOT_LOW: usize = 16;
/// `u64` high half of the boot id.
pub const SUPER_BOOT_HIGH: usize = 24;
/// `u64` when the area was created, microseconds of Unix time.
pub const SUPER_CREATED_US: usize = 32;
/// `u64` bytes of the spool.
pub const SUPER_SPOOL_BYTES: usize = 40;
/// `u32` entries of the log.
pub const SUPER_ENTRIES: usize = 48;
/// `u32` slots of the channel table.
pub const SUPER_CHANNELS: usize = 52;

// Log control: one 128-byte line for each group, because the prefetcher pulls cache lines in pairs.

/// `u32` the writer lock: 0 or the owner's token, bit 31 when somebody waits.
pub const LOCK: usize = 4096;
/// `u64` number of the last committed entry; 0 = none yet.
pub const HEAD: usize = 4224;
/// `u64` committed end of the spool, an absolute byte position.
pub const END: usize = 4232;
/// `u64` spool bytes below may vanish at any time (intent).
pub const HORIZON: usize = 4352;
/// `u64` spool bytes below were seen free of pins (confirmed); never above `HORIZON`.
pub const SAFE: usize = 4360;
/// `u64` bitmap of slots that sleep and want the bell.
pub const PARKED: usize = 4480;
/// `u64` bitmap of slots that want every channel.
pub const WILD: usize = 4608;
/// `u64` bitmap of slots that have an owner.
pub const JOINED: usize = 4616;
/// `u64` bitmap of slots with a client that reads alternates.
pub const DEFLATING: usize = 4624;
/// `u64` publications refused because lock or space was busy.
pub const WOULD_BLOCK: usize = 4736;
/// `u64` locks taken over from a dead owner.
pub const RECOVERIES: usize = 4744;
/// `u64` entries that made no sense.
pub const BAD: usize = 4752;
/// `u64` channel slots given to another name.
pub const RECLAIMED: usize = 4760;
/// `u64` publications that carried their channel's name.
pub const NAMED: usize = 4768;
/// `u32` number of channel insertions so far; also the next channel's epoch.
pub const EDITION: usize = 4776;
/// `u32` index + 1 of the channel slot that is being edited; 0 = none.
pub const EDITING: usize = 4780;

// Server: written by the master alone.

/// Two `u64`: what the master is doing, up to 16 ASCII characters, zero padded.
pub const SERVER_PHASE: usize = 4864;
/// `u32` the latest load of the configuration.
pub const SERVER_GENERATION: usize = 4880;

// Participants.

/// Start of the participant table.
pub const PARTICIPANTS: usize = 8192;
/// Bytes of a participant slot.
pub const PARTICIPANT_STRIDE: usize = 128;
/// Participant slots; slot 0 is the master's. Bitmaps of slots are one `u64`.
pub const PARTICIPANT_COUNT: u16 = 64;

/// `u32` bumped by each owner.
pub const PARTICIPANT_GENERATION: usize = 0;
/// `u32` process id as the owner saw it; 0 = free.
pub const PARTICIPANT_PID: usize = 4;
/// `u32` kind of participant.
pub const PARTICIPANT_KIND: usize = 8;
/// `u32` state of the participant.
pub const PARTICIPANT_STATE: usize = 12;
/// `u64` oldest spool byte that this process may still hand to the kernel; [`PIN_NONE`] = none.
pub const PARTICIPANT_PIN: usize = 16;
/// `u32` index + 1 of the channel this process has just looked up and not yet subscribed to.
pub const PARTICIPANT_VISITING: usize = 24;
/// `u64` when the loop last turned, microseconds.
pub const PARTICIPANT_BEAT_US: usize = 32;
/// `u64` last entry it has processed.
pub const PARTICIPANT_CURSOR: usize = 40;
/// `u64` deliveries of entries to clients since the area was created, all owners of the slot.
pub const PARTICIPANT_DELIVERED: usize = 48;
/// `u64` clients found lapped, likewise.
pub const PARTICIPANT_LAPPED: usize = 56;
/// `u32` connected clients. From here on others write too (second cache line).
pub const PARTICIPANT_CLIENTS: usize = 64;
/// `u32` clients that others are about to hand over to it.
pub const PARTICIPANT_RESERVED: usize = 68;
/// `u32` subscriptions of its clients.
pub const PARTICIPANT_SUBSCRIPTIONS: usize = 72;

/// `u64` deliveries of announced ranges left out because the range had changed, likewise.
pub const PARTICIPANT_STALE: usize = 80;

/// A pin that pins nothing.
pub const PIN_NONE: u64 = u64::MAX;

// Areas: plain memory that programs read, write and send from; one record each.

/// Start of the area table.
pub const AREAS: usize = 16384;
/// Bytes of an area's record.
pub const AREA_STRIDE: usize = 128;
/// Areas that there can be.
pub const AREA_COUNT: usize = 256;

/// `u32` what it is made of; 0 = no area.
pub const AREA_KIND: usize = 0;
/// `u32` [`AREA_HONOUR_USED`].
pub const AREA_FLAGS: usize = 4;
/// `u64` bytes that can be read and written.
pub const AREA_BYTES: usize = 8;
/// `u64` where its first byte is in the file.
pub const AREA_OFFSET: usize = 16;
/// `u64` bytes that mean something, if [`AREA_HONOUR_USED`] is set.
pub const AREA_USED: usize = 24;
/// `u64` odd while a write lock is held; every update adds two.
pub const AREA_UPDATES: usize = 32;
/// `u64` counter: reads.
pub const AREA_HITS: usize = 40;
/// `u64` bitmap of slots that sleep until it is updated.
pub const AREA_WAITING: usize = 48;
/// `u32` changes when sleepers are woken; they sleep on it.
pub const AREA_TURN: usize = 56;
/// `u32` the write lock: 0 or the owner's token, bit 31 when somebody waits.
pub const AREA_WRITER: usize = 60;
/// `u64` bitmap of slots that hold the read lock.
pub const AREA_READERS: usize = 64;
/// `u64` bitmap of slots that want the bell when it is updated.
pub const AREA_WATCHERS: usize = 72;
/// `u32` bytes of the name; 0 = none.
pub const AREA_NAME_BYTES: usize = 80;
/// `u32` milliseconds between two looks of the master at its head; 0 = it is not watched.
pub const AREA_WATCH_MS: usize = 84;
/// The name, zero padded, in whole 8-byte words.
pub const AREA_NAME: usize = 96;
/// Bytes of the longest name.
pub const AREA_NAME_BYTES_MAX: usize = 32;

/// Flag: readers that ask for the rest get it up to `used`.
pub const AREA_HONOUR_USED: u32 = 1;

// Figures: counters of the slots' owners, `u64` each, and behind them what the master says.

/// Start of the table of figures.
pub const FIGURES: usize = 49152;
/// Bytes of a slot's figures.
pub const FIGURE_STRIDE: usize = 384;

/// Plain requests answered.
pub const FIGURE_REQUESTS: usize = 0;
/// Microseconds spent on them.
pub const FIGURE_REQUEST_US: usize = 8;
/// Requests refused.
pub const FIGURE_REFUSALS: usize = 16;
/// Opening handshakes completed.
pub const FIGURE_HANDSHAKES: usize = 24;
/// Messages of clients.
pub const FIGURE_MESSAGES_IN: usize = 32;
/// Messages to single clients.
pub const FIGURE_MESSAGES_OUT: usize = 40;
/// Bytes received.
pub const FIGURE_BYTES_IN: usize = 48;
/// Bytes sent.
pub const FIGURE_BYTES_OUT: usize = 56;
/// Pings sent.
pub const FIGURE_PINGS: usize = 64;
/// Clients that did not answer one.
pub const FIGURE_PONG_TIMEOUTS: usize = 72;
/// Conversations ended with a code of libraries or applications.
pub const FIGURE_CLOSES_OTHER: usize = 80;
/// Clients handed over to another worker.
pub const FIGURE_CLIENTS_GIVEN: usize = 88;
/// Clients taken over from another worker.
pub const FIGURE_CLIENTS_TAKEN: usize = 96;
/// Clients offered to another worker that stayed.
pub const FIGURE_CLIENTS_RETURNED: usize = 104;
/// Sixteen of them: conversations ended with 1000 to 1015.
pub const FIGURE_CLOSES: usize = 128;

/// Two `u64`: the state of the slot, up to 16 ASCII characters, zero padded.
pub const NOTE_STATE: usize = 256;
/// `u32` the load of the configuration that its worker serves.
pub const NOTE_GENERATION: usize = 272;
/// `u64` workers started in the slot.
pub const NOTE_SPAWNS: usize = 280;
/// `u64` when the last of them was, microseconds of Unix time.
pub const NOTE_SPAWNED_US: usize = 288;

// Laggards: the clients that are behind the log, as the slots' owners show them.

/// Start of the table of laggards.
pub const LAGGARDS: usize = 73728;
/// Bytes of a slot's laggards.
pub const LAGGARDS_STRIDE: usize = 256;

/// `u32` odd while the rest is written.
pub const LAGGARDS_EDITION: usize = 0;
/// `u32` how many there are.
pub const LAGGARDS_CLIENTS: usize = 4;
/// `u64` most entries that one of them is behind.
pub const LAGGARDS_ENTRIES: usize = 8;
/// `u64` most bytes of the spool.
pub const LAGGARDS_BYTES: usize = 16;
/// `u64` most milliseconds.
pub const LAGGARDS_MS: usize = 24;
/// The furthest of them, a row of `u64` words each: entries, bytes, milliseconds, channel and port, IPv6 address.
pub const LAGGARDS_FURTHEST: usize = 32;
/// Words of a row.
pub const LAGGARD_WORDS: usize = 6;

// Channels: open addressing, a name lives within `CHANNEL_WINDOW` slots behind its hash.

/// Start of the channel table.
pub const CHANNELS: usize = 90112;
/// Bytes of a channel slot.
pub const CHANNEL_STRIDE: usize = 256;
/// How many slots a look-up visits at most.
pub const CHANNEL_WINDOW: u32 = 64;

/// `u64` keyed hash of the name; [`HASH_UNUSED`] and [`HASH_VACANT`] are no hashes.
pub const CHANNEL_HASH: usize = 0;
/// `u32` odd while the slot is being edited.
pub const CHANNEL_GENERATION: usize = 8;
/// `u32` how it was inserted; the low half of the published epoch.
pub const CHANNEL_EPOCH: usize = 12;
/// `u64` offset of the newest message.
pub const CHANNEL_MESSAGES: usize = 16;
/// `u64` number of the newest message's entry.
pub const CHANNEL_LAST: usize = 24;
/// `u64` bitmap of slots with a subscriber.
pub const CHANNEL_INTEREST: usize = 32;
/// `u64` head when the channel was last published to or inserted.
pub const CHANNEL_TOUCHED: usize = 40;
/// `u32` bytes of the name.
pub const CHANNEL_NAME_BYTES: usize = 48;
/// The name, zero padded, in whole 8-byte words.
pub const CHANNEL_NAME: usize = 56;
/// Bytes of the longest name that fits a slot.
pub const CHANNEL_NAME_BYTES_MAX: usize = 72;
/// `u16` for each participant slot: subscribers, 65,535 = that many or more.
pub const CHANNEL_SUBSCRIBERS: usize = 128;

/// A slot that never had a name: a look-up stops here.
pub const HASH_UNUSED: u64 = 0;
/// A slot whose name is gone: a look-up goes on.
pub const HASH_VACANT: u64 = 1;

// Log entries: eight 64-bit words.

/// Bytes of an entry: one cache line.
pub const ENTRY_STRIDE: usize = 64;
/// 64-bit words of an entry.
pub const ENTRY_WORDS: usize = 8;
/// Word of `seq u64`: the entry's number; 0 while it is written.
pub const ENTRY_SEQ: usize = 0;
/// Word of `position u64`: absolute spool byte of the record.
pub const ENTRY_POSITION: usize = 1;
/// Word of `frame_bytes u32`, `channel u32`.
pub const ENTRY_FRAME: usize = 2;
/// Word of `offset u64`: number of the message in its channel.
pub const ENTRY_OFFSET: usize = 3;
/// Word of `prev u64`: entry of the channel's previous message.
pub const ENTRY_PREV: usize = 4;
/// Word of `time_us u56`, `name_bytes u8`.
pub const ENTRY_TIME: usize = 5;
/// Word of `alternate_bytes u32`, `flags u8`, `area u8`, `channel_generation u16`.
pub const ENTRY_ALTERNATE: usize = 6;
/// Word of `origin u64`: who published.
pub const ENTRY_ORIGIN: usize = 7;

/// The `channel` of an entry whose record begins with the channel's name.
pub const CHANNEL_BY_NAME: u32 = u32::MAX;

/// Offset of a field of participant `slot`.
#[must_use]
pub fn participant(slot: u16, field: usize) -> usize {
    PARTICIPANTS + usize::from(slot) * PARTICIPANT_STRIDE + field
}

/// Offset of a figure of slot `slot`.
#[must_use]
pub fn figure(slot: u16, field: usize) -> usize {
    FIGURES + usize::from(slot) * FIGURE_STRIDE + field
}

/// Offset of a field of area `id`.
#[must_use]
pub fn area(id: u8, field: usize) -> usize {
    AREAS + usize::from(id) * AREA_STRIDE + field
}

/// Offset of a field of the laggards of slot `slot`.
#[must_use]
pub fn laggards(slot: u16, field: usize) -> usize {
    LAGGARDS + usize::from(slot) * LAGGARDS_STRIDE + field
}

/// The field of the word `index` of row `row` of the laggards.
#[must_use]
pub fn laggard(row: usize, index: usize) -> usize {
    LAGGARDS_FURTHEST + 8 * (row * LAGGARD_WORDS + index)
}

/// Offset of a field of channel `index`.
#[must_use]
pub fn channel(index: u32, field: usize) -> usize {
    CHANNELS + index as usize * CHANNEL_STRIDE + field
}

/// The bit of a slot in a bitmap.
#[must_use]
pub fn bit(slot: u16) -> u64 {
    1 << (slot % PARTICIPANT_COUNT)
}

/// The slots of a bitmap, in order.
pub fn slots(mut bitmap: u64) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let slot = u16::try_from(bitmap.trailing_zeros()).ok()?;
        bitmap &= bitmap.wrapping_sub(1);
        (slot < PARTICIPANT_COUNT).then_some(slot)
    })
}
