//! `WHARF_DEFAULT_HOST`: the host of containers that ask for none.

use super::{Host, HostPattern};

/// A host with `{service}`, `{project}` and `{name}` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultHost(String);

/// Names of a container.
#[derive(Debug, Clone, Copy)]
pub struct HostWords<'a> {
    /// The compose or Swarm service, else the name.
    pub service: &'a str,
    /// The compose project.
    pub project: Option<&'a str>,
    pub name: &'a str,
}

impl DefaultHost {
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let template = Self(text.trim().to_owned());
        let words = HostWords {
            service: "web",
            project: Some("shop"),
            name: "shop-web-1",
        };
        template.fill(words)?;
        match template.0.contains('{') {
            true => Ok(template),
            false => Err("all containers would have one host: {service}, {project} or {name} tells them apart".to_owned()),
        }
    }

    /// The host of a container: each word in lower case, anything but letters, digits and `-` made `-`.
    ///
    /// # Errors
    /// What it has no word for, or why the outcome is no host.
    pub fn fill(&self, words: HostWords<'_>) -> Result<Host, String> {
        let mut host = String::new();
        let mut rest = self.0.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            host.push_str(before);
            let (word, after) = after.split_once('}').ok_or("a `{` without its `}`")?;
            let value = match word {
                "service" => words.service,
                "project" => words
                    .project
                    .ok_or("it is in no compose project, and {project} has no value")?,
                "name" => words.name,
                other => {
                    return Err(format!(
                        "there is no {{{}}}; there are {{service}} {{project}} {{name}}",
                        other.escape_debug()
                    ));
                }
            };
            host.push_str(&label(value));
            rest = after;
        }
        host.push_str(rest);
        match HostPattern::parse(&host) {
            Ok(HostPattern::Exact(host)) => Ok(host),
            Ok(_) => Err(format!(
                "`{}` is a pattern, not one host",
                host.escape_debug()
            )),
            Err(error) => Err(format!("`{}` is no host: {error}", host.escape_debug())),
        }
    }
}

/// As written.
impl std::fmt::Display for DefaultHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name as a label of a host name (RFC 1123 section 2.1).
fn label(name: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '-',
    };
    let label: String = name.chars().map(plain).collect();
    label.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, words: HostWords<'_>) -> String {
        let template = DefaultHost::parse(template).unwrap();
        match template.fill(words) {
            Ok(host) => host.to_string(),
            Err(reason) => reason,
        }
    }

    #[test]
    fn names_become_labels_of_a_host() {
        let words = HostWords {
            service: "My_App.v2",
            project: Some("shop"),
            name: "shop_My_App_1",
        };
        for (template, host) in [
            ("{service}.example.com", "my-app-v2.example.com"),
            (
                "{service}-{project}.example.com",
                "my-app-v2-shop.example.com",
            ),
            ("{name}.localhost", "shop-my-app-1.localhost"),
        ] {
            assert_eq!(filled(template, words), host);
        }
        let lonely = HostWords {
            service: "__",
            project: None,
            name: "x",
        };
        for (template, part) in [
            ("{project}.a.test", "in no compose project"),
            ("{service}.a.test", "`.a.test` is no host"),
        ] {
            let reason = filled(template, lonely);
            assert!(reason.contains(part), "{template}: {reason}");
        }
        let long = "x".repeat(64);
        let long = HostWords {
            service: &long,
            ..lonely
        };
        assert!(filled("{service}.a.test", long).contains("is no host"));
    }

    #[test]
    fn a_template_is_looked_at_when_wharf_starts() {
        for (text, part) in [
            ("example.com", "would have one host"),
            ("{servcie}.example.com", "there is no {servcie}"),
            ("{service.example.com", "without its `}`"),
            ("*.{service}.com", "a pattern"),
            ("{service}_x.a b", "is no host"),
        ] {
            let reason = DefaultHost::parse(text).unwrap_err();
            assert!(reason.contains(part), "{text}: {reason}");
        }
    }
}
