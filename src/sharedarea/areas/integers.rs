//! Integers in an area: 8 to 64 bits, native-endian, at any position, aligned or not. Adding wraps.
//! It must not know what they count.

use super::{Area, AreaError};

macro_rules! integers {
    ($integer:ty, $bits:literal, $read:ident, $write:ident, $increment:ident, $decrement:ident) => {
        impl Area {
            #[doc = concat!("The unsigned ", $bits, "-bit integer at `position`.")]
            ///
            /// # Errors
            /// [`AreaError`].
            pub fn $read(&self, position: u64) -> Result<$integer, AreaError> {
                self.integer(position).map(<$integer>::from_ne_bytes)
            }

            #[doc = concat!("Stores a ", $bits, "-bit integer at `position`.")]
            ///
            /// # Errors
            /// [`AreaError`].
            pub fn $write(&self, position: u64, value: $integer) -> Result<(), AreaError> {
                self.write(position, &value.to_ne_bytes())
            }

            #[doc = concat!("Adds to the ", $bits, "-bit integer at `position`; the new value.")]
            ///
            /// # Errors
            /// [`AreaError`].
            pub fn $increment(
                &self,
                position: u64,
                amount: $integer,
            ) -> Result<$integer, AreaError> {
                self.change(position, |bytes| {
                    <$integer>::from_ne_bytes(bytes)
                        .wrapping_add(amount)
                        .to_ne_bytes()
                })
                .map(<$integer>::from_ne_bytes)
            }

            #[doc = concat!("Takes from the ", $bits, "-bit integer at `position`; the new value.")]
            ///
            /// # Errors
            /// [`AreaError`].
            pub fn $decrement(
                &self,
                position: u64,
                amount: $integer,
            ) -> Result<$integer, AreaError> {
                self.$increment(position, amount.wrapping_neg())
            }
        }
    };
}

integers!(u8, "8", read8, write8, inc8, dec8);
integers!(u16, "16", read16, write16, inc16, dec16);
integers!(u32, "32", read32, write32, inc32, dec32);
integers!(u64, "64", read64, write64, inc64, dec64);

impl Area {
    fn integer<const BYTES: usize>(&self, position: u64) -> Result<[u8; BYTES], AreaError> {
        self.check(position, BYTES as u64)?;
        let _lock = self.reading()?;
        self.count_hit();
        let mut bytes = [0; BYTES];
        self.body().read(position, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads, changes and writes with the write lock held.
    fn change<const BYTES: usize>(
        &self,
        position: u64,
        change: impl FnOnce([u8; BYTES]) -> [u8; BYTES],
    ) -> Result<[u8; BYTES], AreaError> {
        self.check(position, BYTES as u64)?;
        let _lock = self.writing(|_| {})?;
        let mut bytes = [0; BYTES];
        self.body().read(position, &mut bytes)?;
        let bytes = change(bytes);
        self.body().write(position, &bytes)?;
        Ok(bytes)
    }
}
