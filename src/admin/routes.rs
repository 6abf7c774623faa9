//! The routing table for people, in the order in which requests are compared with it.

use serde::{Deserialize, Serialize};

use super::layout::{Cell, Page, Tone};

/// A route under one of its hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteLine {
    pub host: String,
    pub path: String,
    /// `wharf.match`: all of them have to be met.
    pub conditions: Vec<String>,
    pub priority: i32,
    /// Its weight, where several services have this place.
    pub share: Option<u16>,
    pub upstream: String,
    /// Whose labels define it.
    pub container: String,
    /// `auto`, `internal` ... as in `wharf.tls`.
    pub tls: String,
    /// `redirect`, `both` ... as in `wharf.https`.
    pub https: String,
    /// The host every request is sent to.
    pub to: Option<String>,
    /// Why it answers 503.
    pub fault: Option<String>,
}

/// The text of `wharf routes`: first the host, then the first line whose path and conditions fit.
pub fn render_routes(lines: &[RouteLine], colour: bool, width: Option<usize>) -> String {
    let mut page = Page::new(colour, width);
    let mut host = None;
    let rows = lines.iter().map(|line| {
        // A host once: its lines are one list.
        let first = host.replace(&line.host) != Some(&line.host);
        let mut conditions = line.conditions.join(" and ");
        for (name, value) in [
            ("priority", (line.priority != 0).then_some(line.priority)),
            ("weight", line.share.map(i32::from)),
        ] {
            if let Some(value) = value {
                let space = if conditions.is_empty() { "" } else { ", " };
                conditions += &format!("{space}{name} {value}");
            }
        }
        let to = match (&line.fault, &line.to) {
            (Some(fault), _) => Cell(Tone::Bad, format!("503: {fault}")),
            (None, Some(host)) => Cell::of(format!("redirect to {host}")),
            (None, None) => Cell::of(&line.upstream),
        };
        vec![
            Cell::of(if first { line.host.as_str() } else { "\"" }),
            Cell::of(&line.path),
            Cell::of(conditions),
            Cell::of(&line.container),
            Cell::of(&line.tls),
            Cell::of(&line.https),
            to,
        ]
    });
    let columns = ["HOST", "PATH", "ONLY", "CONTAINER", "TLS", "HTTPS", "TO"];
    let rows: Vec<_> = rows.collect();
    match rows.is_empty() {
        true => page.line(&[Cell::of("no routes")]),
        false => page.table("Routes", &columns, rows),
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_in_order_and_each_host_once() {
        let line = |path: &str, conditions: &[&str]| RouteLine {
            host: "a.test".to_owned(),
            path: path.to_owned(),
            conditions: conditions.iter().map(|c| (*c).to_owned()).collect(),
            upstream: "p/a".to_owned(),
            container: "p_a_1".to_owned(),
            tls: "auto".to_owned(),
            https: "redirect".to_owned(),
            ..RouteLine::default()
        };
        let mut last = line("/", &[]);
        (last.priority, last.share) = (-1, Some(90));
        last.fault = Some("wharf.tls: no".to_owned());
        let text = render_routes(&[line("/api", &["method:GET"]), last], false, None);
        let cells: Vec<Vec<&str>> = text
            .lines()
            .skip(3)
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|c| !c.is_empty())
                    .collect()
            })
            .collect();
        let first = [
            "a.test",
            "/api",
            "method:GET",
            "p_a_1",
            "auto",
            "redirect",
            "p/a",
        ];
        assert_eq!(cells[0], first);
        assert_eq!(cells[1][..3], ["\"", "/", "priority -1, weight 90"]);
        assert_eq!(cells[1][6], "503: wharf.tls: no");
        assert_eq!(render_routes(&[], false, None), "no routes\n");
    }
}
