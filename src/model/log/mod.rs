//! The access log: which requests are in it, and how their lines look.

mod format;
mod hidden;
mod mode;
mod rotation;

pub use format::{COMBINED, Escape, LineFormat, LinePiece, Variable};
pub use hidden::HiddenQuery;
pub use mode::LogMode;
pub use rotation::Rotation;

/// How lines look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AccessFormat {
    /// For people: see docs/logging.md.
    #[default]
    Text,
    /// An object with all that is known.
    Json,
    Line(LineFormat),
}

impl AccessFormat {
    /// Whether somebody has to look at the clock while a request is under way.
    pub fn is_timed(&self) -> bool {
        match self {
            Self::Text => false,
            Self::Json => true,
            Self::Line(line) => line.variables().any(Variable::is_timed),
        }
    }
}
