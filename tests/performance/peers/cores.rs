//! What a second core adds. The load generator has no cores of its own here, so requests a second say little: compared is
//! the CPU time that one request takes, with one thread that serves and with two.

use littoral_tests::measure::ratios;

use crate::install::Peers;
use crate::report::Part;
use crate::scenario::Scenario;
use crate::scenarios;
use crate::side::Who;

pub(crate) const NAME: &str = "cores";

pub(crate) async fn measure(peers: &Peers) -> Part {
    let hello = scenarios::all(peers).into_iter().next().expect("hello");
    let scenario = Scenario {
        name: NAME,
        sides: &[Who::LittoralOneThread, Who::LittoralTwoThreads],
        ratios: &[(Who::LittoralTwoThreads, Who::LittoralOneThread)],
        pace_of: Who::LittoralOneThread,
        curve: false,
        ..hello
    };
    let compared = scenario.run(peers).await;
    let one = compared.cpu_us(Who::LittoralOneThread).unwrap_or_default();
    let two = compared.cpu_us(Who::LittoralTwoThreads).unwrap_or_default();
    // Twice the cores, each request as dear as it is there.
    let twice: Vec<f64> = one.iter().map(|cpu| cpu * 2.0).collect();
    let scaling = ratios(&twice, &two);
    let mut part = Part::from(compared);
    part.text.push_str(&format!(
        "\nTwo cores against one, by CPU time by request: {scaling}.\n"
    ));
    part.json["two_against_one_by_cpu"] = scaling.json();
    println!("two cores against one, by CPU time by request: {scaling}");
    part
}
