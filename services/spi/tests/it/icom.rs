//! The table of the ICOM manual, walked from outside.

use std::time::Instant;

use crate::support::{A, B, Heard, TestSpi};
use crate::wire::{AT_ONCE, Wire, gzip, multipart};

const XML: &str = "Content-Type: application/xml; charset=utf-8";

fn post(ispb: &str, headers: &str, length: usize) -> String {
    format!("POST /api/v1/in/{ispb}/msgs HTTP/1.1\n{headers}\nContent-Length: {length}")
}

/// What is refused at the door, by which status and type, and that nothing of it is stored.
#[tokio::test]
async fn every_refusal_of_a_post_has_its_status_and_type() {
    let spi = TestSpi::start().await;
    let a = spi.bank(A);
    let message = a.pacs_008(vec![a.order(B, "1.00")]);
    let bomb = gzip(&vec![b'<'; 900_000]);
    let eleven = multipart("b", &[&b"<a/>"[..]; 11]);
    let lying = multipart("c", &[b"<a/>"]);
    let table: Vec<(&str, String, Vec<u8>, u16, &str)> = vec![
        (
            "no type",
            post(A, "Accept: */*", 4),
            b"<a/>".to_vec(),
            415,
            "unsupportedMediaType",
        ),
        (
            "another type",
            post(A, "Content-Type: text/xml", 4),
            b"<a/>".to_vec(),
            415,
            "unsupportedMediaType",
        ),
        (
            "another charset",
            post(A, "Content-Type: application/xml; charset=iso-8859-1", 4),
            b"<a/>".to_vec(),
            400,
            "charset",
        ),
        (
            "no length",
            format!("POST /api/v1/in/{A}/msgs HTTP/1.1\n{XML}"),
            Vec::new(),
            411,
            "lengthRequired",
        ),
        (
            "too long",
            post(A, XML, 1_048_577),
            Vec::new(),
            413,
            "payloadTooLarge",
        ),
        (
            "another coding",
            post(A, &format!("{XML}\nContent-Encoding: br"), 4),
            b"<a/>".to_vec(),
            415,
            "unsupportedMediaType",
        ),
        (
            "no gzip",
            post(A, &format!("{XML}\nContent-Encoding: gzip"), 4),
            b"<a/>".to_vec(),
            400,
            "badRequest",
        ),
        (
            "a bomb",
            post(A, &format!("{XML}\nContent-Encoding: gzip"), bomb.len()),
            bomb,
            413,
            "payloadTooLarge",
        ),
        (
            "eleven messages",
            post(A, "Content-Type: multipart/mixed; boundary=b", eleven.len()),
            eleven,
            400,
            "badRequest",
        ),
        (
            "a lying boundary",
            post(A, "Content-Type: multipart/mixed; boundary=b", lying.len()),
            lying,
            400,
            "badRequest",
        ),
        (
            "no boundary",
            post(A, "Content-Type: multipart/mixed", 4),
            b"<a/>".to_vec(),
            400,
            "badRequest",
        ),
        (
            "a trace",
            post(
                A,
                &format!("{XML}\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                message.len(),
            ),
            message.to_vec(),
            403,
            "forbidden",
        ),
        (
            "a header of one's own",
            post(A, &format!("{XML}\nX-Request-Id: 1"), message.len()),
            message.to_vec(),
            403,
            "forbidden",
        ),
        (
            "another bank's path",
            post(B, XML, message.len()),
            message.to_vec(),
            403,
            "forbidden",
        ),
        (
            "no participant's path",
            post("1", XML, message.len()),
            message.to_vec(),
            403,
            "forbidden",
        ),
        (
            "another path",
            "POST /api/v1/in HTTP/1.1\nContent-Length: 0".to_owned(),
            Vec::new(),
            404,
            "notFound",
        ),
        (
            "another method",
            format!("PUT /api/v1/in/{A}/msgs HTTP/1.1\nContent-Length: 0"),
            Vec::new(),
            405,
            "methodNotAllowed",
        ),
        (
            "two hosts",
            post(A, &format!("{XML}\nHost: a\nHost: b"), message.len()),
            message.to_vec(),
            400,
            "badRequest",
        ),
        (
            "another answer",
            format!("GET /api/v1/out/{A}/stream/start HTTP/1.1\nAccept: application/json"),
            Vec::new(),
            406,
            "notAcceptable",
        ),
        (
            "no stream",
            format!("GET /api/v1/out/{A}/stream/00000000000000000000000000000000 HTTP/1.1"),
            Vec::new(),
            410,
            "gone",
        ),
        (
            "closing no stream",
            format!("DELETE /api/v1/out/{A}/stream/0 HTTP/1.1"),
            Vec::new(),
            410,
            "gone",
        ),
    ];
    for (what, head, body, status, problem) in table {
        let mut wire = Wire::connect(&spi, A, spi.primary).await;
        let answer = wire.ask(&head, &body).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (status, problem),
            "{what}: {answer:?}"
        );
        assert!(
            answer
                .header("content-type")
                .starts_with("application/problem+xml"),
            "{what}"
        );
    }
    // Without Host at all the head is not one of HTTP/1.1.
    let mut wire = Wire::connect(&spi, A, spi.primary).await;
    wire.send(b"GET /api/v1/in/catalog HTTP/1.1\r\n\r\n").await;
    assert_eq!(wire.answer().await.map(|answer| answer.status), Some(400));
    // The secondary channel takes compressed bodies only.
    let mut wire = Wire::connect(&spi, A, spi.secondary).await;
    let plain = wire.ask(&post(A, XML, message.len()), &message).await;
    assert_eq!((plain.status, plain.problem()), (415, "unsupportedMediaType"));
    assert_eq!(
        spi.count("SELECT count(*) FROM message_in").await,
        0,
        "nothing of it was stored"
    );
}

#[tokio::test]
async fn a_message_comes_plain_compressed_or_in_chunks_by_any_name_of_the_host() {
    let spi = TestSpi::start().await;
    let a = spi.bank(A);
    let message = || a.pacs_008(vec![a.order(B, "1.00")]);
    let mut wire = Wire::connect(&spi, A, spi.primary).await;
    for host in [
        "icom.pi.rsfn.net.br",
        "icom-h.pi.rsfn.net.br:16522",
        "127.0.0.1:4002",
    ] {
        let message = message();
        let answer = wire
            .ask(&post(A, &format!("{XML}\nHost: {host}"), message.len()), &message)
            .await;
        assert_eq!(
            (answer.status, answer.resource_ids().len()),
            (201, 1),
            "{answer:?}"
        );
        assert_eq!(answer.resource_ids()[0].len(), 32);
    }
    let packed = gzip(&message());
    let head = post(A, &format!("{XML}\nContent-Encoding: gzip"), packed.len());
    assert_eq!(wire.ask(&head, &packed).await.status, 201);
    let message = message();
    let (front, back) = message.split_at(1000);
    let mut chunks = Vec::new();
    for part in [front, back, b""] {
        chunks.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        chunks.extend_from_slice(part);
        chunks.extend_from_slice(b"\r\n");
    }
    let head = format!("POST /api/v1/in/{A}/msgs HTTP/1.1\n{XML}\nTransfer-Encoding: chunked");
    let answer = wire.ask(&head, &chunks).await;
    assert_eq!(answer.status, 201);
    // The very bytes again: the very id.
    let again = wire.ask(&post(A, XML, message.len()), &message).await;
    assert_eq!(again.resource_ids(), answer.resource_ids());
    assert_eq!(spi.count("SELECT count(*) FROM payment").await, 5);
}

#[tokio::test]
async fn ten_messages_in_one_request_get_ten_ids_in_order_and_a_bad_one_harms_no_other() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let orders: Vec<_> = (0..9).map(|_| a.order(B, "1.00")).collect();
    let mut messages: Vec<_> = orders
        .iter()
        .map(|order| a.pacs_008(vec![order.clone()]))
        .collect();
    messages.insert(4, "<Envelope>".into());
    let parts: Vec<&[u8]> = messages.iter().map(|message| &message[..]).collect();
    let body = multipart("simple boundary", &parts);
    let kind = "Content-Type: multipart/mixed; boundary=\"simple boundary\"";
    let mut wire = Wire::connect(&spi, A, spi.primary).await;
    let answer = wire.ask(&post(A, kind, body.len()), &body).await;
    assert_eq!(
        (answer.status, answer.resource_ids().len()),
        (201, 10),
        "{answer:?}"
    );
    // In order: each message alone, sent again, has the id of its place.
    for (message, id) in messages
        .iter()
        .zip(answer.resource_ids())
        .filter(|(m, _)| m.len() > 20)
    {
        let again = wire.ask(&post(A, XML, message.len()), message).await;
        assert_eq!(again.resource_ids(), [id]);
    }
    let bad = answer.resource_ids()[4].to_owned();
    let refusals = a.reader().hear_until(1).await;
    assert!(
        matches!(&refusals[..], [Heard::Refusal(reference, _)] if *reference == bad),
        "{refusals:?}"
    );
    let mut heard = b.reader().hear_until(9).await;
    heard.sort();
    let mut expected: Vec<_> = orders
        .iter()
        .map(|order| Heard::Order(order.end_to_end_id))
        .collect();
    expected.sort();
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn a_stream_gives_one_or_ten_and_its_next_token_as_long_as_it_lives() {
    let spi = TestSpi::start().await;
    let a = spi.bank(A);
    for _ in 0..3 {
        a.post(a.pacs_008(vec![a.order(B, "1.00")])).await;
    }
    let mut wire = Wire::connect(&spi, B, spi.primary).await;
    let start = format!("GET /api/v1/out/{B}/stream/start HTTP/1.1");
    let single = wire.ask(&start, b"").await;
    assert_eq!(
        (single.status, single.header("content-type")),
        (200, "application/xml; charset=utf-8")
    );
    assert_eq!(single.resource_ids().len(), 1);
    let next = single.header("pi-pull-next").to_owned();
    assert!(next.starts_with(&format!("/api/v1/out/{B}/stream/")), "{next}");
    let many = wire
        .ask(
            &format!("GET {next} HTTP/1.1\nAccept: multipart/mixed\nAccept-Encoding: gzip"),
            b"",
        )
        .await;
    assert!(
        many.header("content-type")
            .starts_with("multipart/mixed; boundary="),
        "{many:?}"
    );
    assert_eq!(many.header("content-encoding"), "gzip");
    assert_eq!(many.text().matches("PI-ResourceId: ").count(), 2);
    // As an absolute URI, too.
    let last = format!("http://icom.pi.rsfn.net.br{}", many.header("pi-pull-next"));
    assert_eq!(
        wire.ask(&format!("DELETE {last} HTTP/1.1"), b"").await.status,
        200
    );
    assert_eq!(
        wire.ask(&format!("DELETE {last} HTTP/1.1"), b"").await.status,
        410
    );
    let catalog = wire.ask("GET /api/v1/in/catalog HTTP/1.1", b"").await;
    assert!(
        catalog.text().contains("<Message>pacs.008.spi.1.16</Message>"),
        "{catalog:?}"
    );
}

#[tokio::test]
async fn an_absolute_next_leads_back_to_the_host_that_was_asked() {
    let mut spi = TestSpi::stopped().await;
    spi.flag("icom.pull_next", "absolute");
    spi.run().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let mut wire = Wire::connect(&spi, B, spi.primary).await;
    let start = format!("GET /api/v1/out/{B}/stream/start HTTP/1.1");
    let port = spi.primary;
    for (host, named) in [
        ("icom-h.pi.rsfn.net.br:16522", String::new()),
        ("[::1]:4002", String::new()),
        ("icom.pi.rsfn.net.br", format!(":{port}")),
    ] {
        let base = format!("https://{host}{named}");
        a.post(a.pacs_008(vec![a.order(B, "1.00")])).await;
        let first = wire.ask(&format!("{start}\nHost: {host}"), b"").await;
        let next = first.header("pi-pull-next").to_owned();
        assert!(
            next.starts_with(&format!("{base}/api/v1/out/{B}/stream/")),
            "{next}"
        );
        // The whole URI as the target of the request, and its path alone.
        a.post(a.pacs_008(vec![a.order(B, "1.00")])).await;
        let second = wire.ask(&format!("GET {next} HTTP/1.1\nHost: {host}"), b"").await;
        assert_eq!(second.status, 200);
        assert_ne!(second.resource_ids(), first.resource_ids());
        let path = second.header("pi-pull-next").replace(&base, "");
        assert_eq!(
            wire.ask(&format!("DELETE {path} HTTP/1.1"), b"").await.status,
            200
        );
    }
    // What cannot stand in a URI does not come back.
    a.post(a.pacs_008(vec![a.order(B, "1.00")])).await;
    let strange = wire.ask(&format!("{start}\nHost: a@b"), b"").await;
    let next = strange.header("pi-pull-next");
    assert!(next.starts_with("/api/v1/out/"), "{next}");
    wire.ask(&format!("DELETE {next} HTTP/1.1"), b"").await;
    // A participant's own connector follows it.
    let order = a.order(B, "2.00");
    let id = order.end_to_end_id;
    a.post(a.pacs_008(vec![order])).await;
    let mut from_b = b.reader();
    assert_eq!(from_b.hear_until(1).await, [Heard::Order(id)]);
    b.post(b.pacs_002(&[(id, None)])).await;
    assert_eq!(from_b.hear_until(1).await, [crate::support::status(id, "ACCC")]);
    let next = from_b.next.expect("a token");
    assert!(next.starts_with(&format!("https://localhost:{port}/")), "{next}");
}

/// Nothing is read or sent that is not listed, and nothing is listed that is neither.
#[tokio::test]
async fn the_catalogs_list_what_is_spoken() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let mut wire = Wire::connect(&spi, A, spi.primary).await;
    let mut listed = Vec::new();
    for way in ["in", "out"] {
        let catalog = wire
            .ask(&format!("GET /api/v1/{way}/catalog HTTP/1.1"), b"")
            .await;
        assert_eq!(
            (catalog.status, catalog.header("content-type")),
            (200, "application/xml; charset=utf-8")
        );
        listed.push(catalog.text().to_owned());
    }
    let order = a.order(B, "1.00");
    let id = order.end_to_end_id;
    let said = [
        a.pacs_008(vec![order]),
        b.pacs_002(&[(id, None)]),
        a.admi_002("M0003816600000000000000000000000", "XML inválido"),
    ];
    let name = |message: &[u8]| {
        let text = std::str::from_utf8(message).expect("UTF-8");
        let (_, rest) = text.split_once("<MsgDefIdr>").expect("a header");
        format!(
            "<Message>{}</Message>",
            rest.split('<').next().expect("split gives one")
        )
    };
    let mut names: Vec<_> = said.iter().map(|message| name(message)).collect();
    names.sort();
    let catalog = format!("<Catalog>{}</Catalog>", names.concat());
    assert_eq!(listed, [catalog.clone(), catalog], "the same both ways");
    // All of them are taken, and what comes back is listed: an order, two statuses, a refusal of what is broken.
    a.post(said[0].clone()).await;
    let mut from_b = b.reader();
    let mut heard: Vec<_> = from_b.raw().await;
    b.post(said[1].clone()).await;
    a.post(said[2].clone()).await;
    a.post("<Envelope>".into()).await;
    heard.extend(from_b.raw().await);
    let mut from_a = a.reader();
    while heard.len() < 4 {
        heard.extend(from_a.raw().await);
    }
    let mut sent: Vec<_> = heard.iter().map(|(_, bytes)| name(bytes)).collect();
    sent.sort();
    sent.dedup();
    assert_eq!(sent, names);
    assert_eq!(
        spi.count("SELECT count(*) FROM message_in WHERE kind = 'refused'")
            .await,
        1
    );
}

#[tokio::test]
async fn an_empty_bucket_says_when_to_come_back_and_answers_cost_a_fifth() {
    let mut spi = TestSpi::stopped().await;
    spi.flag("bucket.primary", "10/1");
    spi.run().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let orders: Vec<_> = (0..10).map(|_| a.order(B, "1.00")).collect();
    a.post(a.pacs_008(orders.clone())).await;
    a.post(a.pacs_008(orders[..1].to_vec())).await; // at zero, or a hair above it
    let mut wire = Wire::connect(&spi, A, spi.primary).await;
    let message = a.pacs_008(vec![a.order(B, "1.00")]);
    let refused = wire.ask(&post(A, XML, message.len()), &message).await;
    assert_eq!((refused.status, refused.problem()), (429, "tooManyRequests"));
    let wait: u32 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=3).contains(&wait), "{wait}");
    // B's own bucket is full: fifty answers cost what ten orders do.
    for ten in 0..5 {
        let answers: Vec<_> = orders.iter().map(|order| (order.end_to_end_id, None)).collect();
        let said = b.icom.post(b.pacs_002(&answers)).await;
        assert!(matches!(said, pix_icom::Said::Taken(_)), "{ten}: {said:?}");
    }
}

#[tokio::test]
async fn a_reader_that_dies_in_its_long_poll_swallows_nothing() {
    let spi = TestSpi::start().await;
    let a = spi.bank(A);
    let start = format!("GET /api/v1/out/{B}/stream/start HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut dying = Wire::connect(&spi, B, spi.primary).await;
    dying.send(start.as_bytes()).await;
    let mut other = Wire::connect(&spi, B, spi.primary).await;
    other.send(start.as_bytes()).await;
    dying.vanish();
    a.post(a.pacs_008(vec![a.order(B, "1.00")])).await;
    let posted = Instant::now();
    let answer = other.answer().await.expect("an answer");
    assert_eq!(answer.status, 200, "the message went to the one that lives");
    assert!(posted.elapsed() < AT_ONCE, "{:?}", posted.elapsed());

    // This one has read its batch, and dies before it confirms: its place and its batch are free after a second.
    other.vanish();
    let mut third = Wire::connect(&spi, B, spi.primary).await;
    third.send(start.as_bytes()).await;
    let again = third.answer().await.expect("an answer");
    assert_eq!(
        again.resource_ids(),
        answer.resource_ids(),
        "the same message, the same id"
    );
    assert!(posted.elapsed() < AT_ONCE * 2, "{:?}", posted.elapsed());
}

/// Tricks with lengths: one message at most, and no second request out of the body of the first.
#[tokio::test]
async fn lengths_that_contradict_each_other_smuggle_nothing() {
    let spi = TestSpi::start().await;
    let inner = format!("GET /api/v1/out/{A}/stream/start HTTP/1.1\r\nHost: x\r\n\r\n");
    let heads = [
        "Content-Length: 4\r\nContent-Length: 5".to_owned(),
        "Content-Length: 4, 5".to_owned(),
        "Content-Length: -1".to_owned(),
        "Content-Length: 0x10".to_owned(),
        "Transfer-Encoding: chunked, identity".to_owned(),
        "Transfer-Encoding: xchunked".to_owned(),
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked", inner.len()),
        " Content-Length: 4".to_owned(),
        "Content-Length : 4".to_owned(),
    ];
    for head in heads {
        let mut wire = Wire::connect(&spi, A, spi.primary).await;
        let request =
            format!("POST /api/v1/in/{A}/msgs HTTP/1.1\r\nHost: x\r\n{XML}\r\n{head}\r\n\r\n{inner}");
        wire.send(request.as_bytes()).await;
        let first = wire.answer().await.map(|answer| answer.status);
        assert!(matches!(first, None | Some(400 | 411)), "{head}: {first:?}");
        let second = wire.answer().await;
        assert!(second.is_none(), "{head}: a second answer: {second:?}");
    }
    assert_eq!(spi.count("SELECT count(*) FROM message_in").await, 0);
}
