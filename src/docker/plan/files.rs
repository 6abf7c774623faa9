//! Where the files of `wharf.static` are.

use crate::model::{Problem, Severity};

use super::{Claim, PlanOptions};

/// Places the files of all routes below the directory that they may be in. A route whose files are elsewhere answers
/// 503.
pub(super) fn place(claims: &mut [Claim<'_>], options: &PlanOptions, problems: &mut Vec<Problem>) {
    for claim in claims {
        // Those of the plan in force are placed already.
        let Some(files) = (claim.route.settings.files.as_mut()).filter(|_| !claim.kept) else {
            continue;
        };
        let placed = match &options.statics {
            Some(directory) => files.placed(directory),
            None => Err(NO_DIRECTORY.to_owned()),
        };
        match placed {
            Ok(placed) => *files = placed,
            Err(reason) => {
                problems.push(Problem {
                    severity: Severity::Error,
                    container: claim.route.container.clone(),
                    label: "wharf.static".to_owned(),
                    value: crate::docker::labels::excerpt(&files.root),
                    reason: reason.clone(),
                });
                let fault = format!("wharf.static: {reason}");
                claim.route.fault.get_or_insert(fault);
            }
        }
    }
}

const NO_DIRECTORY: &str = "Wharf has no directory of files: mount a volume at /srv in its container, or set WHARF_STATIC_DIR";
