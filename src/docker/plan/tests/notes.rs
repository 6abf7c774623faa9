//! What is told of each container.

use std::fmt::Write as _;
use std::time::Instant;

use super::super::{notes, plan};
use super::fixtures::parse;
use crate::model::Plan;

/// A line for each container.
fn told(text: &str) -> String {
    let (snapshot, options, _) = parse(text);
    let (plan, problems) = plan(&snapshot, &options, &Plan::default(), Instant::now());
    let mut out = String::new();
    for note in notes(&snapshot, &options, &plan, &problems) {
        let (asks, reasons) = (note.asks.join(", "), note.reasons.join("; "));
        let _ = writeln!(
            out,
            "{} {:?} [{asks}] {reasons}",
            note.container, note.standing
        );
    }
    out
}

#[test]
fn every_labelled_container_is_told_of_with_its_reasons() {
    let text = "
container a-good of=p/good exposed=80 net=n:172.18.0.2
wharf.host: good.test, www.good.test
container b-typo of=p/typo exposed=80 net=n:172.18.0.3
wharf.hots: typo.test
container c-ill of=p/ill exposed=80 net=n:172.18.0.4 health=starting
wharf.host: ill.test
container d-gone of=p/gone exposed=80 state=exited
wharf.host: gone.test
container e-old of=p/good exposed=80 state=exited
wharf.host: good.test
container f-off of=p/off exposed=80 net=n:172.18.0.5
wharf.enable: false
wharf.host: off.test
container g-run of=p/good oneoff exposed=80 net=n:172.18.0.6
wharf.host: good.test
container h-late of=p/late created=9 exposed=80 net=n:172.18.0.7
wharf.host: good.test
container i-zero of=p/zero exposed=80 net=n:172.18.0.8
wharf.host: zero.test
wharf.weight: 0
container j-alien of=p/alien exposed=80 net=n:172.18.0.9
traefik.enable: true
container k-plain of=p/plain exposed=80 net=n:172.18.0.10
com.example.colour: blue
container l-blind of=p/blind net=n:172.18.0.11
wharf.host: blind.test
wharf.path: /x
wharf.port: http
";
    let expected = "\
a-good Routed [good.test, www.good.test] 
b-typo NotRouted [] wharf.hots: typo.test: there is no option `hots`; did you mean `host`?
c-ill Waiting [ill.test] is starting (its HEALTHCHECK has not passed yet)
d-gone NotRouted [gone.test] has exited
e-old LeftOut [good.test] has exited; others of its service run
f-off LeftOut [] is switched off by wharf.enable
g-run LeftOut [good.test] is a one-off of `compose run`
h-late NotRouted [good.test] wharf.host: good.test: `good.test` with path / is already served by p/good (container a-good), which is older and keeps it
i-zero NotRouted [zero.test] has wharf.weight: 0
j-alien Foreign [] has labels of another proxy (traefik.enable), which Wharf does not read: set wharf.host
l-blind NotRouted [blind.test/x] wharf.port: http: a port is a number from 1 to 65535: the one the app listens on inside its container; its wharf.port cannot be used
";
    let told = told(text);
    assert_eq!(told, expected, "\n{told}");
}
