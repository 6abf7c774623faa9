//! Questions to name servers: where a challenge's record belongs, and whether it is there.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_net::client::{Client, ClientHandle};
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::udp::UdpClientStream;
use hickory_proto::op::{DnsResponse, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::Place;

/// The servers that are asked for others' names.
#[derive(Debug, Clone)]
pub(super) struct Resolvers(Vec<SocketAddr>);

impl Resolvers {
    /// Those given, or the system's (`resolv.conf`, as in a container).
    pub(super) fn new(given: &[SocketAddr]) -> Self {
        if !given.is_empty() {
            return Self(given.to_vec());
        }
        let text = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        let servers = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next().filter(|word| *word == "nameserver");
            address.and_then(|_| words.next()?.parse::<IpAddr>().ok())
        });
        Self(servers.map(|ip| SocketAddr::new(ip, 53)).take(3).collect())
    }

    /// Where the record for `challenge` belongs: at the end of its aliases (a CNAME delegates it to
    /// another zone), and in which zone that is.
    pub(super) async fn place(&self, challenge: &str) -> Result<Place, String> {
        let mut name = parse(challenge)?;
        for _ in 0..ALIASES {
            let answer = self.ask(&name, RecordType::CNAME).await?;
            let alias = answer.answers.iter().find_map(|record| match &record.data {
                RData::CNAME(alias) if record.name == name => Some(alias.0.clone()),
                _ => None,
            });
            match alias {
                Some(alias) => name = alias,
                None => {
                    let zone = self.zone(&name).await?;
                    return Ok(Place {
                        name: text(&name),
                        zone: text(&zone),
                    });
                }
            }
        }
        Err(format!(
            "{challenge} has more than {ALIASES} aliases (CNAME)"
        ))
    }

    /// The zone a name is in: the nearest name above that has a SOA record of its own.
    async fn zone(&self, name: &Name) -> Result<Name, String> {
        let mut at = name.clone();
        while at.num_labels() > 0 {
            let answer = self.ask(&at, RecordType::SOA).await?;
            let soa = |record: &&Record| record.record_type() == RecordType::SOA;
            // A name without one is answered with the zone's in the authority section.
            let found = answer
                .answers
                .iter()
                .find(soa)
                .filter(|record| record.name == at);
            if let Some(soa) = found.or_else(|| answer.authorities.iter().find(soa))
                && soa.name.zone_of(name)
            {
                return Ok(soa.name.clone());
            }
            at = at.base_name();
        }
        Err(format!("no zone is found for {name}"))
    }

    /// The zone's own servers.
    async fn authorities(&self, zone: &str) -> Result<Vec<SocketAddr>, String> {
        let answer = self.ask(&parse(zone)?, RecordType::NS).await?;
        let servers = answer
            .answers
            .iter()
            .filter_map(|record| match &record.data {
                RData::NS(server) => Some(server.0.clone()),
                _ => None,
            });
        let mut addresses = BTreeSet::new();
        for server in servers.take(SERVERS) {
            for kind in [RecordType::A, RecordType::AAAA] {
                let Ok(answer) = self.ask(&server, kind).await else {
                    continue;
                };
                addresses.extend(
                    answer
                        .answers
                        .iter()
                        .filter_map(|record| match record.data {
                            RData::A(a) => Some(SocketAddr::new(a.0.into(), 53)),
                            RData::AAAA(aaaa) => Some(SocketAddr::new(aaaa.0.into(), 53)),
                            _ => None,
                        }),
                );
            }
        }
        match addresses.is_empty() {
            true => Err(format!("no name server of {zone} has an address")),
            false => Ok(addresses.into_iter().collect()),
        }
    }

    /// Waits until every server of the zone that answers has the value, and at least one does.
    pub(super) async fn wait(
        &self,
        place: &Place,
        value: &str,
        limit: Duration,
    ) -> Result<(), String> {
        let end = Instant::now() + limit;
        let name = parse(&place.name)?;
        let servers = self.authorities(&place.zone).await?;
        let mut pause = PAUSE_FIRST;
        loop {
            let asked = servers
                .iter()
                .map(|server| one(*server, &name, RecordType::TXT));
            let answers = futures_util::future::join_all(asked).await;
            let mut silent = 0;
            let mut behind = None;
            for (server, answer) in servers.iter().zip(answers) {
                match answer {
                    Ok(answer) if holds(&answer, value) => {}
                    Ok(_) => behind = Some(server),
                    Err(_) => silent += 1,
                }
            }
            let told = match behind {
                Some(server) => format!("the name server {server} does not have it"),
                None if silent == servers.len() => "none of its name servers answers".to_owned(),
                None => return Ok(()),
            };
            if Instant::now() + pause > end {
                let Place { name, .. } = place;
                return Err(format!("TXT {name}, {limit:?} after it was set: {told}"));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MOST);
        }
    }

    /// The TXT records each of the zone's servers that answers has.
    pub(super) async fn texts(&self, place: &Place) -> Result<Vec<Vec<String>>, String> {
        let name = parse(&place.name)?;
        let servers = self.authorities(&place.zone).await?;
        let asked = servers
            .iter()
            .map(|server| one(*server, &name, RecordType::TXT));
        let answers = futures_util::future::join_all(asked).await;
        let told: Vec<_> = answers.iter().flatten().map(texts).collect();
        match told.is_empty() {
            true => Err(format!(
                "none of the name servers of {} answers",
                place.zone
            )),
            false => Ok(told),
        }
    }

    /// The first answer of a resolver that has one, "no such name" included.
    async fn ask(&self, name: &Name, kind: RecordType) -> Result<DnsResponse, String> {
        let mut told = format!("{RESOLV_CONF} names no name server");
        for server in &self.0 {
            match one(*server, name, kind).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => told = fault,
            }
        }
        Err(told)
    }
}

/// One question to one server.
async fn one(server: SocketAddr, name: &Name, kind: RecordType) -> Result<DnsResponse, String> {
    let stream = UdpClientStream::builder(server, TokioRuntimeProvider::new())
        .with_timeout(Some(LIMIT))
        .build();
    let (mut client, background) = Client::<TokioRuntimeProvider>::from_sender(stream);
    let asked = client.query(name.clone(), DNSClass::IN, kind);
    let answer = tokio::select! {
        answer = tokio::time::timeout(LIMIT, asked) => answer,
        // Ends with the last client; this one lives until here.
        _ = background => return Err(format!("{server}: cannot be asked")),
    };
    let answer = answer
        .map_err(|_| format!("{server} does not answer for {kind} {name}"))?
        .map_err(|fault| format!("{server}, asked for {kind} {name}: {fault}"))?;
    match answer.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer),
        code => Err(format!("{server}, asked for {kind} {name}: {code}")),
    }
}

fn holds(answer: &DnsResponse, value: &str) -> bool {
    answer.answers.iter().any(|record| match &record.data {
        RData::TXT(text) => text.txt_data.concat() == value.as_bytes(),
        _ => false,
    })
}

fn texts(answer: &DnsResponse) -> Vec<String> {
    let texts = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
            _ => None,
        });
    texts.collect()
}

fn parse(name: &str) -> Result<Name, String> {
    Name::from_ascii(format!("{name}.")).map_err(|fault| format!("{name}: {fault}"))
}

fn text(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Of one question.
const LIMIT: Duration = Duration::from_secs(3);
const ALIASES: usize = 8;
/// Name servers of one zone that are looked up.
const SERVERS: usize = 8;
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MOST: Duration = Duration::from_secs(5);
