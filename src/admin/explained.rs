//! An [`Explanation`] for people.

use super::Explanation;
use super::layout::{Cell, Page, Tone};
use super::table::containers;

/// The text of `wharf explain`. `colour` and `width` are for terminals.
pub fn render_explanation(told: &Explanation, colour: bool, width: Option<usize>) -> String {
    let mut page = Page::new(colour, width);
    let asked = format!("{} {} from {}", told.method, told.url, told.from);
    page.line(&[Cell::of(asked)]);
    let steps = told.steps.iter().map(|step| {
        let tone = match step.state.as_str() {
            "ok" => Tone::Good,
            "note" => Tone::Warn,
            _ => Tone::Bad,
        };
        vec![
            Cell(tone, step.state.clone()),
            Cell::of(&step.name),
            Cell::of(&step.told),
        ]
    });
    page.table("Steps", &[], steps.collect());
    let endpoints = told.endpoints.iter().map(|one| {
        let good = |good| if good { Tone::Good } else { Tone::Warn };
        let endpoint = &one.endpoint;
        let mut state = endpoint.state.clone() + &endpoint.load();
        if let Some(failure) = endpoint
            .last_failure
            .as_ref()
            .filter(|_| one.dial == "connects")
        {
            state = format!("{state}; last failure: {failure}");
        }
        if let Some(check) = &endpoint.check {
            state = format!("{state}; {check}");
        }
        vec![
            Cell(Tone::Good, if one.chosen { ">" } else { " " }.to_owned()),
            Cell::of(&endpoint.container),
            Cell::of(&endpoint.address),
            Cell::of(endpoint.weight.to_string()),
            Cell(good(one.dial == "connects"), one.dial.clone()),
            Cell(good(endpoint.state == "ok"), state),
        ]
    });
    page.table(
        "Endpoints",
        &[" ", "CONTAINER", "ADDRESS", "WEIGHT", "NOW", "STATE"],
        endpoints.collect(),
    );
    containers(&mut page, &told.containers, &[]);
    let tone = if told.served { Tone::Good } else { Tone::Bad };
    page.line(&[]);
    page.line(&[Cell(tone, told.verdict.clone())]);
    for hint in &told.hints {
        page.line(&[Cell::of(format!("  - {hint}"))]);
    }
    page.finish()
}
