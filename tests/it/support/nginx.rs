//! Debian's nginx with directives of a test's own, alone or in front of the same apps as Wharf.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::eventually;
use super::origin::{Served, free_port, ok};
use super::peer::{Message, Peer};
use super::site::{Site, app};
use super::wharf::Builder;

/// A running nginx; stopped on drop. Needs the Debian package `nginx-light`.
pub(crate) struct Nginx {
    files: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Nginx {
    /// With these `server` blocks, perhaps behind a `log_format`, which need not say `listen` (but may, to `@listen`); the first is the default server. Apps hear of
    /// the client's `Host` over HTTP/1.1, and addresses in answers stay relative.
    pub(crate) fn start(servers: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let servers = match servers.contains("@listen") {
            true => servers.replace("@listen", &address.to_string()),
            false => servers.replace("server {", &format!("server {{ listen {address};")),
        };
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = temporary.map(|name| format!("{name}_temp_path {name};\n"));
        let config = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {{}}\n\
             http {{\naccess_log off;\n{}proxy_http_version 1.1;\nproxy_set_header Host $http_host;\n\
             proxy_set_header Connection \"\";\nabsolute_redirect off;\n{servers}\n}}\n",
            temporary.concat()
        );
        fs::write(files.path().join("nginx.conf"), config).unwrap();
        let log = fs::File::create(files.path().join("log")).unwrap();
        let child = Command::new("nginx")
            .args(["-e", "stderr", "-c", "nginx.conf", "-p"])
            .arg(files.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nginx (Debian package nginx-light)");
        let mut nginx = Self {
            files,
            address,
            child,
        };
        eventually("nginx listens", Duration::from_secs(20), || {
            if let Ok(Some(status)) = nginx.child.try_wait() {
                panic!("nginx: {status}: {}", nginx.log());
            }
            TcpStream::connect(address).map_err(|error| error.to_string())
        });
        nginx
    }

    /// What is in a file that a `server` block names without a directory.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.files.path().join(name)).unwrap_or_default()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.files.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- nginx ---\n{}", self.log());
        }
    }
}

/// The same apps behind both, on plain HTTP.
pub(crate) struct Both {
    pub(crate) site: Site,
    pub(crate) nginx: Nginx,
    _apps: Vec<Served>,
}

impl Both {
    /// An app of each name, with the labels that put it behind Wharf: it answers with its name and the
    /// target it got. In the `server` blocks `@name` is where it is.
    pub(crate) fn start(apps: &[(&'static str, &str)], servers: &str) -> Self {
        let echo = |name: &'static str| Served::by(move |request| ok(told(name, request)));
        let apps = apps
            .iter()
            .map(|(name, labels)| (*name, *labels, echo(name)));
        Self::of(apps.collect(), servers)
    }

    /// Apps that answer as they like.
    pub(crate) fn of(apps: Vec<(&'static str, &str, Served)>, servers: &str) -> Self {
        Self::with(apps, servers, |wharf| wharf)
    }

    /// With settings of Wharf's.
    pub(crate) fn with(
        apps: Vec<(&'static str, &str, Served)>,
        servers: &str,
        configure: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let mut servers = servers.to_owned();
        let mut containers = Vec::new();
        for (name, labels, served) in &apps {
            let at = format!("127.0.0.1:{}", served.port());
            servers = servers.replace(&format!("@{name}"), &at);
            containers.push(app(
                name,
                served.port(),
                &format!("wharf.tls: off\n{labels}"),
            ));
        }
        Self {
            site: Site::with(containers, configure),
            nginx: Nginx::start(&servers),
            _apps: apps.into_iter().map(|(.., served)| served).collect(),
        }
    }

    /// What Wharf and nginx answer.
    pub(crate) fn ask(&self, request: &str) -> (Message, Message) {
        let ask = |address| Peer::connect(address).send(request).message();
        (ask(self.site.http()), ask(self.nginx.address))
    }

    /// What both answer: status, where to, and what the app said, if one was asked.
    pub(crate) fn same(&self, request: &str) -> Message {
        let (wharf, nginx) = self.ask(request);
        assert_eq!(
            outcome(&wharf),
            outcome(&nginx),
            "Wharf, nginx: {request}{}",
            wharf.text()
        );
        wharf
    }

    /// `same` for a GET; what the app said.
    pub(crate) fn get(&self, host: &str, target: &str) -> String {
        self.same(&get(host, target)).text()
    }
}

/// A GET for a host.
pub(crate) fn get(host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

fn told(name: &str, request: &Message) -> String {
    let target = request.head.split(' ').nth(1).unwrap();
    format!("{name} {target}")
}

/// What has to be the same. Pages of their own are not.
fn outcome(answer: &Message) -> (u16, Vec<String>, Option<String>) {
    let told = ["location", "content-location", "refresh", "set-cookie"];
    let told = told.iter().flat_map(|name| {
        let values = answer.fields(name);
        values.map(move |value| format!("{name}: {value}"))
    });
    let status = answer.status();
    let text = (status == 200).then(|| answer.text());
    (status, told.collect(), text)
}
