//! HTTP/2 frame by frame: what is an error and of what, and what floods cost.

use std::time::{Duration, Instant};

use crate::support::frames::*;
use crate::support::origin::{Origin, Served, ok};
use crate::support::site::Site;

/// Answers with the path.
fn served() -> (Site, Served) {
    let served = Served::by(|request| ok(request.head.split(' ').nth(1).unwrap()));
    (Site::plain(served.port(), ""), served)
}

/// A HEADERS frame that does not end its block.
fn unfinished(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM, stream, &block("GET", "/", &[]))
}

fn padded(padding: u8, payload: &[u8]) -> Vec<u8> {
    [&[padding], payload, &vec![0; padding.into()]].concat()
}

#[test]
fn a_connection_begins_with_the_preface_and_settings_of_both_sides() {
    let (site, _served) = served();
    let mut client = Client::open(&site, &[]);
    client.settle();
    assert_eq!(client.acks, 1);
    let told = |name| client.settings.iter().find(|setting| setting.0 == name);
    assert_eq!(told(MAX_CONCURRENT_STREAMS), Some(&(3, 128)));
    assert!(told(INITIAL_WINDOW_SIZE).is_some_and(|setting| setting.1 >= 65_535));
    client.goes_on(1);
    let preface = &PREFACE[..24];
    for first in [
        ping(),
        get(1, "/"),
        frame(SETTINGS, ACK, 0, &[]),
        window(0, 1),
    ] {
        let mut peer = site.send(preface);
        peer.send(first);
        let (rest, _) = peer.rest();
        assert!(
            rest.contains("\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01"),
            "{rest:?}"
        );
    }
    // In pieces it is as good, once it can be told from HTTP/1.
    let mut peer = site.send(&PREFACE[..3]);
    for byte in [&PREFACE.as_bytes()[3..], &get(1, "/pieces")].concat() {
        peer.send([byte]);
    }
    peer.until("/pieces");
}

#[test]
fn faults_of_a_connection_end_it_and_say_why() {
    let (site, _served) = served();
    let of = |bytes: &[&[u8]]| bytes.concat();
    let get = |id| get(id, "/");
    let priority = |id: u32| frame(PRIORITY, 0, id, &[0, 0, 0, 0, 1]);
    let set = |name, value| settings(&[(name, value)]);
    let cases: Vec<(&str, u32, Vec<u8>)> = vec![
        ("long", FRAME_SIZE_ERROR, frame(200, 0, 0, &[0; 16_385])),
        (
            "ping on a stream",
            PROTOCOL_ERROR,
            frame(PING, 0, 1, &[0; 8]),
        ),
        ("ping size", FRAME_SIZE_ERROR, frame(PING, 0, 0, &[0; 7])),
        (
            "settings on a stream",
            PROTOCOL_ERROR,
            frame(SETTINGS, 0, 1, &[]),
        ),
        (
            "settings size",
            FRAME_SIZE_ERROR,
            frame(SETTINGS, 0, 0, &[0; 5]),
        ),
        (
            "ack with more",
            FRAME_SIZE_ERROR,
            frame(SETTINGS, ACK, 0, &[0; 6]),
        ),
        ("push 2", PROTOCOL_ERROR, set(ENABLE_PUSH, 2)),
        (
            "window 2^31",
            FLOW_CONTROL_ERROR,
            set(INITIAL_WINDOW_SIZE, 1 << 31),
        ),
        ("max frame", PROTOCOL_ERROR, set(MAX_FRAME_SIZE, 16_383)),
        ("max frame", PROTOCOL_ERROR, set(MAX_FRAME_SIZE, 1 << 24)),
        (
            "push",
            PROTOCOL_ERROR,
            frame(PUSH_PROMISE, END_HEADERS, 1, &[0; 4]),
        ),
        (
            "goaway on a stream",
            PROTOCOL_ERROR,
            frame(GOAWAY_FRAME, 0, 1, &[0; 8]),
        ),
        (
            "goaway size",
            FRAME_SIZE_ERROR,
            frame(GOAWAY_FRAME, 0, 0, &[0; 7]),
        ),
        ("data on 0", PROTOCOL_ERROR, frame(DATA, 0, 0, b"x")),
        ("headers on 0", PROTOCOL_ERROR, get(0)),
        ("priority on 0", PROTOCOL_ERROR, priority(0)),
        ("reset of 0", PROTOCOL_ERROR, reset(0, 8)),
        (
            "reset size",
            FRAME_SIZE_ERROR,
            frame(RST_STREAM, 0, 1, &[0; 3]),
        ),
        (
            "window size",
            FRAME_SIZE_ERROR,
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
        ),
        ("window by 0", PROTOCOL_ERROR, window(0, 0)),
        (
            "window too large",
            FLOW_CONTROL_ERROR,
            window(0, (1 << 31) - 1),
        ),
        ("even", PROTOCOL_ERROR, get(2)),
        ("even, later", PROTOCOL_ERROR, of(&[&get(3), &get(2)])),
        (
            "data, even",
            PROTOCOL_ERROR,
            of(&[&get(3), &frame(DATA, 0, 2, b"x")]),
        ),
        ("reset, even", PROTOCOL_ERROR, of(&[&get(3), &reset(2, 8)])),
        (
            "window, even",
            PROTOCOL_ERROR,
            of(&[&get(3), &window(2, 1)]),
        ),
        ("data, idle", PROTOCOL_ERROR, frame(DATA, 0, 1, b"x")),
        ("reset, idle", PROTOCOL_ERROR, reset(1, 8)),
        ("window, idle", PROTOCOL_ERROR, window(1, 1)),
        (
            "continuation",
            PROTOCOL_ERROR,
            frame(CONTINUATION, END_HEADERS, 1, &[]),
        ),
        (
            "ping in a block",
            PROTOCOL_ERROR,
            of(&[&unfinished(1), &ping()]),
        ),
        (
            "unknown in a block",
            PROTOCOL_ERROR,
            of(&[&unfinished(1), &frame(200, 0, 0, &[])]),
        ),
        (
            "data in a block",
            PROTOCOL_ERROR,
            of(&[&unfinished(1), &frame(DATA, 0, 1, &[])]),
        ),
        (
            "another's continuation",
            PROTOCOL_ERROR,
            of(&[&unfinished(1), &frame(CONTINUATION, END_HEADERS, 3, &[])]),
        ),
        (
            "continuation after the block",
            PROTOCOL_ERROR,
            of(&[&get(1), &frame(CONTINUATION, END_HEADERS, 1, &[])]),
        ),
        (
            "headers' padding",
            PROTOCOL_ERROR,
            frame(HEADERS, END_HEADERS | PADDED, 1, &[9, 1, 2]),
        ),
        (
            "data's padding",
            PROTOCOL_ERROR,
            of(&[
                &open(1, "POST", "/", &[], false),
                &frame(DATA, PADDED, 1, &[3, 1, 2]),
            ]),
        ),
        (
            "padding without its length",
            PROTOCOL_ERROR,
            of(&[
                &open(1, "POST", "/", &[], false),
                &frame(DATA, PADDED, 1, &[]),
            ]),
        ),
        (
            "cut priority",
            FRAME_SIZE_ERROR,
            frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, &[0; 4]),
        ),
        ("index 0", COMPRESSION_ERROR, frame(HEADERS, 5, 1, &[0x80])),
        ("index 62", COMPRESSION_ERROR, frame(HEADERS, 5, 1, &[0xbe])),
        (
            "cut field",
            COMPRESSION_ERROR,
            frame(HEADERS, 5, 1, &[0x82, 0x00, 5, b'x']),
        ),
        (
            "table too large",
            COMPRESSION_ERROR,
            frame(HEADERS, 5, 1, &[0x3f, 0xe2, 0x1f]),
        ),
        (
            "late size update",
            COMPRESSION_ERROR,
            frame(HEADERS, 5, 1, &[0x82, 0x20]),
        ),
        (
            "long integer",
            COMPRESSION_ERROR,
            frame(HEADERS, 5, 1, &[0xff; 12]),
        ),
        (
            "huffman's end",
            COMPRESSION_ERROR,
            frame(HEADERS, 5, 1, &[0, 0x84, 255, 255, 255, 255]),
        ),
        (
            "trailers that are broken",
            COMPRESSION_ERROR,
            of(&[
                &open(1, "POST", "/", &[], false),
                &frame(HEADERS, 5, 1, &[0x80]),
            ]),
        ),
    ];
    for (what, code, bytes) in cases {
        println!("{what}");
        let mut client = Client::open(&site, &[]);
        // It may have seen enough already.
        let _ = client.try_send(bytes);
        assert_eq!(client.fault(), code);
    }
}

#[test]
fn faults_of_a_stream_end_it_and_no_other() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let post = |fields| open(1, "POST", "/", fields, false);
    let data = |flags, text: &str| frame(DATA, flags, 1, text.as_bytes());
    let trailers = |flags, fields| frame(HEADERS, END_HEADERS | flags, 1, &literals(fields));
    let length = &[("content-length", "3")];
    let cases: Vec<(&str, u32, [Vec<u8>; 2])> = vec![
        ("window by 0", PROTOCOL_ERROR, [post(&[]), window(1, 0)]),
        (
            "window",
            FLOW_CONTROL_ERROR,
            [post(&[]), window(1, (1 << 31) - 1)],
        ),
        (
            "headers after the end",
            STREAM_CLOSED,
            [get(1, "/"), get(1, "/")],
        ),
        (
            "data after the end",
            STREAM_CLOSED,
            [get(1, "/"), data(0, "x")],
        ),
        (
            "trailers, then more",
            PROTOCOL_ERROR,
            [post(&[]), trailers(0, &[("x", "y")])],
        ),
        (
            "pseudo",
            PROTOCOL_ERROR,
            [post(&[]), trailers(END_STREAM, &[(":path", "/")])],
        ),
        (
            "connection",
            PROTOCOL_ERROR,
            [post(&[]), trailers(1, &[("connection", "x")])],
        ),
        ("too long", PROTOCOL_ERROR, [post(length), data(0, "four")]),
        (
            "too long at the end",
            PROTOCOL_ERROR,
            [post(length), data(END_STREAM, "four")],
        ),
        (
            "too short",
            PROTOCOL_ERROR,
            [post(length), data(END_STREAM, "2b")],
        ),
        (
            "short with trailers",
            PROTOCOL_ERROR,
            [post(length), trailers(1, &[("x", "y")])],
        ),
    ];
    for (what, code, [request, fault]) in cases {
        println!("{what}");
        let mut client = Client::open(&site, &[]);
        client.send(request);
        let mut upstream = origin.accept();
        upstream.head();
        client.send(fault);
        assert_eq!(client.stream(1).reset, Some(code));
        // Not one that it could take for the whole.
        let (rest, _) = upstream.rest();
        assert!(
            !rest.contains("0\r\n\r\n") && !rest.contains("fou"),
            "{rest:?}"
        );
        client.send(get(3, "/"));
        origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert_eq!(client.stream(3).status(), 204);
    }
}

#[test]
fn what_nobody_knows_or_needs_is_ignored() {
    let (site, _served) = served();
    let mut client = Client::open(&site, &[(0xfefe, 7), (ENABLE_PUSH, 0)]);
    let ignored = [
        frame(200, 0xff, 0, b"unknown"),
        frame(200, 0xff, 1, b"unknown"),
        frame(SETTINGS, ACK, 0, &[]),
        frame(PING, ACK, 0, b"unasked."),
        frame(PING, 0xfe, 0, b"flags...")
            .into_iter()
            .collect::<Vec<_>>(),
        frame(PRIORITY, 0, 9, &[0, 0, 0, 0, 1]),
        frame(PRIORITY, 0, 1, &[0x80, 0, 0, 1, 1]),
    ];
    client.send(ignored.concat());
    client.goes_on(1);
    // The same of a stream that is over.
    let late = [
        window(1, 5),
        reset(1, 8),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]),
        frame(DATA, END_STREAM, 1, b"late"),
        frame(HEADERS, 5, 1, &literals(&[("late", "trailers")])),
    ];
    client.send(late.concat());
    client.goes_on(3);
    // The highest bit of a stream's number is nobody's.
    client.send(open(0x8000_0005, "GET", "/bit", &[], true));
    assert_eq!(client.stream(5).text(), "/bit");
    // Ids may be left out.
    client.goes_on(0x7fff_fffd);
    client.send(frame(GOAWAY_FRAME, 0, 0, &[0; 12]));
    client.goes_on(0x7fff_ffff);
}

#[test]
fn padding_priority_and_continuations_make_no_difference() {
    let (site, _served) = served();
    let mut client = Client::open(&site, &[]);
    let block = |path| block("GET", path, &[("x", "y")]);
    let priority = [0x80, 0, 0, 0, 7];
    client.send(frame(
        HEADERS,
        5 | WITH_PRIORITY,
        1,
        &[&priority[..], &block("/priority")].concat(),
    ));
    assert_eq!(client.stream(1).text(), "/priority");
    let both = padded(200, &[&priority[..], &block("/both")].concat());
    client.send(frame(HEADERS, 5 | PADDED | WITH_PRIORITY, 3, &both));
    assert_eq!(client.stream(3).text(), "/both");
    let whole = block("/pieces");
    for (id, size) in [
        (5, 1 + whole.len() / 16),
        (7, whole.len() - 1),
        (9, whole.len()),
    ] {
        client.send(frame(HEADERS, END_STREAM, id, b""));
        let mut rest = &whole[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            let end = if rest.is_empty() { END_HEADERS } else { 0 };
            client.send(frame(CONTINUATION, end, id, piece));
        }
        assert_eq!(client.stream(id).text(), "/pieces");
    }
}

#[test]
fn tables_are_kept_in_step_whatever_becomes_of_a_request() {
    let (site, _served) = served();
    let mut client = Client::open(&site, &[]);
    let added = |name: &str, value: &str| {
        let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
        [vec![0x40], text(name), text(value)].concat()
    };
    // GET, http, `/`.
    let plain = [0x82, 0x86, 0x84];
    let headers = |id, parts: &[&[u8]]| frame(HEADERS, 5, id, &parts.concat());
    let authority = [&[0x41, 6][..], b"a.test"].concat();
    client.send(headers(1, &[&plain, &authority]));
    assert_eq!(client.stream(1).status(), 200);
    // Malformed, with an entry behind what is wrong.
    client.send(headers(
        3,
        &[&plain, &added("Upper", "x"), &added("b", "1")],
    ));
    assert_eq!(client.stream(3).reset, Some(PROTOCOL_ERROR));
    // Newest first: b, Upper, the authority.
    client.send(headers(5, &[&plain, &[0xc0], &[0xbe]]));
    assert_eq!(client.stream(5).status(), 200);
    // What is wrong is so by its index, too.
    client.send(headers(7, &[&plain, &[0xc0], &[0xbf]]));
    assert_eq!(client.stream(7).reset, Some(PROTOCOL_ERROR));
    // Too large: eleven times three thousand bytes, all but the first by index.
    let large = [&[0x40, 1, b'l', 0x7f, 0xb9, 0x16][..], &[b'x'; 3000]].concat();
    client.send(headers(
        9,
        &[&plain, &[0xc0], &large, &[0xbe; 11], &added("c", "2")],
    ));
    assert!(client.stream(9).ended);
    // The authority and what followed it were evicted or moved: c, l, b, Upper, authority.
    client.send(headers(11, &[&plain, &[0xc2], &[0xbe]]));
    assert_eq!(client.stream(11).status(), 200);
    // As trailers of a stream that is no more.
    client.send(headers(11, &[&added("d", "3")]));
    client.send(headers(13, &[&plain, &[0xc3], &[0xbe]]));
    assert_eq!(client.stream(13).status(), 200);
    // The table is made smaller and larger again.
    client.send(headers(
        15,
        &[&[0x20, 0x3f, 0xe1, 0x1f], &plain, &authority],
    ));
    client.send(headers(17, &[&plain, &[0xbe]]));
    assert_eq!(client.stream(17).status(), 200);
    assert_eq!(client.stream(15).status(), 200);
}

#[test]
fn the_servers_table_is_as_large_as_the_client_says() {
    let (site, _served) = served();
    let mut client = Client::open(&site, &[(HEADER_TABLE_SIZE, 0)]);
    client.send(get(1, "/"));
    let stream = client.stream(1);
    assert_eq!(stream.heads[0][0], 0x20, "a size update to nothing");
    assert_eq!(stream.status(), 200);
    // Nothing is added, so each is as long as the one before but for the update.
    client.send(get(3, "/"));
    let again = client.stream(3).heads[0].clone();
    assert_eq!(client.streams[&1].heads[0][1..], again);
    client.send(settings(&[(HEADER_TABLE_SIZE, 100)]));
    client.send(settings(&[(HEADER_TABLE_SIZE, 65_536)]));
    client.send(get(5, "/"));
    let stream = client.stream(5);
    assert_eq!(stream.heads[0][..4], [0x3f, 0xe1, 0x1f, 0x88]);
    // Smaller for a moment.
    client.send(settings(&[(HEADER_TABLE_SIZE, 0)]));
    client.send(settings(&[(HEADER_TABLE_SIZE, 4096)]));
    client.send(get(7, "/"));
    assert_eq!(client.stream(7).heads[0][..4], [0x20, 0x3f, 0xe1, 0x1f]);
}

#[test]
fn more_streams_than_allowed_are_refused_one_by_one() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let mut client = Client::open(&site, &[]);
    let ids = |count: u32| (0..count).map(|nth| 2 * nth + 1);
    client.send(ids(130).flat_map(|id| get(id, "/")).collect::<Vec<_>>());
    let mut upstreams: Vec<_> = (0..128).map(|_| origin.accept()).collect();
    for id in [257, 259] {
        assert_eq!(client.stream(id).reset, Some(REFUSED_STREAM));
    }
    assert!(origin.accepted().is_none());
    for upstream in &mut upstreams {
        upstream.head();
        upstream.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    }
    for id in ids(128) {
        assert_eq!(client.stream(id).status(), 204);
    }
    client.send(get(261, "/"));
    origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    assert_eq!(client.stream(261).status(), 204);
}

#[test]
fn floods_end_their_connection() {
    let (site, _served) = served();
    let post = open(1, "POST", "/", &[], false);
    let even_settings = settings(&[(INITIAL_WINDOW_SIZE, 1)]);
    let empty_piece = frame(CONTINUATION, 0, 1, &[]);
    let large_piece = frame(CONTINUATION, 0, 1, &[0; 16_384]);
    let changes = settings(&[(INITIAL_WINDOW_SIZE, 1), (INITIAL_WINDOW_SIZE, 2)].repeat(20));
    let first = unfinished(1);
    let cases: Vec<(&str, &[u8], Vec<u8>)> = vec![
        ("ping", b"", ping()),
        ("settings", b"", even_settings),
        ("many settings at once", b"", changes),
        ("priority", b"", frame(PRIORITY, 0, 1, &[0; 5])),
        ("unknown", b"", frame(99, 0, 0, &[])),
        ("empty data", &post, frame(DATA, 0, 1, &[])),
        ("padding", &post, frame(DATA, PADDED, 1, &[3, 0, 0, 0])),
        ("resets of nothing", &post, reset(1, 8)),
        ("empty continuations", &first, empty_piece),
        ("continuations", &first, large_piece),
    ];
    for (what, before, frame) in cases {
        println!("{what}");
        let mut client = Client::open(&site, &[]);
        client.send(before);
        let many = frame.repeat(1200.min(4_000_000 / frame.len()));
        while client.try_send(&many).is_ok() && client.settled().is_some() {}
        assert_eq!(client.fault(), ENHANCE_YOUR_CALM);
    }
    assert_eq!(
        site.send(crate::support::site::get("/on")).message().text(),
        "/on"
    );
}

#[test]
fn a_stop_is_announced_and_what_is_under_way_is_finished() {
    for answers in [true, false] {
        let origin = Origin::new();
        let mut site = Site::plain(origin.port(), "");
        let mut client = Client::open(&site, &[]);
        client.send(open(1, "POST", "/", &[], false));
        let mut upstream = origin.accept();
        upstream.head();
        site.wharf.signal("TERM");
        client.until(|client| !client.pings.is_empty());
        assert_eq!(client.goaways, [((1 << 31) - 1, NO_ERROR)]);
        // It could not know yet.
        client.send(get(3, "/"));
        let (_, request) = origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert!(request.head.starts_with("GET"));
        assert_eq!(client.stream(3).status(), 204);
        if answers {
            let ping = client.pings.remove(0);
            client.send(frame(PING, ACK, 0, &ping));
            client.until(|client| client.goaways.len() == 2);
            assert_eq!(client.goaways[1], (3, NO_ERROR));
            // Too late, as all that belongs to it; none of it is a fault.
            let late = [
                open(5, "POST", "/late", &[], false),
                frame(DATA, 0, 5, b"late"),
                window(5, 1),
                frame(HEADERS, 5, 5, &literals(&[("x", "y")])),
                reset(5, 8),
            ];
            client.send(late.concat()).settle();
            assert!(origin.accepted().is_none());
        }
        let asked = Instant::now();
        client.send(frame(DATA, END_STREAM, 1, b"end"));
        upstream.until("0\r\n\r\n");
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast");
        assert_eq!(client.stream(1).text(), "last");
        assert_eq!(client.fault(), NO_ERROR);
        assert_eq!(site.wharf.wait_exit().code(), Some(0));
        assert!(asked.elapsed() < Duration::from_secs(4));
    }
}

#[test]
fn a_client_that_asks_again_and_again_does_not_hold_up_a_stop() {
    let mut site = Site::plain(Origin::new().port(), "");
    let mut client = Client::open(&site, &[]);
    client.settle();
    site.wharf.signal("TERM");
    client.until(|client| !client.pings.is_empty());
    let asked = Instant::now();
    // Answered at once, by Wharf itself; the ping never is.
    let elsewhere = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    let block = literals(&[&elsewhere[..], &[(":authority", "b.test")]].concat());
    client.send(frame(HEADERS, 5, 1, &block));
    assert_eq!(client.stream(1).status(), 404);
    assert_eq!(client.fault(), NO_ERROR);
    assert_eq!(site.wharf.wait_exit().code(), Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "{:?}",
        asked.elapsed()
    );
}

/// Requests that are taken back, by what the client does, before their answer.
#[test]
fn requests_that_come_to_nothing_by_the_thousand_end_their_connection() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let post = |id, fields| open(id, "POST", "/", fields, false);
    type Storm<'a> = (&'a str, &'a dyn Fn(u32) -> Vec<u8>);
    let get = |id| get(id, "/");
    let storms: [Storm<'_>; 7] = [
        ("reset", &|id| [get(id), reset(id, 8)].concat()),
        ("window by 0", &|id| [get(id), window(id, 0)].concat()),
        ("window", &|id| {
            [get(id), window(id, (1 << 31) - 1)].concat()
        }),
        ("headers again", &|id| [get(id), get(id)].concat()),
        ("data again", &|id| {
            [get(id), frame(DATA, 0, id, b"x")].concat()
        }),
        ("more than promised", &|id| {
            [
                post(id, &[("content-length", "1")]),
                frame(DATA, 0, id, b"xy"),
            ]
            .concat()
        }),
        ("less than promised", &|id| {
            [
                post(id, &[("content-length", "9")]),
                frame(DATA, 1, id, b"xy"),
            ]
            .concat()
        }),
    ];
    for (what, storm) in storms {
        println!("{what}");
        let mut client = Client::open(&site, &[]);
        let mut next = 1;
        // In batches that fit the streams allowed at once.
        while !client.over && next < 2 * 1500 {
            let batch: Vec<u8> = (0..100).flat_map(|nth| storm(next + 2 * nth)).collect();
            next += 200;
            if client.try_send(batch).is_err() || client.settled().is_none() {
                break;
            }
            while origin.accepted().is_some() {}
        }
        assert!(next > 2 * 900, "after {next}");
        assert_eq!(client.fault(), ENHANCE_YOUR_CALM);
    }
}

#[test]
fn a_block_that_grows_beyond_all_bounds_ends_its_connection() {
    let (site, served) = served();
    let mut client = Client::open(&site, &[]);
    // Four thousand bytes, and then an index of one byte for each time they are to be had again.
    let large = [&[0x40, 1, b'l', 0x7f, 0x89, 0x1e][..], &[b'x'; 3976]].concat();
    let first = [&[0x82, 0x86, 0x84][..], &large, &[0xbe; 10_000]].concat();
    let _ = client.try_send(frame(HEADERS, 5, 1, &first));
    assert_eq!(client.fault(), ENHANCE_YOUR_CALM);
    assert_eq!(served.connections(), 0);
}
