//! Verbs on the command line.

use super::{environment, invoke, wrong};
use crate::config::{AreaVerb, Invocation, Verb, resolve};

#[test]
fn the_verbs_about_areas_are_understood() {
    let verb = |words: &[&str]| match invoke(&[&["area"], words].concat()) {
        Ok(Invocation::Verb(Verb::Area(verb), target)) => (verb, target.instance),
        other => panic!("{other:?}"),
    };
    let read = AreaVerb::Read {
        area: "frames".into(),
        position: 0,
        bytes: None,
    };
    assert_eq!(verb(&["read", "frames"]), (read, None));
    let write = AreaVerb::Write {
        area: "0".into(),
        position: 64,
        text: Some("-x".into()),
    };
    let words = ["write", "--instance", "a", "0", "64", "-x"];
    assert_eq!(verb(&words), (write, Some("a".into())));
    let send = AreaVerb::Send {
        area: "0".into(),
        channel: "news".into(),
        position: 1,
        bytes: Some(2),
        binary: true,
    };
    assert_eq!(
        verb(&["send", "0", "news", "1", "2", "--binary"]),
        (send, None)
    );
    let info = AreaVerb::Info {
        area: None,
        json: true,
    };
    assert_eq!(verb(&["info", "--json"]), (info, None));
    for words in [&["area", "read"][..], &["area", "write", "0"]] {
        wrong(words);
    }
}

#[test]
fn numbers_that_are_not_allowed_are_told_with_what_is() {
    let said = |words: &[&str]| match invoke(words) {
        Ok(Invocation::Serve(settings)) => {
            resolve(&settings, &environment()).unwrap_err().to_string()
        }
        Ok(Invocation::Verb(..)) => panic!("{words:?} was not refused"),
        Err(usage) => usage.to_string(),
    };
    let workers = "allowed is a whole number from 1 to 62";
    let bytes = "allowed is a whole number from 0 to 18446744073709551615";
    let cases: [(&[&str], &str, &str); 8] = [
        (
            &["--max-clients", "-1"],
            "--max-clients \"-1\" (c",
            "allowed",
        ),
        (
            &["--drain-timeout", "-0.5"],
            "--drain-timeout \"-0.5\"",
            "allowed",
        ),
        (&["-p", "-1"], "--processes \"-1\" (command line)", workers),
        (&["scale", "0"], "scale N \"0\": ", workers),
        (&["scale", "x"], "scale N \"x\": ", workers),
        (&["scale", "-1"], "scale N \"-1\": ", workers),
        (
            &["area", "write", "0", "-5"],
            "area write POS \"-5\": ",
            bytes,
        ),
        (
            &["area", "read", "0", "0", "x"],
            "area read LEN \"x\": ",
            bytes,
        ),
    ];
    for (words, what, allowed) in cases {
        let said = said(words);
        assert!(said.starts_with(what) && said.contains(allowed), "{said}");
    }
}
