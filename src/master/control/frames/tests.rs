//! Frames survive their bytes, however these are cut.

use proptest::prelude::*;

use super::*;

fn requests() -> Vec<Request> {
    vec![
        Request::Publish {
            channel: "news".into(),
            kind: Kind::Text,
            payload: b"hello".to_vec(),
        },
        Request::Publish {
            channel: String::new(),
            kind: Kind::Binary,
            payload: Vec::new(),
        },
        Request::Tail {
            channel: "r\u{e4}ume/1".into(),
        },
        Request::Status,
        Request::Errand(Errand::Scale { processes: 4 }),
        Request::Area(AreaRequest::Read {
            area: "frames".into(),
            position: 1,
            bytes: None,
        }),
        Request::Area(AreaRequest::Write {
            area: "0".into(),
            position: u64::MAX,
            bytes: vec![0, 1],
        }),
        Request::Area(AreaRequest::Send {
            area: "0".into(),
            position: 0,
            bytes: Some(9),
            channel: "news".into(),
            kind: Kind::Binary,
        }),
    ]
}

fn answers() -> Vec<Answer> {
    vec![
        Answer::Published {
            reached: 7,
            workers: 8,
            seq: u64::MAX,
        },
        Answer::Tailing,
        Answer::Message {
            kind: Kind::Text,
            time_us: 1,
            payload: b"x".to_vec(),
        },
        Answer::Lapped { entries: 9 },
        Answer::Status {
            json: b"{}".to_vec(),
        },
        Answer::Done {
            result: "yes".into(),
        },
        Answer::AreaBytes {
            left: 3,
            bytes: vec![0, 255],
        },
        Answer::AreaWritten,
        Answer::Refused {
            reason: "no".into(),
        },
    ]
}

#[test]
fn answers_survive_their_frames() {
    let mut bytes = Vec::new();
    answers().iter().for_each(|answer| answer.write(&mut bytes));
    let mut frames = Frames::new(100);
    frames.push(&bytes);
    for answer in answers() {
        assert_eq!(frames.answer(), Ok(Some(answer)));
    }
    assert_eq!(frames.answer(), Ok(None));
}

#[test]
fn a_frame_too_long_is_refused_from_its_length() {
    let mut frames = Frames::new(100);
    frames.push(&101_u32.to_le_bytes());
    assert_eq!(
        frames.request(),
        Err(FrameError::TooLong {
            bytes: 101,
            max: 100
        })
    );
}

#[test]
fn nonsense_is_refused() {
    for (frame, kind) in [
        (&[0, 0, 0, 0][..], 0),
        (&[1, 0, 0, 0, 99], 99),
        (&[2, 0, 0, 0, STATUS, 1], STATUS),
        (&[1, 0, 0, 0, PUBLISH], PUBLISH),
        (&[5, 0, 0, 0, PUBLISH, 0, 9, 0, b'a'], PUBLISH),
        (&[5, 0, 0, 0, PUBLISH, 2, 1, 0, b'a'], PUBLISH),
        (&[2, 0, 0, 0, TAIL, 0xff], TAIL),
        (&[2, 0, 0, 0, AREA, 9], AREA),
    ] {
        let mut frames = Frames::new(100);
        frames.push(frame);
        assert_eq!(
            frames.request(),
            Err(FrameError::Malformed { kind }),
            "{frame:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_requests(
        cuts in proptest::collection::vec(0_usize..180, 0..8)
    ) {
        let mut bytes = Vec::new();
        requests().iter().for_each(|request| request.write(&mut bytes));
        let mut frames = Frames::new(100);
        let mut read = Vec::new();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(bytes.len())).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let mut start = 0;
        for cut in cuts {
            frames.push(&bytes[start..cut]);
            start = cut;
            while let Some(request) = frames.request().unwrap() {
                read.push(request);
            }
        }
        prop_assert_eq!(read, requests());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut frames = Frames::new(100);
        frames.push(&bytes);
        while let Ok(Some(_)) = frames.request() {}
    }
}
