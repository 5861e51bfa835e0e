//! The sizes of a shared area, chosen once when it is created. It must not know how the bytes are
//! mapped.

use super::algorithm::board;

/// The default size of the spool.
pub const SPOOL_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;
/// The smallest spool.
pub const SPOOL_BYTES_MIN: u64 = 64 * 1024;
/// The largest spool: an eighth of it, the largest frame, still fits 32 bits.
pub const SPOOL_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// The fewest entries of a log.
pub const ENTRIES_MIN: u32 = 64;
/// The most entries of a log.
pub const ENTRIES_MAX: u32 = 1 << 26;
/// The default number of channels with a slot in the table.
pub const CHANNELS_DEFAULT: u32 = 16 * 1024;
/// The most channels of a table.
pub const CHANNELS_MAX: u32 = 1 << 20;
/// Default entries: one for each 128 bytes of spool.
const SPOOL_BYTES_PER_ENTRY: u64 = 128;
/// The largest record is this fraction of the spool.
const RECORDS_PER_SPOOL_MIN: u64 = 8;

/// The sizes of a shared area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of the circular spool: a power of two from 64 KiB to 16 GiB.
    pub spool_bytes: u64,
    /// Entries of the log's index ring: a power of two from 64 to 2^26.
    pub entries: u32,
    /// Slots of the channel table: a power of two from 1 to 2^20.
    pub channels: u32,
}

impl Default for Geometry {
    fn default() -> Self {
        Self::with_spool(SPOOL_BYTES_DEFAULT)
    }
}

impl Geometry {
    /// A geometry with this spool, one entry for each 128 bytes of it and the default table.
    #[must_use]
    pub fn with_spool(spool_bytes: u64) -> Self {
        let entries = u32::try_from(spool_bytes / SPOOL_BYTES_PER_ENTRY).unwrap_or(ENTRIES_MAX);
        Self {
            spool_bytes,
            entries: entries.clamp(ENTRIES_MIN, ENTRIES_MAX),
            channels: CHANNELS_DEFAULT,
        }
    }

    /// Whether the sizes can be built.
    ///
    /// # Errors
    /// Which size is wrong and what is allowed.
    pub fn check(&self) -> Result<(), GeometryError> {
        let Self {
            spool_bytes,
            entries,
            channels,
        } = *self;
        if !spool_bytes.is_power_of_two()
            || !(SPOOL_BYTES_MIN..=SPOOL_BYTES_MAX).contains(&spool_bytes)
        {
            return Err(GeometryError::Spool { spool_bytes });
        }
        if !entries.is_power_of_two() || !(ENTRIES_MIN..=ENTRIES_MAX).contains(&entries) {
            return Err(GeometryError::Entries { entries });
        }
        if !channels.is_power_of_two() || channels > CHANNELS_MAX {
            return Err(GeometryError::Channels { channels });
        }
        Ok(())
    }

    /// Bytes of the board: superblock, control lines, participants, channels.
    #[must_use]
    pub fn board_bytes(&self) -> u64 {
        board::CHANNELS as u64 + u64::from(self.channels) * board::CHANNEL_STRIDE as u64
    }

    /// Bytes of the log.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        u64::from(self.entries) * board::ENTRY_STRIDE as u64
    }

    /// Bytes of all memory objects together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.board_bytes() + self.log_bytes() + self.spool_bytes
    }

    /// The most bytes that one publication may take in the spool: its frame, its alternate and, for
    /// a channel without a slot, its name.
    #[must_use]
    pub fn record_bytes_max(&self) -> u64 {
        self.spool_bytes / RECORDS_PER_SPOOL_MIN
    }
}

/// A geometry that cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// The spool's size.
    #[error(
        "spool of {spool_bytes} bytes: must be a power of two from {SPOOL_BYTES_MIN} to {SPOOL_BYTES_MAX}"
    )]
    Spool {
        /// What was asked for.
        spool_bytes: u64,
    },
    /// The log's number of entries.
    #[error("log of {entries} entries: must be a power of two from {ENTRIES_MIN} to {ENTRIES_MAX}")]
    Entries {
        /// What was asked for.
        entries: u32,
    },
    /// The channel table's number of slots.
    #[error("table of {channels} channels: must be a power of two up to {CHANNELS_MAX}")]
    Channels {
        /// What was asked for.
        channels: u32,
    },
}
