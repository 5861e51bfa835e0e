//! Latencies in buckets of about three per cent, so that a run of any length costs the same memory.

/// Buckets for each doubling.
const STEPS: u64 = 32;
const STEPS_LOG2: u32 = STEPS.ilog2();
const BUCKETS: usize = (64 - STEPS_LOG2 as usize + 1) * STEPS as usize;

/// Counts of nanoseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }
}

impl Histogram {
    /// Counts `times` readings of `ns`.
    pub fn record(&mut self, ns: u64, times: u64) {
        self.counts[bucket(ns)] += times;
        self.total += times;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// The nanoseconds below which `share` (0 to 1) of the readings lie; 0 without readings.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= wanted {
                return lower_bound(at);
            }
        }
        0
    }
}

fn bucket(ns: u64) -> usize {
    if ns < STEPS {
        return ns as usize;
    }
    let shift = ns.ilog2() - STEPS_LOG2;
    (u64::from(shift) * STEPS + (ns >> shift)) as usize
}

fn lower_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    (bucket - shift * STEPS) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reading_falls_into_a_bucket_close_below_it() {
        for ns in (0..60)
            .flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + 3])
            .chain([u64::MAX])
        {
            let low = lower_bound(bucket(ns));
            assert!(
                low <= ns && ns - low <= ns / STEPS,
                "{ns} is in the bucket from {low}"
            );
        }
    }

    #[test]
    fn quantiles_are_those_of_the_readings() {
        let mut histogram = Histogram::default();
        (1..=31).for_each(|ns| histogram.record(ns, 1));
        assert_eq!((histogram.quantile(0.5), histogram.quantile(1.0)), (16, 31));
        histogram.clear();
        assert_eq!(histogram.quantile(0.5), 0);
    }
}
