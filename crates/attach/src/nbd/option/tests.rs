use proptest::prelude::*;

use super::*;

fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

#[test]
fn the_greeting_is_that_of_fixed_newstyle_without_padding() {
    assert_eq!(&greeting()[..16], b"NBDMAGICIHAVEOPT");
    assert_eq!(greeting()[16..], [0, 3]);
}

#[test]
fn unknown_client_flags_are_refused() {
    assert_eq!(client_flags([0, 0, 0, 3]), Ok(true));
    assert_eq!(client_flags([0, 0, 0, 1]), Ok(false));
    for bit in 2..32 {
        assert!(client_flags((1_u32 << bit).to_be_bytes()).is_err());
    }
}

#[test]
fn an_option_begins_with_the_magic() {
    let mut bytes = *b"IHAVEOPT\0\0\0\x07\0\0\x01\x02";
    assert_eq!(header(&bytes), Ok((7, 0x102)));
    bytes[3] ^= 1;
    assert!(header(&bytes).is_err());
}

#[test]
fn an_inquiry_is_understood_only_whole_and_exact() {
    let data = [text(b"disk"), vec![0, 2, 0, 3, 0, 1]].concat();
    let wanted = Inquiry { name: b"disk", infos: vec![3, 1] };
    assert_eq!(Inquiry::parse(&data), Ok(wanted));
    for end in 0..data.len() {
        assert!(Inquiry::parse(&data[..end]).is_err(), "{end}"); // N2
    }
    assert!(Inquiry::parse(&[&data[..], &[0]].concat()).is_err());
    let endless = [&u32::MAX.to_be_bytes()[..], b"disk"].concat();
    assert!(Inquiry::parse(&endless).is_err()); // N1
    let long = [text(&[b'a'; 4097]), vec![0, 0]].concat();
    assert!(Inquiry::parse(&long).is_err());
}

#[test]
fn contexts_are_chosen_by_their_full_name_and_listed_by_namespace() {
    let chosen = |queries: &[&[u8]]| {
        let list: Vec<u8> = queries.iter().flat_map(|query| text(query)).collect();
        let count = (queries.len() as u32).to_be_bytes();
        let data = [text(b"disk"), count.to_vec(), list].concat();
        let contexts = Contexts::parse(&data).unwrap();
        (contexts.lists_allocation(), contexts.sets_allocation())
    };
    assert_eq!(chosen(&[]), (true, false));
    assert_eq!(chosen(&[b"base:"]), (true, false));
    assert_eq!(chosen(&[b"qemu:", b"base:allocation"]), (true, true));
    assert_eq!(chosen(&[b"base:allocations", b"qemu:dirty-bitmap:a"]), (false, false));
    let endless = [text(b"disk"), u32::MAX.to_be_bytes().to_vec(), text(b"base:")].concat();
    assert!(Contexts::parse(&endless).is_err()); // N1
}

#[test]
fn a_refusal_carries_a_text_of_at_most_4096_bytes() {
    let mut bytes = Vec::new();
    put_error(&mut bytes, 7, reply::ERR_POLICY, &"\u{e4}".repeat(3000));
    assert_eq!(bytes[..8], 0x3_e889_0455_65a9_u64.to_be_bytes());
    assert_eq!(bytes[8..16], [0, 0, 0, 7, 0x80, 0, 0, 2]);
    assert_eq!(bytes[16..20], 4096_u32.to_be_bytes());
    assert_eq!(bytes.len(), 20 + 4096);
}

proptest! {
    #[test]
    fn any_bytes_are_understood_or_refused(data in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(inquiry) = Inquiry::parse(&data) {
            prop_assert_eq!(inquiry.name.len() + 6 + 2 * inquiry.infos.len(), data.len());
        }
        if let Ok(contexts) = Contexts::parse(&data) {
            let queries: usize = contexts.queries.iter().map(|query| query.len() + 4).sum();
            prop_assert_eq!(contexts.name.len() + 8 + queries, data.len());
        }
    }

    #[test]
    fn what_is_sent_is_understood(
        name in prop::collection::vec(any::<u8>(), 0..300),
        infos in prop::collection::vec(any::<u16>(), 0..20),
        queries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
    ) {
        let mut data = text(&name);
        data.extend_from_slice(&(infos.len() as u16).to_be_bytes());
        infos.iter().for_each(|info| data.extend_from_slice(&info.to_be_bytes()));
        prop_assert_eq!(Inquiry::parse(&data), Ok(Inquiry { name: &name, infos }));
        let mut data = text(&name);
        data.extend_from_slice(&(queries.len() as u32).to_be_bytes());
        queries.iter().for_each(|query| data.extend_from_slice(&text(query)));
        let queries = queries.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(Contexts::parse(&data), Ok(Contexts { name: &name, queries }));
    }
}
