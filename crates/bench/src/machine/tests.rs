use super::*;

const MOUNTS: &str = "\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
30 22 8:1 / /srv/disks rw,noatime - xfs /dev/sda1 rw,logbufs=8
31 22 0:40 / /srv rw - tmpfs tmpfs rw";

#[test]
fn the_nearest_mount_above_counts() {
    let of = |folder| file_system(MOUNTS, folder).unwrap();
    assert_eq!(of("/srv/disks/bench"), "xfs (rw,noatime)");
    assert_eq!(of("/srv/disks"), "xfs (rw,noatime)");
    assert_eq!(of("/srv/disks-of-others"), "tmpfs (rw)");
    assert_eq!(of("/var"), "ext4 (rw,relatime)");
    assert_eq!(file_system("", "/var"), None);
}

#[test]
fn the_model_stands_behind_its_colon() {
    let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.0: GHz\n";
    assert_eq!(model(text), Some("Some CPU @ 2.0: GHz"));
    assert_eq!(model("processor : 0\n"), None);
}

#[test]
fn this_machine_is_known() {
    let machine = Machine::of(Path::new("/")).unwrap();
    assert!(!machine.kernel.is_empty() && machine.processors > 0);
    assert_eq!(machine.load_before.split(' ').count(), 3);
}
