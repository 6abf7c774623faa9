//! Responses that are kept and used again (RFC 9111).

// What may be kept, for how long, and for whom; pure.
pub mod rules;
// Where they are kept: memory and disk; knows no HTTP.
pub mod store;
