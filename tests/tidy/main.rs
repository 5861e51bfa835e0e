//! The house rules that a program can check, as ordinary tests over the files of the repository.
//!
//! Each module holds one family of rules as a pure function from sources to findings, with small
//! bad samples beside it that prove the rule can fail. This file only lists what is checked. It
//! must not know how the server works: it reads text.

mod dependencies;
mod documents;
mod layers;
mod leftovers;
mod names;
mod options;
mod origins;
mod report;
mod rust;
mod safety;
mod scripts;
mod size;
mod tree;

use report::expect_none;
use tree::sources;

#[test]
fn imports_only_point_down_the_layers() {
    expect_none(&layers::check(sources()));
}

#[test]
fn pure_layers_touch_no_clock_socket_or_file() {
    expect_none(&layers::check_purity(sources()));
}

#[test]
fn every_rust_file_opens_with_its_purpose() {
    expect_none(&documents::check_module_docs(sources()));
}

#[test]
fn files_and_functions_stay_small() {
    expect_none(&size::check_files(sources()));
    expect_none(&size::check_median(sources()));
    expect_none(&size::check_functions(sources()));
}

#[test]
fn unsafe_stays_in_its_places() {
    expect_none(&safety::check(sources()));
}

#[test]
fn every_dependency_says_why_it_is_here() {
    expect_none(&dependencies::check(sources()));
}

#[test]
fn modules_and_types_have_telling_names() {
    expect_none(&names::check(sources()));
}

#[test]
fn nothing_is_left_lying_about() {
    expect_none(&leftovers::check(sources()));
}

#[test]
fn no_file_depends_on_one_machine() {
    expect_none(&origins::check(sources()));
}

#[test]
fn scripts_are_short_strict_and_executable() {
    expect_none(&scripts::check(sources()));
    expect_none(&scripts::check_runs_every_test_folder(sources()));
}

#[test]
fn documents_have_one_title_and_links_that_resolve() {
    expect_none(&documents::check_titles(sources()));
    expect_none(&documents::check_links(sources()));
}

#[test]
fn every_option_is_documented_and_tested_by_name() {
    expect_none(&options::check(sources()));
}
