use sheepdog_proto::Vid;

use super::*;

#[test]
fn copies_are_auto_or_a_number() {
    for (text, copies) in [("\"auto\"", Copies::Auto), ("3", Copies::Exactly(3))] {
        assert_eq!(serde_json::from_str::<Copies>(text).unwrap(), copies);
        assert_eq!(serde_json::to_string(&copies).unwrap(), text);
    }
    for bad in ["0", "256", "-1", "\"2:1\"", "1.5", "null", "[]", "{}", "\"\""] {
        assert!(serde_json::from_str::<Copies>(bad).is_err(), "{bad}");
    }
}

#[test]
fn vids_are_hexadecimal_texts_also_as_keys() {
    let vid = VidHex(Vid::new(0x1e_c8c).unwrap());
    let objects = BTreeMap::from([(vid, 7_u64)]);
    let text = serde_json::to_string(&objects).unwrap();
    assert_eq!(text, "{\"1ec8c\":7}");
    assert_eq!(serde_json::from_str::<BTreeMap<VidHex, u64>>(&text).unwrap(), objects);
    for bad in ["\"0\"", "\"1000000\"", "\"xyz\"", "\"\"", "7"] {
        assert!(serde_json::from_str::<VidHex>(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_unknown_code_and_unknown_fields_are_understood_as_a_failure() {
    let text = r#"{"code":"from-the-future","message":"no","more":[1]}"#;
    let failure: Failure = serde_json::from_str(text).unwrap();
    assert_eq!(failure.code, ErrorCode::Unknown);
    assert_eq!(failure.holder, None);
}

#[test]
fn a_request_with_a_misspelt_field_is_refused() {
    let text = r#"{"name":"a","size":1,"copys":2}"#;
    assert!(serde_json::from_str::<NewVdi>(text).is_err());
    let least: NewVdi = serde_json::from_str(r#"{"name":"a","size":1}"#).unwrap();
    assert_eq!((least.copies, least.object_shift), (None, None));
}

#[test]
fn codes_are_kebab_case_and_have_error_statuses() {
    let all = [
        (ErrorCode::Invalid, "\"invalid\"", 400),
        (ErrorCode::NotFound, "\"not-found\"", 404),
        (ErrorCode::NotEmpty, "\"not-empty\"", 409),
        (ErrorCode::Locked, "\"locked\"", 423),
        (ErrorCode::NoSpace, "\"no-space\"", 507),
        (ErrorCode::TooFewZones, "\"too-few-zones\"", 409),
    ];
    for (code, text, status) in all {
        assert_eq!(serde_json::to_string(&code).unwrap(), text);
        assert_eq!(code.status(), status);
    }
}
