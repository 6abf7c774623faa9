use std::fs;
use std::future::poll_fn;

use tempfile::TempDir;

use super::*;
use crate::model::{FilesSpec, PathGlob};

struct Site {
    dir: TempDir,
    root: WebRoot,
    recent: Recent,
}

fn site(change: impl FnOnce(&mut FilesSpec), guarded: bool) -> Site {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("assets")).unwrap();
    fs::write(dir.path().join("index.html"), "<h1>home</h1>").unwrap();
    fs::write(dir.path().join("assets/app.js"), "0123456789").unwrap();
    fs::write(dir.path().join("big.txt"), vec![b'x'; 100_000]).unwrap();
    let mut spec = FilesSpec {
        directory: dir.path().to_owned(),
        ..FilesSpec::default()
    };
    change(&mut spec);
    Site {
        root: WebRoot::compile(&spec, guarded),
        dir,
        recent: Recent::default(),
    }
}

impl Site {
    async fn ask(
        &self,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Answer, String> {
        let mut asked = Asked::default();
        for (name, value) in fields {
            asked.add(name.as_bytes(), value.as_bytes());
        }
        let hit = self.root.find(&self.recent, path, &asked).await;
        let found = match hit.map_err(|fault| fault.to_string())? {
            Hit::File(found) => found,
            Hit::Folder(at) => return Err(format!("moved to {at}")),
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let reply = self.root.reply(&found, path, &asked, &method, now);
        let mut reply = reply.map_err(|fault| fault.to_string())?;
        let mut body = Vec::new();
        while poll_fn(|cx| reply.body.poll_fill(cx)).await.unwrap() {
            let data = reply.body.data();
            body.extend_from_slice(data);
            let count = data.len();
            reply.body.consume(count);
        }
        assert_eq!(body.len() as u64, reply.length);
        Ok(Answer {
            status: reply.status.as_u16(),
            fields: reply.fields,
            body: String::from_utf8(body).unwrap(),
        })
    }

    async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Result<Answer, String> {
        self.ask(Method::GET, path, fields).await
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    fields: HeaderMap,
    body: String,
}

impl Answer {
    fn field(&self, name: &str) -> &str {
        self.fields
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// S70: parts of a file, one and several.
#[tokio::test]
async fn parts_of_small_and_large_files() {
    let site = site(|_| {}, false);
    for path in ["/assets/app.js", "/big.txt"] {
        let whole = site.get(path, &[]).await.unwrap();
        let (etag, size) = (whole.field("etag").to_owned(), whole.body.len());
        assert_eq!((whole.status, whole.field("accept-ranges")), (200, "bytes"));
        let part = site.get(path, &[("range", "bytes=2-4")]).await.unwrap();
        assert_eq!((part.status, &*part.body), (206, &whole.body[2..5]));
        assert_eq!(part.field("content-range"), format!("bytes 2-4/{size}"));
        let fields = [("range", "bytes=2-4"), ("if-range", &*etag)];
        assert_eq!(site.get(path, &fields).await.unwrap().status, 206);
        let fields = [("range", "bytes=2-4"), ("if-range", "\"other\"")];
        assert_eq!(site.get(path, &fields).await.unwrap().status, 200);
        let head = site
            .ask(Method::HEAD, path, &[("range", "bytes=2-4")])
            .await
            .unwrap();
        assert_eq!((head.status, head.body.len()), (200, size));
        let beyond = site
            .get(path, &[("range", "bytes=200000-")])
            .await
            .unwrap_err();
        assert_eq!(beyond, Fault::NoPart(size as u64).to_string());
        let two = site.get(path, &[("range", "bytes=0-1,-2")]).await.unwrap();
        let boundary = two
            .field("content-type")
            .strip_prefix("multipart/byteranges; boundary=");
        let boundary = boundary.unwrap().to_owned();
        let parts: Vec<&str> = two.body.split(&format!("--{boundary}")).collect();
        assert_eq!((two.status, parts.len(), parts[3]), (206, 4, "--\r\n"));
        for (part, (range, text)) in parts[1..3].iter().zip([
            (format!("bytes 0-1/{size}"), &whole.body[..2]),
            (
                format!("bytes {}-{}/{size}", size - 2, size - 1),
                &whole.body[size - 2..],
            ),
        ]) {
            let (head, body) = part.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Range: {range}")), "{part}");
            assert!(head.contains(&format!("Content-Type: {}", whole.field("content-type"))));
            assert_eq!(body, format!("{text}\r\n"));
        }
    }
}

/// S70: a client that has a file is told so, with the fields that a 200 has (RFC 9110 section 15.4.5).
#[tokio::test]
async fn clients_that_have_it_get_no_body() {
    let site = site(|spec| spec.expires = Some(Duration::from_secs(60)), false);
    let whole = site.get("/assets/app.js", &[]).await.unwrap();
    let known = [("if-none-match", whole.field("etag"))];
    let same = site.get("/assets/app.js", &known).await.unwrap();
    assert_eq!((same.status, &*same.body), (304, ""));
    for name in [
        "etag",
        "cache-control",
        "expires",
        "vary",
        "date",
        "last-modified",
    ] {
        assert!(!same.field(name).is_empty(), "{name}");
        assert_eq!(same.field(name), whole.field(name), "{name}");
    }
    assert_eq!(same.field("content-type"), "");
    let changed = [("if-match", "\"other\"")];
    let changed = site.get("/assets/app.js", &changed).await.unwrap_err();
    assert_eq!(changed, Fault::Changed.to_string());
}

/// S70: `expires 30d`, `Cache-Control: public, immutable`.
#[tokio::test]
async fn files_are_kept_as_labels_say() {
    let month = |spec: &mut FilesSpec| spec.expires = Some(Duration::from_secs(2_592_000));
    let glob = |spec: &mut FilesSpec| spec.forever = vec![PathGlob::parse("/assets/**").unwrap()];
    let of = async |site: Site, path: &str| {
        let answer = site.get(path, &[]).await.unwrap();
        (
            answer.field("cache-control").to_owned(),
            answer.field("expires").to_owned(),
        )
    };
    let plain = of(site(|_| {}, false), "/big.txt").await;
    assert_eq!(plain, (String::new(), String::new()));
    let (control, expires) = of(site(month, false), "/big.txt").await;
    assert_eq!(control, "public, max-age=2592000");
    assert_eq!(expires, "Tue, 06 Dec 1994 08:49:37 GMT");
    let all = site(
        |spec| {
            month(spec);
            spec.immutable = true
        },
        false,
    );
    assert_eq!(
        of(all, "/big.txt").await.0,
        "public, max-age=2592000, immutable"
    );
    let some = |spec: &mut FilesSpec| {
        month(spec);
        glob(spec)
    };
    assert_eq!(
        of(site(some, false), "/big.txt").await.0,
        "public, max-age=2592000"
    );
    let kept = of(site(some, false), "/assets/app.js").await.0;
    assert_eq!(kept, "public, max-age=31536000, immutable");
    let below = |spec: &mut FilesSpec| {
        some(spec);
        spec.base = "/static".into()
    };
    assert_eq!(
        of(site(below, false), "/static/assets/app.js").await.0,
        kept
    );
    // Behind a login caches of many must not have it.
    let guarded = of(site(month, true), "/big.txt").await;
    assert_eq!(guarded, ("private, max-age=2592000".into(), String::new()));
    // The page that names the assets is asked for anew.
    let shell = of(
        site(
            |spec| {
                some(spec);
                spec.spa = true
            },
            false,
        ),
        "/",
    )
    .await;
    assert_eq!(shell.0, "no-cache");
}

/// S70: unknown paths of a single-page site are its page, but for what only a page asks for.
#[tokio::test]
async fn a_single_page_site_has_a_page_for_every_path() {
    let site = site(
        |spec| {
            spec.spa = true;
            spec.forever = vec![PathGlob::parse("/assets/**").unwrap()];
        },
        false,
    );
    let browser = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    for (path, fields, page) in [
        ("/", &[browser][..], true),
        ("/some/page", &[browser], true),
        ("/user/john.doe", &[browser], true),
        ("/some/page/", &[browser], true),
        ("/some/page", &[], true),
        ("/some/page", &[("accept", "*/*")], true),
        (
            "/some/page",
            &[("accept", "*/*"), ("sec-fetch-mode", "cors")],
            false,
        ),
        (
            "/some/page",
            &[("accept", "*/*"), ("sec-fetch-mode", "navigate")],
            true,
        ),
        ("/some/page", &[("accept", "application/json")], false),
        ("/missing.js", &[browser], false),
        ("/missing.png", &[browser], false),
        ("/assets/missing", &[browser], false),
        ("/.git/config", &[browser], false),
    ] {
        let answer = site.get(path, fields).await;
        match page {
            true => assert_eq!(answer.unwrap().body, "<h1>home</h1>", "{path} {fields:?}"),
            false => assert_eq!(
                answer.unwrap_err(),
                Fault::None.to_string(),
                "{path} {fields:?}"
            ),
        }
    }
    assert_eq!(
        site.get("/assets", &[browser]).await.unwrap_err(),
        "moved to /assets/"
    );
    assert_eq!(
        site.get("/assets/app.js", &[browser]).await.unwrap().body,
        "0123456789"
    );
}

/// S70: a file that was replaced is seen a second later at most; what goes out is whole either way.
#[tokio::test]
async fn small_files_are_read_once_a_second() {
    let site = site(|_| {}, false);
    let first = site.get("/assets/app.js", &[]).await.unwrap();
    fs::write(site.dir.path().join("assets/app.js"), "new").unwrap();
    let again = site.get("/assets/app.js", &[]).await.unwrap();
    assert_eq!(
        (&again.body, again.field("etag")),
        (&first.body, first.field("etag"))
    );
    site.recent.trim(Instant::now() + Duration::from_secs(2));
    let then = site.get("/assets/app.js", &[]).await.unwrap();
    assert_eq!(then.body, "new");
    assert_ne!(then.field("etag"), first.field("etag"));
}
