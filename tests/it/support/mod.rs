pub(crate) mod pebble;
pub(crate) mod responder;
pub(crate) mod scripted_ca;
