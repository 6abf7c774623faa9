//! A program that sets the record, called as other ACME clients call theirs:
//! `PROGRAM present NAME VALUE`, later `PROGRAM cleanup NAME VALUE`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::Place;

/// Runs the program to its end. It is killed after [`LIMIT`], or when nobody waits any more.
pub(super) async fn run(
    program: &Path,
    action: &str,
    record: &Place,
    value: &str,
) -> Result<(), String> {
    let told = || program.display();
    let mut command = Command::new(program);
    command
        .args([action, &format!("{}.", record.name), value])
        .env("WHARF_DNS_ACTION", action)
        .env("WHARF_DNS_NAME", &record.name)
        .env("WHARF_DNS_VALUE", value)
        .env("WHARF_DNS_ZONE", &record.zone)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = command
        .spawn()
        .map_err(|fault| format!("{} cannot be run: {fault}", told()))?;
    let output = tokio::time::timeout(LIMIT, child.wait_with_output())
        .await
        .map_err(|_| format!("{} {action} took longer than {LIMIT:?}", told()))?
        .map_err(|fault| format!("{} {action}: {fault}", told()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    let last = last.map(|line| format!(": {}", line.chars().take(TEXT_MAX).collect::<String>()));
    Err(format!(
        "{} {action} ended with {}{}",
        told(),
        output.status,
        last.unwrap_or_default()
    ))
}

const LIMIT: Duration = Duration::from_secs(60);
const TEXT_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn its_arguments_and_what_it_says_when_it_fails() {
        let directory = tempfile::tempdir().unwrap();
        let (program, seen) = (directory.path().join("hook"), directory.path().join("seen"));
        let text = format!(
            "#!/bin/sh\necho \"$* $WHARF_DNS_ZONE\" >>{}\n[ $1 = present ] || {{ echo no such record >&2; exit 3; }}\n",
            seen.display()
        );
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let place = Place {
            name: "_acme-challenge.a.test".into(),
            zone: "a.test".into(),
        };
        run(&program, "present", &place, "v1").await.unwrap();
        let fault = run(&program, "cleanup", &place, "v1").await.unwrap_err();
        assert!(
            fault.ends_with("cleanup ended with exit status: 3: no such record"),
            "{fault}"
        );
        let seen = std::fs::read_to_string(seen).unwrap();
        assert_eq!(
            seen,
            "present _acme-challenge.a.test. v1 a.test\ncleanup _acme-challenge.a.test. v1 a.test\n"
        );
        let fault = run(&directory.path().join("none"), "present", &place, "v").await;
        assert!(fault.unwrap_err().contains("cannot be run: No such file"));
    }
}
