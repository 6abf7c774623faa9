//! Both directions together, and the RFC's examples.

use proptest::prelude::*;

use super::*;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// What a block says, as `name: value` lines.
fn read(decoder: &mut Decoder, mut block: &[u8]) -> Result<(String, Vec<Name>), HpackError> {
    let (mut text, mut names) = (Vec::new(), Vec::new());
    decoder.begin();
    while let Some(found) = decoder.next(&mut block, &mut text)? {
        let line = &text[found.at..];
        let (name_len, value_len) = (found.name_len as usize, found.value_len as usize);
        assert_eq!(&line[name_len..name_len + 2], b": ");
        assert_eq!(&line[name_len + 2 + value_len..], b"\r\n");
        names.push(found.name);
    }
    Ok((String::from_utf8_lossy(&text).into_owned(), names))
}

fn error(block: &[u8]) -> HpackError {
    read(&mut Decoder::new(4096), block).unwrap_err()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|two| (two[0] * 16 + two[1]) as u8)
        .collect()
}

/// Reads blocks of one connection, each with the lines it must say.
fn examples(max_size: usize, blocks: &[(&str, &str)]) {
    let mut decoder = Decoder::new(max_size);
    for (block, lines) in blocks {
        let (text, names) = read(&mut decoder, &hex(block)).unwrap();
        assert_eq!(text.replace("\r\n", "\n").trim_end(), *lines);
        assert!(!names.contains(&Name::Invalid));
    }
}

#[test]
fn rfc_7541_c_2_literals() {
    examples(
        4096,
        &[
            (
                "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
                "custom-key: custom-header",
            ),
            ("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path"),
            (
                "1008 7061 7373 776f 7264 0673 6563 7265 74",
                "password: secret",
            ),
            ("82", ":method: GET"),
            // The first of them is the only one in the table.
            ("be", "custom-key: custom-header"),
        ],
    );
}

const REQUESTS: [&str; 3] = [
    ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com",
    ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache",
    ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value",
];

#[test]
fn rfc_7541_c_3_requests() {
    let blocks = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    examples(4096, &[0, 1, 2].map(|nth| (blocks[nth], REQUESTS[nth])));
}

#[test]
fn rfc_7541_c_4_requests_in_huffman_code() {
    let blocks = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    examples(4096, &[0, 1, 2].map(|nth| (blocks[nth], REQUESTS[nth])));
    // What the encoder makes of them, which adds the same entries.
    let mut encoder = Encoder::new();
    for (block, lines) in blocks.iter().zip(REQUESTS) {
        let mut out = Vec::new();
        encoder.begin(&mut out);
        for line in lines.lines() {
            match line {
                ":method: GET" => out.push(0x82),
                ":scheme: http" => out.push(0x86),
                ":scheme: https" => out.push(0x87),
                ":path: /" => out.push(0x84),
                ":path: /index.html" => out.push(0x85),
                line => {
                    let (name, value) = line.rsplit_once(": ").unwrap();
                    encoder.field(&mut out, name.as_bytes(), value.as_bytes());
                }
            }
        }
        assert_eq!(out, hex(block));
    }
}

const RESPONSES: [&str; 3] = [
    ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com",
    ":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com",
    ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\nlocation: https://www.example.com\ncontent-encoding: gzip\nset-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
];

#[test]
fn rfc_7541_c_5_responses_with_evictions() {
    let blocks = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    examples(256, &[0, 1, 2].map(|nth| (blocks[nth], RESPONSES[nth])));
}

#[test]
fn rfc_7541_c_6_responses_in_huffman_code_with_evictions() {
    let blocks = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    examples(256, &[0, 1, 2].map(|nth| (blocks[nth], RESPONSES[nth])));
}

#[test]
fn every_byte_survives_huffman_code() {
    for byte in 0..=u8::MAX {
        for len in [1, 2, 7, 33] {
            let text = vec![byte; len];
            let mut coded = Vec::new();
            huffman::encode(text.iter().copied(), &mut coded);
            assert_eq!(coded.len(), huffman::coded_len(text.iter().copied()));
            let mut decoded = b"kept".to_vec();
            huffman::decode(&coded, &mut decoded, len).unwrap();
            assert_eq!(decoded, [b"kept", &text[..]].concat());
            let short = huffman::decode(&coded, &mut Vec::new(), len - 1);
            assert_eq!(short, Err(HpackError::LongString));
        }
    }
}

#[test]
fn broken_huffman_code() {
    for (coded, why) in [
        ("ff", "eight bits of padding"),
        ("1f ff", "`a` and eleven bits of padding"),
        ("18", "`a` and padding of zeros"),
        ("1e", "`a` and padding that ends with a zero"),
        ("ff ff ff ff", "EOS"),
        ("1f ff ff ff ff", "EOS after `a`"),
        ("ff ff ff", "part of a long code"),
    ] {
        let result = huffman::decode(&hex(coded), &mut Vec::new(), 100);
        assert_eq!(result, Err(HpackError::Huffman), "{why}");
    }
    let mut text = Vec::new();
    huffman::decode(&hex("1f"), &mut text, 100).unwrap();
    huffman::decode(&[], &mut text, 100).unwrap();
    assert_eq!(text, b"a");
}

#[test]
fn malformed_blocks() {
    for (block, expected) in [
        ("80", HpackError::Index),
        ("be", HpackError::Index),
        ("7f 00 01 61", HpackError::Index),
        // 2^28, and one more.
        ("ff 81 ff ff 7f", HpackError::Index),
        ("ff 82 ff ff 7f", HpackError::Integer),
        ("ff 80 80 80 80 01", HpackError::Integer),
        ("ff 80 80 80 80 80 00", HpackError::Integer),
        ("ff ff ff ff ff ff", HpackError::Integer),
        ("ff", HpackError::Truncated),
        ("ff 80", HpackError::Truncated),
        ("40", HpackError::Truncated),
        ("40 01", HpackError::Truncated),
        ("40 01 61", HpackError::Truncated),
        ("40 01 61 02 62", HpackError::Truncated),
        ("00 01 61 7f ff ff 7f", HpackError::Truncated),
        ("40 01 61 81 ff", HpackError::Huffman),
        ("3f e2 1f", HpackError::LargeTable),
        ("82 20", HpackError::LateSizeUpdate),
        ("00 01 61 01 62 20", HpackError::LateSizeUpdate),
    ] {
        let block = hex(block);
        assert_eq!(error(&block), expected, "{block:x?}");
    }
}

#[test]
fn integers_in_more_bytes_than_they_need() {
    let mut decoder = Decoder::new(4096);
    let block = hex("3f 80 80 80 80 00 0f 80 00 01 62");
    let (text, _) = read(&mut decoder, &block).unwrap();
    assert_eq!(text, "accept-charset: b\r\n");
}

#[test]
fn strings_have_a_limit() {
    let literal = |len: usize| {
        let mut block = hex("00 01 61 7f");
        let rest = len - 127;
        block.extend([
            0x80 | rest as u8,
            0x80 | (rest >> 7) as u8,
            (rest >> 14) as u8,
        ]);
        block.extend(vec![b'v'; len]);
        block
    };
    assert!(read(&mut Decoder::new(4096), &literal(MAX_STRING)).is_ok());
    assert_eq!(error(&literal(MAX_STRING + 1)), HpackError::LongString);
    for (len, expected) in [
        (MAX_STRING, Ok(())),
        (MAX_STRING + 1, Err(HpackError::LongString)),
    ] {
        let mut coded = Vec::new();
        huffman::encode(std::iter::repeat_n(b'0', len), &mut coded);
        assert_eq!(
            huffman::decode(&coded, &mut Vec::new(), MAX_STRING),
            expected
        );
    }
}

#[test]
fn names_and_values_are_judged_once_and_remembered() {
    for (name, value, expected) in [
        (":method", "PATCH", Name::Method),
        (":scheme", "wss", Name::Scheme),
        (":authority", "a", Name::Authority),
        (":path", "/a", Name::Path),
        (":status", "299", Name::Status),
        (":protocol", "websocket", Name::Protocol),
        (":protocols", "a", Name::UnknownPseudo),
        (":", "a", Name::Invalid),
        (":Path", "/", Name::Invalid),
        (":pa\r\nth", "/", Name::Invalid),
        ("", "a", Name::Invalid),
        ("Host", "a", Name::Invalid),
        ("a b", "a", Name::Invalid),
        ("a:", "a", Name::Invalid),
        ("a\x7f", "a", Name::Invalid),
        ("a\u{80}", "a", Name::Invalid),
        ("host", "a", Name::Field(Known::Host)),
        ("te", "trailers", Name::Field(Known::Te)),
        ("content_length", "1", Name::Field(Known::Disguised)),
        ("x-!#$%&'*+.^_`|~9", "1", Name::Field(Known::Other)),
        ("a", "", Name::Field(Known::Other)),
        ("a", " b\t c\t", Name::Field(Known::Other)),
        ("a", "\u{80}\u{ff}", Name::Field(Known::Other)),
        ("a", "b\0", Name::Invalid),
        ("a", "\rb", Name::Invalid),
        ("a", "b\nc", Name::Invalid),
        (":path", "/\n", Name::Invalid),
        ("a", "\x7f", Name::Invalid),
        ("a", "\x1f", Name::Invalid),
    ] {
        let mut block = vec![0x40, name.len() as u8];
        block.extend(name.as_bytes());
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
        // By its index, and with its name for a good value.
        block.extend(hex("be 7e 02 6f 6b"));
        let (text, names) = read(&mut Decoder::new(4096), &block).unwrap();
        assert_eq!(
            text,
            format!("{name}: {value}\r\n{name}: {value}\r\n{name}: ok\r\n")
        );
        assert_eq!(names, [expected, expected, Name::of(name.as_bytes())]);
    }
}

#[test]
fn size_updates_are_read_at_the_start_and_evict() {
    let mut decoder = Decoder::new(4096);
    let added = hex("40 01 61 01 62");
    read(&mut decoder, &added).unwrap();
    assert_eq!(read(&mut decoder, &hex("be")).unwrap().0, "a: b\r\n");
    // To 33, to nothing, and back to 4096.
    let (text, _) = read(&mut decoder, &hex("3f 02 20 3f e1 1f")).unwrap();
    assert_eq!(text, "");
    let empty = read(&mut decoder, &hex("be")).unwrap_err();
    assert_eq!(empty, HpackError::Index);
    read(&mut decoder, &added).unwrap();
    assert_eq!(read(&mut decoder, &hex("be")).unwrap().0, "a: b\r\n");
}

#[test]
fn an_entry_may_evict_the_one_that_lends_its_name() {
    let mut decoder = Decoder::new(40);
    let block = hex("40 01 61 01 62 7e 02 63 63 be");
    assert_eq!(
        read(&mut decoder, &block).unwrap().0,
        "a: b\r\na: cc\r\na: cc\r\n"
    );
    let (text, _) = read(&mut decoder, &hex("7e 08 64 64 64 64 64 64 64 64")).unwrap();
    assert_eq!(text, "a: dddddddd\r\n");
    assert_eq!(
        read(&mut decoder, &hex("be")).unwrap_err(),
        HpackError::Index
    );
}

#[test]
fn size_updates_are_written_once() {
    let mut encoder = Encoder::new();
    let mut begin = |sizes: &[usize]| {
        sizes.iter().for_each(|size| encoder.set_max_size(*size));
        let mut out = Vec::new();
        encoder.begin(&mut out);
        out
    };
    assert_eq!(begin(&[]), hex(""));
    assert_eq!(begin(&[65536]), hex(""));
    assert_eq!(begin(&[4096, 8192]), hex(""));
    assert_eq!(begin(&[100]), hex("3f 45"));
    assert_eq!(begin(&[]), hex(""));
    assert_eq!(begin(&[4096]), hex("3f e1 1f"));
    assert_eq!(begin(&[0, 100, 65536]), hex("20 3f e1 1f"));
    assert_eq!(begin(&[0]), hex("20"));
    assert_eq!(begin(&[0, 0]), hex(""));
    assert_eq!(begin(&[0, 10]), hex("2a"));
}

#[test]
fn fields_are_added_unless_they_hardly_repeat() {
    let long = "v".repeat(513);
    let mut encoder = Encoder::new();
    let mut kind = |name: &str, value: &str| {
        let mut out = Vec::new();
        encoder.field(&mut out, name.as_bytes(), value.as_bytes());
        out[0]
    };
    for (name, value, first, again) in [
        ("Date", "today", 0x40 | 33, 0x80 | 62),
        ("x-a", "1", 0x40, 0x80 | 62),
        ("X-A", "2", 0x40 | 62, 0x80 | 62),
        ("x-a", &long, 0x0f, 0x0f),
        ("x-b", &long, 0, 0),
        ("Set-Cookie", "a=b", 0x1f, 0x1f),
        ("Authorization", "a", 0x1f, 0x1f),
        ("content-length", "7", 0x0f, 0x0f),
        ("X-Request-Id", "7", 0, 0),
        ("ETag", "7", 0x0f, 0x0f),
        ("vary", "", 0x80 | 59, 0x80 | 59),
        ("Accept-Encoding", "gzip, deflate", 0x80 | 16, 0x80 | 16),
    ] {
        assert_eq!(
            (kind(name, value), kind(name, value)),
            (first, again),
            "{name}"
        );
    }
    let mut out = Vec::new();
    for status in [200, 204, 206, 304, 400, 404, 500] {
        encoder.status(&mut out, status);
    }
    encoder.status(&mut out, 301);
    encoder.status(&mut out, 301);
    assert_eq!(out, hex("88 89 8a 8b 8c 8d 8e 48 82 64 01 be"));
}

#[test]
fn a_field_is_found_as_long_as_it_is_in_the_table() {
    let (mut encoder, mut table, mut state) = (Encoder::new(), Vec::new(), 1u32);
    for _ in 0..20_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let field = format!("X-{}: {}\r\n", (state >> 16) % 5, (state >> 20) % 30);
        let (name, value) = field.trim_end().split_once(": ").unwrap();
        let mut out = Vec::new();
        encoder.field(&mut out, name.as_bytes(), value.as_bytes());
        // Newest first; the oldest leave.
        let mut size = 0;
        table.retain(|field: &String| {
            size += field.len() + 28;
            size <= 4096
        });
        match table.iter().position(|other| *other == field) {
            Some(nth) if nth < 65 => assert_eq!(out, [0x80 | (62 + nth) as u8]),
            Some(nth) => assert_eq!(out, [0xff, (nth - 65) as u8]),
            None => {
                assert_eq!(out[0] & 0xc0, 0x40);
                table.insert(0, field);
            }
        }
    }
}

/// Writes blocks with one encoder and reads them with one decoder.
fn round_trip(blocks: &[(Option<usize>, Pairs)]) {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    for (size, fields) in blocks {
        if let Some(size) = size {
            encoder.set_max_size(*size);
        }
        let (mut block, mut expected) = (Vec::new(), Vec::new());
        encoder.begin(&mut block);
        for (name, value) in fields {
            encoder.field(&mut block, name, value);
            expected.extend([&name.to_ascii_lowercase()[..], b": ", value, b"\r\n"].concat());
        }
        let (text, mut rest) = (&mut Vec::new(), &block[..]);
        decoder.begin();
        while decoder.next(&mut rest, text).unwrap().is_some() {}
        assert_eq!(*text, expected);
    }
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-fA-F]{1,2}",
        "[xX]-[a-zA-Z-]{1,40}",
        (0..table::STATIC.len()).prop_map(|nth| {
            String::from_utf8(table::STATIC[nth].name().to_ascii_uppercase()).unwrap()
        }),
        Just("Set-Cookie".to_owned()),
    ]
    .prop_map(String::into_bytes)
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[ab]{0,2}".prop_map(String::into_bytes),
        "[a-z0-9 ,;=/-]{0,80}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..700),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        blocks in prop::collection::vec(
            (
                prop::option::weighted(0.1, 0usize..5000),
                prop::collection::vec((names(), values()), 0..20),
            ),
            0..20,
        ),
    ) {
        round_trip(&blocks);
    }

    #[test]
    fn huffman_code_of_any_bytes(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut coded, mut decoded) = (Vec::new(), Vec::new());
        huffman::encode(text.iter().copied(), &mut coded);
        huffman::decode(&coded, &mut decoded, text.len()).unwrap();
        prop_assert_eq!(decoded, text);
    }

    /// Either an error, or just what encodes to the same bytes.
    #[test]
    fn any_bytes_as_huffman_code(coded in prop::collection::vec(any::<u8>(), 0..40)) {
        let (mut text, mut again) = (Vec::new(), Vec::new());
        if huffman::decode(&coded, &mut text, 1000).is_ok() {
            huffman::encode(text.iter().copied(), &mut again);
            prop_assert_eq!(again, coded);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20),
    ) {
        let mut decoder = Decoder::new(300);
        for block in blocks {
            let _ = read(&mut decoder, &block);
        }
    }
}
