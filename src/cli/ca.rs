//! `wharf ca`: the built-in CA's root, and how systems come to trust it.

use std::fs;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use http::StatusCode;

use super::ask::{Where, Whom, address, fetch};
use crate::{Failure, cli};

/// `wharf ca` and what follows.
#[derive(Debug, Args)]
pub(crate) struct Ca {
    #[command(subcommand)]
    act: Act,
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Print the root certificate as PEM
    Export,
    /// Print how to make a system trust the root; it changes nothing
    Install {
        /// Only for this one
        system: Option<System>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum System {
    Debian,
    Fedora,
    Arch,
    Alpine,
    Macos,
    Windows,
    Firefox,
    Chromium,
    Android,
    Ios,
    Java,
    Node,
    Python,
    Curl,
}

pub(crate) fn ca(ca: Ca) -> Result<(), Failure> {
    match ca.act {
        Act::Export => cli::print(&root(ca.whom.admin, ca.place.data)?),
        Act::Install { system } => cli::print(&steps(system)),
    }
}

/// What the running Wharf uses, else what is on disk.
fn root(admin: Option<String>, data: Option<String>) -> Result<String, Failure> {
    let address = address(admin)?;
    let asked = match fetch(address, "/ca.crt") {
        Ok((StatusCode::OK, pem)) => {
            return Ok(String::from_utf8(pem.to_vec()).context("what came is no PEM")?);
        }
        Ok((status, _)) => anyhow!("{address} answered /ca.crt with {status}"),
        Err(error) => error,
    };
    let file = std::path::Path::new(data.as_deref().unwrap_or("/data")).join("ca/ca.crt");
    let read = fs::read_to_string(&file);
    Ok(read.map_err(|_| {
        asked.context(format!(
            "no Wharf answers, and there is no {}",
            file.display()
        ))
    })?)
}

fn steps(system: Option<System>) -> String {
    let mut text = INTRODUCTION.to_owned();
    for (of, steps) in STEPS {
        if system.is_none_or(|system| system == *of) {
            text.push('\n');
            text.push_str(steps);
        }
    }
    text
}

const INTRODUCTION: &str = "\
First get the root certificate, here as wharf-ca.crt:

  docker exec <wharf's container> /wharf ca export > wharf-ca.crt
  openssl x509 -in wharf-ca.crt -noout -subject -fingerprint -sha256   # to compare on other machines

Its key never leaves Wharf's data directory. It can certify local names, private addresses and what
WHARF_CA_NAMES lists, and nothing else. The second command of each system takes it away again.
";

const STEPS: &[(System, &str)] = &[
    (System::Debian, "\
Debian, Ubuntu (as root)
  cp wharf-ca.crt /usr/local/share/ca-certificates/ && update-ca-certificates
  rm /usr/local/share/ca-certificates/wharf-ca.crt && update-ca-certificates --fresh
"),
    (System::Fedora, "\
Fedora, RHEL, CentOS (as root)
  cp wharf-ca.crt /etc/pki/ca-trust/source/anchors/ && update-ca-trust
  rm /etc/pki/ca-trust/source/anchors/wharf-ca.crt && update-ca-trust
"),
    (System::Arch, "\
Arch (as root)
  trust anchor --store wharf-ca.crt
  trust anchor --remove wharf-ca.crt
"),
    (System::Alpine, "\
Alpine (as root)
  apk add ca-certificates && cp wharf-ca.crt /usr/local/share/ca-certificates/ && update-ca-certificates
  rm /usr/local/share/ca-certificates/wharf-ca.crt && update-ca-certificates
"),
    (System::Macos, "\
macOS
  sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain wharf-ca.crt
  sudo security remove-trusted-cert -d wharf-ca.crt
"),
    (System::Windows, "\
Windows (as administrator; for one user alone: -user in front of -addstore and -delstore)
  certutil -addstore Root wharf-ca.crt
  certutil -delstore Root \"<serial number that certutil -dump wharf-ca.crt shows>\"
"),
    (System::Firefox, "\
Firefox (has a store of its own; or set security.enterprise_roots.enabled in about:config to use the system's)
  Settings, Privacy & Security, View Certificates, Authorities, Import; trust it for websites
  the same place, Delete or Distrust
"),
    (System::Chromium, "\
Chromium, Chrome on Linux (one NSS store for each user; certutil is in libnss3-tools or nss-tools)
  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n wharf -i wharf-ca.crt
  certutil -d sql:$HOME/.pki/nssdb -D -n wharf
  If there is no store yet: mkdir -p $HOME/.pki/nssdb && certutil -d sql:$HOME/.pki/nssdb -N --empty-password
"),
    (System::Android, "\
Android (browsers follow; other apps only if they say so)
  Settings, Security, Encryption & credentials, Install a certificate, CA certificate
  the same place, User credentials
"),
    (System::Ios, "\
iOS, iPadOS
  open the file, install the profile in Settings, then switch it on in General, About, Certificate Trust Settings
  General, VPN & Device Management, remove the profile
"),
    (System::Java, "\
Java (each JDK has a store of its own)
  keytool -importcert -cacerts -storepass changeit -noprompt -alias wharf -file wharf-ca.crt
  keytool -delete -cacerts -storepass changeit -alias wharf
"),
    (System::Node, "\
Node.js (reads no system store by itself)
  export NODE_EXTRA_CA_CERTS=$PWD/wharf-ca.crt
  unset NODE_EXTRA_CA_CERTS
"),
    (System::Python, "\
Python (requests; `ssl` and urllib read the system's store, or SSL_CERT_FILE)
  cat \"$(python3 -m certifi)\" wharf-ca.crt > bundle.pem; export REQUESTS_CA_BUNDLE=$PWD/bundle.pem
  unset REQUESTS_CA_BUNDLE
"),
    (System::Curl, "\
curl (reads the system's store; for one call)
  curl --cacert wharf-ca.crt https://app.localhost/
"),
];
