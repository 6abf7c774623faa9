pub(crate) mod pebble;
pub(crate) mod responder;
