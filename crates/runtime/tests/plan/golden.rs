//! What an ordinary spec becomes, as text.

use insta::assert_snapshot;

use crate::text::lines;
use crate::{extraordinary, legacy, ordinary, plan, smallest, unified};

#[test]
fn an_ordinary_container_on_version_2() {
    assert_snapshot!(lines(&plan(&ordinary(), unified()).expect("it compiles")));
}

#[test]
fn an_ordinary_container_on_version_1() {
    assert_snapshot!(lines(&plan(&ordinary(), legacy()).expect("it compiles")));
}

#[test]
fn the_smallest_container() {
    assert_snapshot!(lines(&plan(&smallest(), unified()).expect("it compiles")));
}

#[test]
fn a_container_with_everything_of_version_2() {
    assert_snapshot!(lines(&plan(&extraordinary(), legacy()).expect("it compiles")));
}
