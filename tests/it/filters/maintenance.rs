//! `wharf.maintenance` (B56).

use super::ask;
use crate::support::docker::{App, unique};
use crate::support::wharf::Builder;

#[test]
fn b56_a_site_rests_for_all_but_those_named() {
    let host = format!("{}.test", unique("rest"));
    let _served = App::new("rest")
        .label("wharf.host", &host)
        .label("wharf.tls", "off")
        .label(
            "wharf.maintenance",
            "on allow=127.1.0.0/16 retry=10m message=\"Back at <noon>\"",
        )
        .run();
    let wharf = Builder::new().start();
    wharf.wait_answer(&host, "/", |answer| {
        answer.status == 503 && answer.text().contains("noon")
    });
    let url = format!("http://{host}/json");
    assert_eq!(ask(wharf.http, "127.1.0.1", &url, &[]).status, 200);
    let page = ask(
        wharf.http,
        "127.0.0.1",
        &url,
        &["-i", "-H", "Accept: text/html"],
    );
    let text = page.text();
    assert_eq!(page.status, 503);
    assert!(
        text.to_lowercase().contains("retry-after: 600\r\n"),
        "{text}"
    );
    assert!(text.contains("Back at &lt;noon&gt;"), "{text}");
    assert!(text.contains("Down for maintenance"), "{text}");
    assert!(
        !text.contains("request "),
        "a visitor can do nothing with it: {text}"
    );
}
