//! Replays the committed corpora of the fuzz targets, so that what a fuzzer found once stays found; needs no nightly compiler.

#[expect(
    unreachable_pub,
    reason = "it is the library of the fuzz crate as well"
)]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;

/// Runs one target over its corpus.
fn replay(name: &str, target: fn(&[u8]), inputs_min: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(name);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::read(&path).unwrap();
        // Shown only if the target panics.
        println!("{}", path.display());
        target(&data);
        inputs += 1;
    }
    assert!(
        inputs >= inputs_min,
        "{} inputs in {}",
        inputs,
        folder.display()
    );
}

#[test]
fn heads() {
    replay("head", targets::head, 20);
}

#[test]
fn frames() {
    replay("frame", targets::frame, 20);
}

#[test]
fn compressed_frames() {
    replay("deflate", targets::deflate, 10);
}
