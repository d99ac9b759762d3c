//! Links that go and come back under the same name, and sessions over them.

use std::time::Duration;

use proto_tests::netlab::sites::{Sites, ip};
use proto_tests::netlab::{may_run, patiently};

/// A loaded machine takes its time.
const PATIENT: Duration = Duration::from_secs(60);

/// A wire of their own between the two nodes, with fe80::1 and fe80::2.
fn plug(sites: &Sites) {
    let far = sites.nodes[1].ns.net_fd();
    sites.nodes[0].ns.rtnl(move |r| r.add_veth("wire", None, "wire", far)).unwrap();
    for (node, n) in sites.nodes.iter().zip(1..) {
        ip(&node.ns, "link set wire addrgenmode none");
        ip(&node.ns, "link set wire up");
        ip(&node.ns, &format!("addr add fe80::{n}/64 dev wire nodad"));
    }
}

#[test]
fn a_session_over_a_link_that_is_made_anew_is_back_long_before_its_hold_time() {
    if !may_run("a_session_over_a_link_that_is_made_anew_is_back_long_before_its_hold_time") {
        return;
    }
    let mut sites = Sites::build(16).unwrap();
    plug(&sites);
    for (index, n, other) in [(0, 1, 2), (1, 2, 1)] {
        let text = format!(
            "[node]\nname = \"n{n}\"\nasn = 6451{n}\nrouter_id = \"10.0.0.{n}\"\n[graceful_restart]\nenabled = false\n\
             [[peer]]\nname = \"other\"\naddress = \"fe80::{other}%wire\"\nasn = 6451{other}\nimport = [\"all\"]\nexport = [\"all\"]\n\
             connect_retry = \"1s\"\nidle_hold = \"500ms\"\n[pods]\nblocks = [\"fd00:10:244:{n}::/122\"]\n"
        );
        sites.set_config_text(index, &text).unwrap();
    }
    sites.start_all().unwrap();
    let until_up = |sites: &Sites, times: usize| {
        let took = patiently(PATIENT, || sites.log(0).matches("other: up with fe80::2").count() == times);
        took.unwrap_or_else(|| panic!("not up for the {times}. time\n{}", sites.log(0)))
    };
    until_up(&sites, 1);
    for round in 2..5 {
        sites.ip(0, "link del wire");
        plug(&sites);
        let took = until_up(&sites, round);
        println!("up again after {took:?}");
        assert!(took < Duration::from_secs(30), "the hold time is 90 s: {took:?}");
    }
    assert!(sites.log(0).contains("its interface is gone"), "{}", sites.log(0));
}
