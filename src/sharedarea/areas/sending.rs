//! Reading and sending with the read lock held, and announcements of ranges. It must not know frames:
//! what goes in front of a range is bytes.
//!
//! Why no torn range is ever sent: the sender holds the read lock around the system call, and the
//! kernel has copied when the call returns. A writer that uses the lock waits for that. Whoever sees
//! that a writer waits copies what it still needs, and lets it in.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use super::{Area, AreaError};
use crate::sharedarea::SharedArea;
use crate::sharedarea::algorithm::areas::{self, Hold};
use crate::sharedarea::algorithm::board;
use crate::sharedarea::algorithm::lock::Identity;
use crate::sharedarea::algorithm::log::Announced;

/// Bytes of the longest range that can be a message: its frame must fit 32 bits too.
const MESSAGE_BYTES_MAX: u64 = u32::MAX as u64 - 16;

/// The read lock of an area, for as long as this lives.
#[derive(Debug)]
pub struct Reading<'a> {
    area: &'a Area,
    me: Identity,
    /// Whether it is given back afterwards, because the process did not have it before.
    is_ours: bool,
}

impl Area {
    /// Takes the read lock.
    ///
    /// # Errors
    /// [`AreaError::Busy`], [`AreaError::NotJoined`].
    pub fn reading(&self) -> Result<Reading<'_>, AreaError> {
        let me = self.identity()?;
        let is_ours = match areas::hold(self.objects(), me, self.id) {
            Hold::Read | Hold::Write => false,
            Hold::None => {
                areas::read(self.objects(), me, self.id, self.patience(me))?;
                true
            }
        };
        Ok(Reading {
            area: self,
            me,
            is_ours,
        })
    }

    /// What an announcement of a range now has to say.
    ///
    /// # Errors
    /// [`AreaError`]; [`AreaError::Locked`] when the caller holds the write lock, since the range counts
    /// as changed until that is given back.
    pub fn announcement(&self, position: u64, bytes: Option<u64>) -> Result<Announced, AreaError> {
        let bytes = self.message_bytes(position, bytes)?;
        let me = self.identity()?;
        if areas::hold(self.objects(), me, self.id) == Hold::Write {
            return Err(AreaError::Locked);
        }
        let _lock = self.reading()?;
        Ok(Announced {
            area: self.id,
            position,
            bytes,
            updates: self.updates_low(),
        })
    }

    /// Bytes of a message with this payload's range: those that are asked for, or the rest.
    ///
    /// # Errors
    /// [`AreaError::OutOfBounds`], [`AreaError::TooLarge`].
    pub fn message_bytes(&self, position: u64, bytes: Option<u64>) -> Result<u32, AreaError> {
        message_bytes(self.measure(position, bytes)?)
    }

    /// Whether the area's bytes can be sent from where they lie ([`Reading::send`]).
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.body().is_mapped()
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "an announcement has room for the low half"
    )]
    fn updates_low(&self) -> u32 {
        self.word(board::AREA_UPDATES).load(Ordering::Acquire) as u32
    }
}

impl SharedArea {
    /// The area of an announcement. The announcement was read from shared memory and may be anything.
    ///
    /// # Errors
    /// [`AreaError::NoArea`], [`AreaError::OutOfBounds`].
    pub fn announced_area(&self, announced: &Announced) -> Result<Area, AreaError> {
        let area = self.area(announced.area)?;
        area.check(announced.position, u64::from(announced.bytes))?;
        message_bytes(u64::from(announced.bytes))?;
        Ok(area)
    }
}

impl<'a> Reading<'a> {
    /// Takes the read lock if `announced`, a range of this area, is still what it was; never waits.
    #[must_use]
    pub fn of_announced(area: &'a Area, announced: &Announced) -> Option<Self> {
        let me = area.identity().ok()?;
        let is_ours = match areas::hold(area.objects(), me, area.id) {
            Hold::Write => return None,
            Hold::Read => false,
            Hold::None => {
                if !areas::try_read(area.objects(), me, area.id) {
                    return None;
                }
                true
            }
        };
        let reading = Self { area, me, is_ours };
        // While the lock is held the counter moves only for those who do not use the lock.
        (area.updates_low() == announced.updates).then_some(reading)
    }

    /// Whether `announced` still is what it was. After a copy it says whether the copy is whole, as far
    /// as somebody who does not use the lock has said that he wrote.
    #[must_use]
    pub fn is_still(&self, announced: &Announced) -> bool {
        std::sync::atomic::fence(Ordering::Acquire);
        self.area.updates_low() == announced.updates
    }

    /// Whether [`Self::send`] works.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.area.is_mapped()
    }

    /// Whether a writer waits.
    #[must_use]
    pub fn is_in_the_way(&self) -> bool {
        self.is_ours && areas::is_wanted(self.area.objects(), self.area.id)
    }

    /// Appends bytes from `position` on to `out`; see [`Area::read`].
    ///
    /// # Errors
    /// [`AreaError`]; `out` is then as before.
    pub fn copy(
        &self,
        position: u64,
        bytes: Option<u64>,
        out: &mut Vec<u8>,
    ) -> Result<(), AreaError> {
        let bytes = self.area.measure(position, bytes)?;
        self.area.count_hit();
        let too_large = |_| AreaError::File(io::ErrorKind::OutOfMemory);
        let start = out.len();
        let bytes = usize::try_from(bytes).map_err(too_large)?;
        out.try_reserve_exact(bytes)
            .map_err(|_| AreaError::File(io::ErrorKind::OutOfMemory))?;
        out.resize(start + bytes, 0);
        let read = self.area.body().read(position, &mut out[start..]);
        read.inspect_err(|_| out.truncate(start))?;
        Ok(())
    }

    /// Sends `head`, then the range straight from the mapping, in one system call that does not block.
    /// Returns the bytes taken, of both together.
    ///
    /// # Errors
    /// What the kernel says, `WouldBlock` included; `InvalidInput` for a range outside,
    /// `Unsupported` for an area that is not mapped.
    pub fn send(
        &self,
        socket: BorrowedFd<'_>,
        head: &[u8],
        position: u64,
        bytes: u64,
    ) -> io::Result<usize> {
        self.area
            .check(position, bytes)
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        self.area.body().send(socket, head, position, bytes)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if self.is_ours {
            areas::end_read(self.area.objects(), self.me, self.area.id);
        }
    }
}

fn message_bytes(bytes: u64) -> Result<u32, AreaError> {
    u32::try_from(bytes)
        .ok()
        .filter(|bytes| u64::from(*bytes) <= MESSAGE_BYTES_MAX)
        .ok_or(AreaError::TooLarge {
            bytes,
            max: MESSAGE_BYTES_MAX,
        })
}
