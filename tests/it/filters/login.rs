//! `wharf.auth.basic`, `wharf.satisfy` (B50, S56).

use std::fs;
use std::process::Command;

use super::ask;
use crate::support::docker::{App, unique};
use crate::support::eventually;
use crate::support::nginx::Both;
use crate::support::origin::{Served, ok};
use crate::support::site::{Site, app};
use crate::support::wharf::Builder;

use std::time::Duration;

/// What `htpasswd`'s colleague makes of a password.
fn crypt(kind: &str, password: &str) -> String {
    let made = Command::new("openssl")
        .args(["passwd", kind, password])
        .output();
    let made = made.expect("openssl (Debian package openssl)").stdout;
    String::from_utf8(made).unwrap().trim().to_owned()
}

/// `allmine`, by bcrypt.
const BCRYPT: &str = "$2y$05$apxnEqGXpdSCTMy45oHJtuXCCR6VeKIDDtkaSnmWIyWUrlCvupbOm";

#[test]
fn b50_a_name_and_a_password_let_in() {
    let host = format!("{}.test", unique("login"));
    let users = format!(
        "joe:{}, jane:{}, jim:{BCRYPT}",
        crypt("-6", "sesame"),
        crypt("-apr1", "sésame")
    );
    let served = App::new("login")
        .label("wharf.host", &host)
        .label("wharf.tls", "off")
        .label(
            "wharf.auth.basic",
            &format!("{users} realm=\"Back office\" strip"),
        )
        .label("wharf.auth.user_header", "X-User")
        .run();
    let wharf = Builder::new().start();
    wharf.wait_answer(&host, "/", |answer| answer.status == 401);
    let url = format!("http://{host}/json");
    let to = |args: &[&str]| ask(wharf.http, "127.0.0.1", &url, args);
    for (user, status) in [
        ("joe:sesame", 200),
        ("jane:sésame", 200),
        ("jim:allmine", 200),
        ("joe:Sesame", 401),
        ("joe:", 401),
        ("jack:sesame", 401),
    ] {
        assert_eq!(to(&["--user", user]).status, status, "{user}");
    }
    assert_eq!(to(&["-H", "Authorization: Bearer abc"]).status, 401);
    let question = to(&["-i"]).text().to_lowercase();
    let wanted = "www-authenticate: basic realm=\"back office\", charset=\"utf-8\"\r\n";
    assert!(question.contains(wanted), "{question}");
    let forged = [
        "--user",
        "joe:sesame",
        "-H",
        "X-User: root",
        "-H",
        "X_User: root",
    ];
    let head = to(&forged).text().to_lowercase();
    assert!(head.contains("joe") && !head.contains("root"), "{head}");
    assert!(!head.contains("authorization"), "{head}");
    let status = wharf.status_text() + &wharf.status_json().to_string();
    assert!(
        !status.contains("$6$") && !status.contains(BCRYPT),
        "{status}"
    );
    let told = |line: &String| line.contains("$6$") || line.contains(BCRYPT);
    assert!(!wharf.log_lines().iter().any(told), "a hash in the log");
    drop(served);
}

#[test]
fn b50_nginx_lets_in_the_same_by_the_same_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    let users = format!(
        "# staff\njoe:{}\njane:{}\njim:{{SHA}}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n",
        crypt("-6", "sesame"),
        crypt("-apr1", "open")
    );
    fs::write(&file, users).unwrap();
    let file = file.to_str().unwrap();
    let both = Both::start(
        &[(
            "app",
            &format!("wharf.host: a.test\nwharf.auth.basic: file:{file}"),
        )],
        &format!(
            "server {{ server_name a.test;
             auth_basic closed; auth_basic_user_file {file};
             location / {{ proxy_pass http://@app; }} }}"
        ),
    );
    for user in [
        "joe:sesame",
        "jane:open",
        "jim:password",
        "joe:open",
        "jane:",
        "nobody:open",
        ":",
    ] {
        let of = |address| ask(address, "127.0.0.1", "http://a.test/", &["--user", user]).status;
        assert_eq!(of(both.site.http()), of(both.nginx.address), "{user}");
    }
}

#[test]
fn s56_a_place_in_the_list_or_a_login_is_enough() {
    let hash = crypt("-apr1", "sesame");
    let both = {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("users");
        fs::write(&file, format!("joe:{hash}\n")).unwrap();
        let both = Both::start(
            &[(
                "app",
                &format!(
                    "wharf.host: a.test\nwharf.allow: 127.1.0.0/16\nwharf.satisfy: any\nwharf.auth.basic: joe:{hash}"
                ),
            )],
            &format!(
                "server {{ server_name a.test; satisfy any;
                 allow 127.1.0.0/16; deny all;
                 auth_basic closed; auth_basic_user_file {};
                 location / {{ proxy_pass http://@app; }} }}",
                file.display()
            ),
        );
        (both, directory)
    };
    for (client, user) in [
        ("127.1.0.1", ""),
        ("127.1.0.1", "joe:wrong"),
        ("127.0.0.1", ""),
        ("127.0.0.1", "joe:wrong"),
        ("127.0.0.1", "joe:sesame"),
    ] {
        let args: &[&str] = if user.is_empty() {
            &[]
        } else {
            &["--user", user]
        };
        let of = |address| ask(address, client, "http://a.test/", args).status;
        assert_eq!(
            of(both.0.site.http()),
            of(both.0.nginx.address),
            "{client} {user}"
        );
    }
}

#[test]
fn a_user_who_is_taken_out_of_the_file_is_out() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    let joe = format!("joe:{}\n", crypt("-apr1", "sesame"));
    fs::write(&file, &joe).unwrap();
    let served = Served::by(|request| ok(&request.head));
    let labels = format!(
        "wharf.host: a.test\nwharf.tls: off\nwharf.auth.basic: file:{}",
        file.display()
    );
    let site = Site::start([app("app", served.port(), &labels)]);
    let ask = || {
        ask(
            site.http(),
            "127.0.0.1",
            "http://a.test/",
            &["--user", "joe:sesame"],
        )
        .status
    };
    assert_eq!(ask(), 200);
    fs::write(&file, joe.replace("joe", "jane")).unwrap();
    eventually("joe is out", Duration::from_secs(10), || match ask() {
        401 => Ok(()),
        status => Err(status.to_string()),
    });
    fs::remove_file(&file).unwrap();
    fs::write(&file, &joe).unwrap();
    eventually("joe is back", Duration::from_secs(10), || match ask() {
        200 => Ok(()),
        status => Err(status.to_string()),
    });
}

#[test]
fn a_hash_that_compose_has_eaten_is_told_and_lets_nobody_in() {
    let served = Served::text("in");
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.auth.basic: admin:2y05abc";
    let site = Site::start([app("app", served.port(), labels)]);
    let answer = ask(site.http(), "127.0.0.1", "http://a.test/", &[]);
    assert_eq!(answer.status, 503);
    let text = answer.text();
    assert!(text.contains("write each `$` twice"), "{text}");
    assert!(!text.contains("2y05abc"), "a secret may be in it: {text}");
}

#[test]
fn a_named_route_may_be_without_what_it_inherits() {
    let served = Served::text("in");
    let hash = crypt("-apr1", "sesame");
    let labels = format!(
        "wharf.host: a.test\nwharf.tls: off\nwharf.auth.basic: joe:{hash}\nwharf.allow: 127.1.0.0/16\n\
         wharf.block: *.key\nwharf.open.path: /open\nwharf.open.auth.basic: off\n\
         wharf.open.allow: off\nwharf.open.block: False"
    );
    let site = Site::start([app("app", served.port(), &labels)]);
    let from = |client, path: &str| {
        let url = format!("http://a.test{path}");
        ask(site.http(), client, &url, &[]).status
    };
    assert_eq!(from("127.0.0.1", "/"), 403);
    assert_eq!(from("127.1.0.1", "/"), 401);
    assert_eq!(from("127.1.0.1", "/x.key"), 404);
    assert_eq!(from("127.0.0.1", "/open/x.key"), 200);
}
