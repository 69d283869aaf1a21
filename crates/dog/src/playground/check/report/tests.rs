use super::*;

#[test]
fn the_table_names_each_face_and_the_sums() {
    let row = |face, other_face, after, pause| Row {
        face,
        other_face,
        before: 500,
        after,
        bytes: 128 << 20,
        pause: Duration::from_millis(pause),
    };
    let report = Report(vec![
        row(Face::Legacy, Face::NbdTcp, 1003, 412),
        row(Face::NbdUnix, Face::Legacy, 2000, 1250),
    ]);
    assert_eq!(
        report.human(),
        "Face         Writes before  after kill     Verified  Longest pause  also read through\n\
         sheepdog               500        1003       128 MB         412 ms  NBD TCP of another sheep\n\
         NBD unix               500        2000       128 MB        1250 ms  sheepdog of another sheep\n\
         OK: 3003 writes acknowledged after one sheep was killed, 268435456 bytes verified, longest \
         pause 1250 ms.\n"
    );
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(json["writes_after"], 3003);
    assert_eq!(json["faces"][1]["face"], "nbd-unix");
}
