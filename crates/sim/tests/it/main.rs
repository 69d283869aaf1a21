//! x
use sheepdog_sim::model::*;
use sheepdog_sim::model::property::*;
#[test]
fn probe() {
    let t = Bounds::two(2,1,2);
    for (r,b,g) in [(Rule::Reconcile,Bounds::two(1,0,2),NO_TURNS),(Rule::Fence,Bounds::two(2,0,2),FENCED),(Rule::Fence,Bounds::two(2,0,2),NO_TURNS),(Rule::Fence,Bounds::two(2,0,2),NO_LOST_WRITE),(Rule::BarrierAfterAttach,Bounds::two(2,0,2),FENCED),(Rule::BarrierAfterAttach,Bounds::two(2,0,2),NO_LOST_WRITE),(Rule::ActFirst,Bounds::two(1,1,1),NO_LOST_WRITE),(Rule::AllInSync,Bounds::two(1,1,2),NO_TURNS),(Rule::BarrierReturned,Bounds::two(1,1,2),NO_TURNS),(Rule::OwnWatermark,Bounds::two(1,0,3),NO_TURNS),(Rule::OwnWatermark,Bounds::two(1,1,3),NO_TURNS),(Rule::RangeLock,Bounds::two(1,0,1),NO_TURNS),(Rule::ReadLease,t,NO_LOST_WRITE),
      (Rule::RefuseOlderView,t,""),(Rule::AcksOfThisView,t,""),(Rule::HoldNewerView,t,""),(Rule::FreshStamp,t,""),(Rule::FreshStamp,Bounds::three(2,1,2),"")] {
        let mut c=Config::new(b).without(r); if g=="" {c.symmetry=true;}
        let o = find(c,g);
        println!("=== without {r:?} {b:?} {g} {o}");
        for f in &o.faults { println!("{f}"); }
    }
    for b in [Bounds::two(1,1,1),Bounds::two(2,1,1),Bounds::two(1,2,1),Bounds::two(1,1,2)] {
        let c=Config::new(b).with_pull();
        let o = check(c);
        println!("=== pull {b:?} {o} {:?}", o.unreached);
        for f in &o.faults { println!("{f}"); }
      for r in [Rule::RefuseOlderView,Rule::AcksOfThisView,Rule::HoldNewerView,Rule::FreshStamp]{
        let o = find(c.without(r), NO_LOST_WRITE);
        println!("=== pull without {r:?} {b:?} {o}");
        for f in &o.faults { println!("{f}"); }
      }
    }
}
