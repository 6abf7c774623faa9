//! APIs of DNS providers, as far as TXT records go, in front of a real name server. Only because the real
//! ones cannot be used: they check credentials, and what they are told is in the zone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, Weak};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;

use super::named::{FIRST, Named};

/// Listens until the test process ends.
pub(crate) struct DnsApi {
    address: SocketAddr,
    files: tempfile::TempDir,
    seen: Arc<Mutex<Vec<String>>>,
}

/// A request as it came.
struct Asked {
    method: String,
    target: String,
    /// Names in lower case.
    fields: Vec<(String, String)>,
    body: String,
}

/// Status and body.
type Answer = (u16, String);

impl DnsApi {
    /// Cloudflare's, for whoever has this token. It is reached by its own name through a proxy.
    pub(crate) fn cloudflare(named: &Arc<Named>, token: &str) -> Self {
        let (zone, token) = (Zone::of(named), format!("Bearer {token}"));
        Self::start(true, move |asked| {
            match asked.field("authorization") == token {
                true => zone.cloudflare(asked),
                false => (
                    403,
                    json!({ "success": false, "result": null, "errors":
                [{ "code": 9109, "message": "Invalid access token" }] })
                    .to_string(),
                ),
            }
        })
    }

    /// Route 53's, for requests that are signed with this key (AWS Signature Version 4).
    pub(crate) fn route53(named: &Arc<Named>, id: &'static str, key: &'static str) -> Self {
        let zone = Zone::of(named);
        Self::start(false, move |asked| {
            match asked.is_signed(id, key) {
            true => zone.route53(asked),
            false => (403, "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code>\
                <Message>The request signature we calculated does not match</Message></Error></ErrorResponse>".into()),
        }
        })
    }

    fn start(tls: bool, answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let files = tempfile::tempdir().unwrap();
        super::pebble::write_certificate(files.path(), &["api.cloudflare.com"]);
        let chain = CertificateDer::from_pem_file(files.path().join("leaf.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(files.path().join("leaf.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, answer) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(answer));
        let told = Arc::clone(&seen);
        std::thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                let (answer, told, config) = (answer.clone(), told.clone(), config.clone());
                std::thread::spawn(move || {
                    let mut tcp = tcp;
                    if !tls {
                        return serve(tcp, &*answer, &told);
                    }
                    // RFC 9110 section 9.3.6, as a company's proxy.
                    let connect = read(&mut BufReader::new(&tcp)).unwrap();
                    assert_eq!(
                        (&*connect.method, &*connect.target),
                        ("CONNECT", "api.cloudflare.com:443")
                    );
                    tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                    let session = rustls::ServerConnection::new(config).unwrap();
                    serve(rustls::StreamOwned::new(session, tcp), &*answer, &told);
                });
            }
        });
        Self {
            address,
            files,
            seen,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Of its own certificate.
    pub(crate) fn root(&self) -> String {
        self.files.path().join("ca.pem").display().to_string()
    }

    /// Methods of the requests so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// The first zone, and the values of its TXT records.
struct Zone {
    /// The listener never ends, and must not keep it.
    named: Weak<Named>,
    /// Id, name without the last dot, value.
    records: Mutex<Vec<(usize, String, String)>>,
}

impl Zone {
    fn of(named: &Arc<Named>) -> Self {
        Self {
            named: Arc::downgrade(named),
            records: Mutex::default(),
        }
    }

    fn update(&self, lines: &str) {
        self.named.upgrade().expect("a name server").update(lines);
    }

    fn add(&self, name: &str, value: &str) {
        let mut records = self.records.lock().unwrap();
        let id = records.last().map_or(1, |(id, ..)| id + 1);
        records.push((id, name.to_owned(), value.to_owned()));
        self.update(&format!("update add {name}. 60 TXT \"{value}\""));
    }

    fn remove(&self, which: impl Fn(&(usize, String, String)) -> bool) {
        let mut records = self.records.lock().unwrap();
        for (_, name, value) in records.extract_if(.., |record| which(record)) {
            self.update(&format!("update delete {name}. TXT \"{value}\""));
        }
    }

    fn cloudflare(&self, asked: &Asked) -> Answer {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let parameter = |name: &str| {
            let mut all = query.split('&').filter_map(|one| one.split_once('='));
            let found = all.find(|(key, _)| *key == name);
            found.map_or("", |(_, value)| value)
        };
        let result = match (&*asked.method, path.trim_start_matches("/client/v4/zones")) {
            ("GET", "") if parameter("name") == FIRST => json!([{ "id": "z1", "name": FIRST }]),
            ("GET", "") => json!([]),
            ("GET", "/z1/dns_records") => {
                assert_eq!((parameter("type"), parameter("match")), ("TXT", "all"));
                let records = self.records.lock().unwrap();
                let records = records
                    .iter()
                    .filter(|(_, name, _)| name == parameter("name"));
                let records = records.map(|(id, _, value)| {
                    json!({
                        "id": id.to_string(), "type": "TXT", "content": format!("\"{value}\""),
                    })
                });
                records.collect()
            }
            ("POST", "/z1/dns_records") => {
                let record: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
                assert_eq!(record["type"], "TXT");
                let word = |name: &str| record[name].as_str().unwrap().trim_matches('"').to_owned();
                self.add(&word("name"), &word("content"));
                json!({})
            }
            ("DELETE", path) => {
                let id = path.trim_start_matches("/z1/dns_records/");
                self.remove(|record| record.0.to_string() == id);
                json!({})
            }
            other => panic!("{other:?}"),
        };
        let answer = json!({ "success": true, "errors": [], "messages": [], "result": result });
        (200, answer.to_string())
    }

    fn route53(&self, asked: &Asked) -> Answer {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let body = match (&*asked.method, path) {
            ("GET", "/2013-04-01/hostedzonesbyname") => format!(
                "<ListHostedZonesByNameResponse><HostedZones><HostedZone><Id>/hostedzone/Z1</Id>\
                 <Name>{FIRST}.</Name><CallerReference>x</CallerReference><Config>\
                 <PrivateZone>false</PrivateZone></Config></HostedZone></HostedZones>\
                 <IsTruncated>false</IsTruncated><MaxItems>100</MaxItems></ListHostedZonesByNameResponse>"
            ),
            ("GET", "/2013-04-01/hostedzone/Z1/rrset") => {
                let name = query
                    .split('&')
                    .find_map(|one| one.strip_prefix("name="))
                    .unwrap();
                let name = name.trim_end_matches('.');
                let records = self.records.lock().unwrap();
                let values = records.iter().filter(|(_, of, _)| of == name);
                let values = values.map(|(.., value)| {
                    format!("<ResourceRecord><Value>\"{value}\"</Value></ResourceRecord>")
                });
                let values: String = values.collect();
                let set = match values.is_empty() {
                    true => String::new(),
                    false => format!(
                        "<ResourceRecordSet><Name>{name}.</Name><Type>TXT</Type><TTL>60</TTL>\
                         <ResourceRecords>{values}</ResourceRecords></ResourceRecordSet>"
                    ),
                };
                format!(
                    "<ListResourceRecordSetsResponse><ResourceRecordSets>{set}</ResourceRecordSets>\
                     <IsTruncated>false</IsTruncated><MaxItems>300</MaxItems></ListResourceRecordSetsResponse>"
                )
            }
            ("POST", "/2013-04-01/hostedzone/Z1/rrset") => {
                // A change is of the whole set.
                for change in asked.body.split("<Change>").skip(1) {
                    let name = between(change, "Name").trim_end_matches('.').to_owned();
                    self.remove(|(_, of, _)| *of == name);
                    if between(change, "Action") != "DELETE" {
                        for value in change.split("<Value>").skip(1) {
                            let value = value.split("</Value>").next().unwrap();
                            self.add(&name, value.replace("&quot;", "\"").trim_matches('"'));
                        }
                    }
                }
                "<ChangeResourceRecordSetsResponse/>".to_owned()
            }
            other => panic!("{other:?}"),
        };
        (200, format!("<?xml version=\"1.0\"?>{body}"))
    }
}

/// The text of the first such element.
fn between<'t>(xml: &'t str, element: &str) -> &'t str {
    let (_, rest) = xml.split_once(&format!("<{element}>")).unwrap();
    rest.split_once(&format!("</{element}>")).unwrap().0
}

impl Asked {
    fn field(&self, name: &str) -> &str {
        let mut fields = self.fields.iter();
        let found = fields.find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    fn is_signed(&self, id: &str, key: &str) -> bool {
        let part = |name: &str| {
            let (_, rest) = self.field("authorization").split_once(name)?;
            rest.split([',', ' ']).next().map(str::to_owned)
        };
        let (Some(credential), Some(names), Some(signature)) = (
            part("Credential="),
            part("SignedHeaders="),
            part("Signature="),
        ) else {
            return false;
        };
        let Some(scope) = credential.strip_prefix(&format!("{id}/")) else {
            return false;
        };
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let mut query: Vec<_> = query.split('&').collect();
        query.sort_unstable();
        let fields = names
            .split(';')
            .map(|name| format!("{name}:{}\n", self.field(name)));
        let canonical = format!(
            "{}\n{path}\n{}\n{}\n{names}\n{}",
            self.method,
            query.join("&"),
            fields.collect::<String>(),
            hex(digest(&SHA256, self.body.as_bytes()).as_ref())
        );
        let text = format!(
            "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
            self.field("x-amz-date"),
            hex(digest(&SHA256, canonical.as_bytes()).as_ref())
        );
        let sign = |key: &[u8], text: &str| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
        };
        let first = format!("AWS4{key}").into_bytes();
        let key = scope.split('/').fold(first, |key, part| sign(&key, part));
        hex(&sign(&key, &text)) == signature
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Answers request after request.
fn serve(stream: impl Read + Write, answer: &dyn Fn(&Asked) -> Answer, seen: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream) {
        seen.lock().unwrap().push(asked.method.clone());
        let (status, body) = answer(&asked);
        let length = body.len();
        let text = format!("HTTP/1.1 {status} Told\r\nContent-Length: {length}\r\n\r\n{body}");
        if stream.get_mut().write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(stream: &mut impl BufRead) -> Option<Asked> {
    let line = |stream: &mut dyn BufRead| {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    };
    let first = line(stream)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut fields = Vec::new();
    loop {
        let line = line(stream)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut asked = Asked {
        method,
        target,
        fields,
        body: String::new(),
    };
    let length: u64 = asked.field("content-length").parse().unwrap_or(0);
    stream.take(length).read_to_string(&mut asked.body).ok()?;
    Some(asked)
}
