//! Conway's game of life on a torus, with cells that fade after their death. Pure: a frame in, a frame out.
//!
//! A frame is what the page reads: number (u32), width and height (u16), the time it was drawn (u64, milliseconds of
//! Unix time), all little-endian, then a byte for each cell: 255 alive, below that dead and fading.

/// Cells in a row.
pub const WIDTH: usize = 192;
/// Rows.
pub const HEIGHT: usize = 108;
const HEAD_BYTES: usize = 16;
/// Bytes of a frame.
pub const FRAME_BYTES: u64 = (HEAD_BYTES + WIDTH * HEIGHT) as u64;

const ALIVE: u8 = 255;
/// What is left of a cell in the frame after its death.
const DEAD: u8 = 176;
const FADE: u8 = 4;
/// Every other frame shows a new generation; in between, the dead fade.
const FRAMES_PER_GENERATION: u32 = 2;
/// A new pattern comes so often.
const FRAMES_PER_SEED: u32 = 24;
/// With more cells alive nothing new comes.
const CROWDED: usize = WIDTH * HEIGHT / 10;

/// Patterns that live long: the R-pentomino, the acorn, a glider.
const PATTERNS: [&[(usize, usize)]; 3] = [
    &[(1, 0), (2, 0), (0, 1), (1, 1), (1, 2)],
    &[(1, 0), (3, 1), (0, 2), (1, 2), (4, 2), (5, 2), (6, 2)],
    &[(1, 0), (2, 1), (0, 2), (1, 2), (2, 2)],
];

/// A board and when it was drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    number: u32,
    drawn_ms: u64,
    cells: Vec<u8>,
}

impl Board {
    /// The board of a frame; an empty one for bytes that are none.
    pub fn of_frame(bytes: &[u8]) -> Self {
        let (head, cells) = bytes.split_at_checked(HEAD_BYTES).unwrap_or_default();
        let number = head
            .first_chunk()
            .map_or(0, |number| u32::from_le_bytes(*number));
        let drawn_ms = head
            .last_chunk()
            .map_or(0, |time| u64::from_le_bytes(*time));
        let mut cells = cells.to_vec();
        cells.resize(WIDTH * HEIGHT, 0);
        Self {
            number,
            drawn_ms,
            cells,
        }
    }

    /// The frame of it.
    pub fn frame(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.cells.len());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        for length in [WIDTH, HEIGHT] {
            bytes.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
        }
        bytes.extend_from_slice(&self.drawn_ms.to_le_bytes());
        bytes.extend_from_slice(&self.cells);
        bytes
    }

    /// Its frame's number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// When it was drawn, milliseconds of Unix time.
    pub fn drawn_ms(&self) -> u64 {
        self.drawn_ms
    }

    /// Goes on to the next frame.
    pub fn step(&mut self, now_ms: u64) {
        self.number = self.number.wrapping_add(1);
        self.drawn_ms = now_ms;
        if self.number.is_multiple_of(FRAMES_PER_GENERATION) {
            self.next_generation();
        } else {
            self.fade();
        }
        if self.number == 1 || self.number.is_multiple_of(FRAMES_PER_SEED) {
            self.seed();
        }
    }

    fn alive(&self) -> usize {
        self.cells.iter().filter(|cell| **cell == ALIVE).count()
    }

    fn fade(&mut self) {
        for cell in &mut self.cells {
            if *cell != ALIVE {
                *cell = cell.saturating_sub(FADE);
            }
        }
    }

    fn next_generation(&mut self) {
        let alive: Vec<u8> = self
            .cells
            .iter()
            .map(|cell| u8::from(*cell == ALIVE))
            .collect();
        for y in 0..HEIGHT {
            let row = |y: usize| &alive[y * WIDTH..(y + 1) * WIDTH];
            let (above, here, below) = (
                row((y + HEIGHT - 1) % HEIGHT),
                row(y),
                row((y + 1) % HEIGHT),
            );
            // Three cells one above the other count together.
            let columns: Vec<u8> = (0..WIDTH).map(|x| above[x] + here[x] + below[x]).collect();
            for (x, cell) in self.cells[y * WIDTH..(y + 1) * WIDTH]
                .iter_mut()
                .enumerate()
            {
                let (left, right) = ((x + WIDTH - 1) % WIDTH, (x + 1) % WIDTH);
                let neighbours = columns[left] + columns[x] + columns[right] - here[x];
                *cell = match (here[x] == 1, neighbours) {
                    (true, 2 | 3) | (false, 3) => ALIVE,
                    (true, _) => DEAD,
                    (false, _) => cell.saturating_sub(FADE),
                };
            }
        }
    }

    /// Puts a few patterns somewhere; at the start many.
    fn seed(&mut self) {
        if self.alive() > CROWDED {
            return;
        }
        let mut random = Random(u64::from(self.number) | 1 << 40);
        let count = if self.number == 1 { 24 } else { 3 };
        for _ in 0..count {
            let (left, top) = (random.below(WIDTH), random.below(HEIGHT));
            let pattern = PATTERNS[random.below(PATTERNS.len())];
            let mirrored = random.below(2) == 1;
            for (x, y) in pattern {
                let x = if mirrored { 8 - x } else { *x };
                self.cells[(top + y) % HEIGHT * WIDTH + (left + x) % WIDTH] = ALIVE;
            }
        }
    }
}

/// Marsaglia's xorshift: the same board for the same frames.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        for _ in 0..4 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
        }
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(alive: &[(usize, usize)]) -> Board {
        let mut board = Board::of_frame(&[]);
        for (x, y) in alive {
            board.cells[y * WIDTH + x] = ALIVE;
        }
        board
    }

    #[test]
    fn a_glider_is_one_further_after_four_generations_and_crosses_the_edge() {
        let glider = PATTERNS[2];
        let at = |by: usize| {
            let moved = |(x, y): &(usize, usize)| ((x + by) % WIDTH, (y + by) % HEIGHT);
            board(&glider.iter().map(moved).collect::<Vec<_>>())
        };
        let mut moving = at(0);
        for by in 1..=HEIGHT {
            (0..4).for_each(|_| moving.next_generation());
            let living = |board: &Board| -> Vec<bool> {
                board.cells.iter().map(|cell| *cell == ALIVE).collect()
            };
            assert!(living(&moving) == living(&at(by)), "after {by} steps");
        }
    }

    #[test]
    fn a_frame_is_read_back_and_anything_else_is_an_empty_board() {
        let mut board = Board::of_frame(&[]);
        board.step(1_700_000_000_123);
        let frame = board.frame();
        assert_eq!(frame.len() as u64, FRAME_BYTES);
        assert_eq!(Board::of_frame(&frame), board);
        assert_eq!(board.drawn_ms(), 1_700_000_000_123);
        assert_eq!(Board::of_frame(&[7; 3]).alive(), 0);
    }

    #[test]
    fn it_never_dies_out_and_never_fills_up() {
        let mut board = Board::of_frame(&[]);
        for frame in 1..1000 {
            board.step(frame);
            let alive = board.alive();
            assert!(
                alive > 20 && alive < WIDTH * HEIGHT / 4,
                "{alive} at {frame}"
            );
        }
    }

    #[test]
    fn the_dead_fade_away() {
        let mut board = board(&[(5, 5)]);
        board.next_generation();
        assert_eq!(board.cells[5 * WIDTH + 5], DEAD);
        (0..u32::from(DEAD)).for_each(|_| board.fade());
        assert_eq!(board.cells, vec![0; WIDTH * HEIGHT]);
    }
}
