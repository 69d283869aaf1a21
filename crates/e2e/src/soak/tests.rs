use super::*;

#[test]
fn a_page_is_read_as_it_was_written() {
    let mut page = Page::default();
    assert_eq!(Page::parse(&page.render()).unwrap(), page);
    page.row("abc", "alone").figures =
        Figures { rounds: 3, kills: 5, acknowledged: 700, blocks: 9000, old: 7, new: 8 };
    page.row("abc", "all of 3").figures.rounds = 2;
    page.row("def", "alone").wrong = 1;
    assert_eq!(Page::parse(&page.render()).unwrap(), page);
    page.wrong.push("def round 4 (Alone): a block".to_owned());
    assert_eq!(Page::parse(&page.render()).unwrap(), page);
    assert_eq!((page.rounds("abc"), page.rounds("def"), page.rounds("x")), (5, 0, 0));
}

#[test]
fn a_page_that_somebody_spoiled_is_not_taken_for_an_empty_one() {
    let mut page = Page::default();
    page.row("abc", "alone").figures.rounds = 3;
    assert!(Page::parse(&page.render().replace("| 3 |", "| three |")).is_err());
}
