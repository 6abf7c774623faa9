//! What the engine told of a project's containers.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::load::clock;

/// Events as they came; ends on drop.
pub(super) struct History {
    events: Arc<Mutex<Vec<Event>>>,
    docker: Child,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) at: SystemTime,
    pub(super) action: String,
    /// The container's id.
    pub(super) id: String,
}

impl History {
    /// Of containers that `filter` is for, from now on.
    pub(super) fn of(filter: &str) -> Self {
        let format = "{{.TimeNano}} {{.Action}} {{.ID}}";
        // The past second again, so that none is lost between now and the subscription.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let mut docker = Command::new("docker");
        docker
            .args(["events", "--since", &since.to_string()])
            .args(["--filter", filter, "--filter", "type=container"])
            .args(["--format", format]);
        let mut docker = docker.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(docker.stdout.take().unwrap()).lines();
        let events = Arc::<Mutex<Vec<Event>>>::default();
        let reader = std::thread::spawn({
            let events = Arc::clone(&events);
            move || {
                let read = lines.map_while(Result::ok);
                read.filter_map(|line| parse(&line))
                    .for_each(|event| events.lock().unwrap().push(event));
            }
        });
        Self {
            events,
            docker,
            reader: Some(reader),
        }
    }

    pub(super) fn all(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// From each first `kill` of a container to the next `start` of another.
    pub(super) fn gaps(&self) -> Vec<Duration> {
        let mut gaps = Vec::new();
        let mut killed: Option<Event> = None;
        for event in self.all() {
            match (&*event.action, &killed) {
                ("kill", None) => killed = Some(event),
                ("start", Some(kill)) => {
                    gaps.push(event.at.duration_since(kill.at).unwrap_or_default());
                    killed = None;
                }
                _ => {}
            }
        }
        gaps
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Event { at, action, id } in self.all() {
            writeln!(f, "  {} {action} {}", clock(at), &id[..12])?;
        }
        Ok(())
    }
}

impl Drop for History {
    fn drop(&mut self) {
        let _ = self.docker.kill();
        let _ = self.docker.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn parse(line: &str) -> Option<Event> {
    let mut words = line.splitn(3, ' ');
    let nanos = words.next()?.parse().ok()?;
    let action = words.next()?.to_owned();
    let id = words.next()?.to_owned();
    let at = UNIX_EPOCH + Duration::from_nanos(nanos);
    Some(Event { at, action, id })
}
