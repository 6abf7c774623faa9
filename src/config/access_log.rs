//! Settings of the access log: where to, how it looks, when a file makes room for the next.

use std::path::{Path, PathBuf};

use super::parse::{
    ACCESS_LOG, ACCESS_LOG_FORMAT, ACCESS_LOG_HIDE, ACCESS_LOG_ROTATE, Reader, written,
};
use super::{LogFormat, Raw};
use crate::model::{AccessFormat, HiddenQuery, LineFormat, Rotation, parse_bool, parse_size};

/// How requests are logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogConfig {
    pub to: AccessLogTo,
    /// Default: as the log.
    pub format: AccessFormat,
    /// Parameters of queries that are not logged. Default none.
    pub hidden: HiddenQuery,
}

/// Where lines of the access log go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogTo {
    Stdout,
    File {
        /// Absolute. Not yet opened.
        path: PathBuf,
        /// `None`: whoever else rotates it. Default 100 MiB, and 5 beside the one that is written.
        rotation: Option<Rotation>,
    },
}

/// `None`: requests are not logged.
pub(super) fn resolve(read: &mut Reader, raw: &Raw) -> Option<AccessLogConfig> {
    let to = read.value(ACCESS_LOG, &raw.access_log, Some(To::Stdout), to);
    let of_log = written(&raw.log_format).and_then(by_word);
    let format = read.value(
        ACCESS_LOG_FORMAT,
        &raw.access_log_format,
        of_log.map(|(_, format)| format).unwrap_or_default(),
        access_format,
    );
    let rotation = read.value(
        ACCESS_LOG_ROTATE,
        &raw.access_log_rotate,
        Some(ROTATION),
        rotation,
    );
    let hidden = read.value(
        ACCESS_LOG_HIDE,
        &raw.access_log_hide,
        HiddenQuery::None,
        str::parse,
    );
    if written(&raw.access_log_rotate).is_some() && !matches!(to, Some(To::File(_))) {
        read.warn("WHARF_ACCESS_LOG_ROTATE has no effect: WHARF_ACCESS_LOG names no file");
    }
    let to = match to? {
        To::Stdout => AccessLogTo::Stdout,
        To::File(path) => AccessLogTo::File { path, rotation },
    };
    Some(AccessLogConfig { to, format, hidden })
}

enum To {
    Stdout,
    File(PathBuf),
}

fn to(text: &str) -> Result<Option<To>, String> {
    if Path::new(text).is_absolute() {
        return match text.ends_with('/') || Path::new(text).is_dir() {
            true => Err("is a directory: name a file in it".to_owned()),
            false => Ok(Some(To::File(text.into()))),
        };
    }
    match parse_bool(text) {
        Ok(on) => Ok(on.then_some(To::Stdout)),
        Err(_) => Err("expected on, off or the absolute path of a file".to_owned()),
    }
}

/// Of the log, as far as it is the access log's too.
pub(super) fn by_word(text: &str) -> Option<(LogFormat, AccessFormat)> {
    match text.to_ascii_lowercase().as_str() {
        "text" => Some((LogFormat::Text, AccessFormat::Text)),
        "json" => Some((LogFormat::Json, AccessFormat::Json)),
        "combined" => {
            let combined = AccessFormat::Line(LineFormat::combined());
            Some((LogFormat::Text, combined))
        }
        _ => None,
    }
}

fn access_format(text: &str) -> Result<AccessFormat, String> {
    if let Some((_, format)) = by_word(text) {
        return Ok(format);
    }
    if !text.contains([' ', '$', '{']) {
        return Err("expected text, json, combined or a line with $variables".to_owned());
    }
    LineFormat::parse(text).map(AccessFormat::Line)
}

/// `size=100m keep=5`, in any order, or `off`.
fn rotation(text: &str) -> Result<Option<Rotation>, String> {
    const EXPECTED: &str = "expected size=100m keep=5 or off";
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let mut rotation = ROTATION;
    for item in text.split([' ', ',']).filter(|item| !item.is_empty()) {
        match item.split_once('=') {
            Some(("size", size)) => {
                rotation.size = parse_size(size).map_err(|fault| fault.to_string())?;
            }
            Some(("keep", keep)) => {
                rotation.keep = keep
                    .parse()
                    .map_err(|_| format!("keep={keep}: expected a number of files"))?;
            }
            _ => return Err(format!("`{item}`: {EXPECTED}")),
        }
    }
    match rotation {
        Rotation { size, .. } if size < MIN_SIZE => Err("size: 64k at least".to_owned()),
        Rotation { keep, .. } if keep > MAX_KEEP => Err(format!("keep: {MAX_KEEP} at most")),
        _ => Ok(Some(rotation)),
    }
}

const ROTATION: Rotation = Rotation {
    size: 100 << 20,
    keep: 5,
};
/// What workers hand over at once has to fit.
const MIN_SIZE: u64 = 64 << 10;
/// Each is renamed at each rotation.
const MAX_KEEP: u16 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn resolved(pairs: [Option<&str>; 5]) -> Result<Config, Vec<String>> {
        let [
            log_format,
            access_log,
            access_log_format,
            access_log_rotate,
            access_log_hide,
        ] = pairs.map(|text| text.map(str::to_owned));
        let raw = Raw {
            log_format,
            access_log,
            access_log_format,
            access_log_rotate,
            access_log_hide,
            ..Raw::default()
        };
        Config::resolve(&raw).map_err(|faults| {
            let reasons = faults.into_iter().map(|fault| fault.reason);
            reasons.collect()
        })
    }

    #[test]
    fn the_access_log_looks_like_the_log_unless_it_is_told() {
        let line = |text: &str| AccessFormat::Line(LineFormat::parse(text).unwrap());
        let combined = AccessFormat::Line(LineFormat::combined());
        for (log, access, expected) in [
            (None, None, (LogFormat::Text, AccessFormat::Text)),
            (Some("json"), None, (LogFormat::Json, AccessFormat::Json)),
            (Some("Combined"), None, (LogFormat::Text, combined.clone())),
            (Some("json"), Some("combined"), (LogFormat::Json, combined)),
            (
                Some("json"),
                Some("text"),
                (LogFormat::Json, AccessFormat::Text),
            ),
            (
                None,
                Some("$host $status"),
                (LogFormat::Text, line("$host $status")),
            ),
        ] {
            let config = resolved([log, None, access, None, None]).unwrap();
            let access = config.access_log.unwrap();
            assert_eq!((config.log_format, access.format), expected);
            assert_eq!(access.to, AccessLogTo::Stdout);
        }
    }

    #[test]
    fn a_file_is_rotated_unless_somebody_else_does() {
        let to = |file, rotate| resolved([None, Some(file), None, rotate, None]);
        let kept = |size, keep| Some(Rotation { size, keep });
        for (rotate, rotation) in [
            (None, Some(ROTATION)),
            (Some("off"), None),
            (Some("size=1m"), kept(1 << 20, 5)),
            (Some("keep=0, size=64k"), kept(64 << 10, 0)),
        ] {
            let config = to("/logs/a", rotate).unwrap();
            let path = "/logs/a".into();
            assert!(config.warnings.is_empty());
            assert_eq!(
                config.access_log.unwrap().to,
                AccessLogTo::File { path, rotation }
            );
        }
        assert_eq!(to("off", None).unwrap().access_log, None);
        assert_eq!(to("on", Some("off")).unwrap().warnings.len(), 1);
    }

    #[test]
    fn faults_say_what_was_expected() {
        for (access, format, rotate, hide, fault) in [
            (
                Some("maybe"),
                None,
                None,
                None,
                "expected on, off or the absolute path of a file",
            ),
            (
                Some("/"),
                None,
                None,
                None,
                "is a directory: name a file in it",
            ),
            (
                None,
                Some("comined"),
                None,
                None,
                "expected text, json, combined or a line with $variables",
            ),
            (
                None,
                Some("$stauts"),
                None,
                None,
                "there is no $stauts; did you mean $status?",
            ),
            (None, None, Some("size=1k"), None, "size: 64k at least"),
            (None, None, Some("keep=5000"), None, "keep: 1000 at most"),
            (
                None,
                None,
                Some("daily"),
                None,
                "`daily`: expected size=100m keep=5 or off",
            ),
            (
                None,
                None,
                None,
                Some("a=b"),
                "`a=b` is no name of a parameter",
            ),
        ] {
            assert_eq!(
                resolved([None, access, format, rotate, hide]).unwrap_err(),
                [fault]
            );
        }
    }
}
