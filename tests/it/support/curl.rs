//! The real `curl`: the client whose messages users see.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;

use super::http::Response;

/// One request, not yet sent.
pub(crate) struct Curl {
    command: Command,
    root: Option<tempfile::NamedTempFile>,
}

/// Asks for `url` at `address`, wherever its name leads. Trusts nobody until told.
pub(crate) fn curl(url: &str, address: SocketAddr) -> Curl {
    let mut command = Command::new("curl");
    command.args(["--silent", "--noproxy", "*", "--max-time", "60"]);
    // The body is standard output, the rest standard error.
    command.args(["--write-out", "%{stderr}%{json}"]);
    command.args(["--connect-to", &format!("::{address}"), url]);
    Curl {
        command,
        root: None,
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `1.1`, `2`.
    pub(crate) version: String,
    pub(crate) location: String,
    pub(crate) body: Vec<u8>,
}

impl Curl {
    /// Trusts this root (PEM) and no other.
    pub(crate) fn root(mut self, pem: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(pem.as_bytes()).unwrap();
        self.command.arg("--cacert").arg(file.path());
        self.root = Some(file);
        self
    }

    pub(crate) fn arg(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// Sends it.
    ///
    /// # Errors
    ///
    /// curl's own words, where there is no whole answer.
    pub(crate) fn run(mut self) -> Result<Answer, String> {
        let output = self.command.output().expect("curl (Debian package curl)");
        let told: serde_json::Value = serde_json::from_slice(&output.stderr)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        if !output.status.success() {
            return Err(format!("curl: {}", told["errormsg"]));
        }
        Ok(Answer {
            status: u16::try_from(told["http_code"].as_u64().unwrap()).unwrap(),
            version: told["http_version"].as_str().unwrap().to_owned(),
            location: told["redirect_url"].as_str().unwrap_or_default().to_owned(),
            body: output.stdout,
        })
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let response = Response {
            status: self.status,
            headers: Vec::new(),
            body: self.body.clone(),
        };
        response.json()
    }
}
