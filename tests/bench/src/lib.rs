//! Load generator and bare peers; run by `scripts/bench`.
