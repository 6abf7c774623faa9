//! Edits of fields that a route's labels ask for (product.md S7, S8, S57).

use http::header::{HeaderName, HeaderValue};

use super::super::fields::Fields;
use super::super::page::Page;
use crate::model::{EditOp, Facts, HeaderEdit};
use crate::route::Edits;

/// Appends the fields that edits bring, where those that are there are `fields`. What edits take away,
/// [`Edits::without`] names.
pub(crate) fn write_edits(out: &mut Vec<u8>, edits: &Edits, fields: Fields<'_>, facts: &Facts<'_>) {
    for edit in &edits.all {
        let there = |edit: &HeaderEdit| {
            let name = edit.name.as_bytes();
            fields
                .iter()
                .any(|field| field.name.eq_ignore_ascii_case(name))
        };
        match edit.op {
            EditOp::Remove => continue,
            EditOp::Default if there(edit) => continue,
            EditOp::Set | EditOp::Add | EditOp::Default => {}
        }
        out.extend_from_slice(edit.name.as_bytes());
        out.extend_from_slice(b": ");
        edit.value.fill(facts, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// The same for an answer of Wharf's own.
pub(crate) fn edit_page(page: &mut Page, edits: &Edits, facts: &Facts<'_>) {
    let headers = page.headers_mut();
    for edit in &edits.all {
        let mut value = Vec::new();
        edit.value.fill(facts, &mut value);
        let name = HeaderName::from_bytes(edit.name.as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) else {
            continue;
        };
        match edit.op {
            EditOp::Remove => drop(headers.remove(name)),
            EditOp::Set => drop(headers.insert(name, value)),
            EditOp::Add => drop(headers.append(name, value)),
            EditOp::Default => {
                headers.entry(name).or_insert(value);
            }
        }
    }
}
