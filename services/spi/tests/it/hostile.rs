//! Bodies and sockets that mean harm: each gets its answer, and nobody else notices.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{A, B, Heard, SOON, TestSpi, status};
use crate::wire::Wire;

/// Messages that are none, made from a sound one.
fn bodies(sound: &str) -> Vec<(&'static str, Vec<u8>)> {
    let with = |from: &str, to: &str| sound.replacen(from, to, 1).into_bytes();
    let utf_16: Vec<u8> = [0xFF, 0xFE]
        .into_iter()
        .chain(sound.encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    let attributes: String = (0..10_000).map(|i| format!(" a{i}=\"\"")).collect();
    let namespaces: String = (0..10_000).map(|i| format!(" xmlns:n{i}=\"urn:{i}\"")).collect();
    let entities =
        "<!DOCTYPE e [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]><e>&b;&b;</e>";
    vec![
        ("spaces", b"   \r\n".to_vec()),
        ("a DOCTYPE", format!("<!DOCTYPE Envelope>{sound}").into_bytes()),
        ("entities", entities.as_bytes().to_vec()),
        (
            "an external entity",
            b"<!DOCTYPE e [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><e>&x;</e>".to_vec(),
        ),
        ("an instruction", with("<AppHdr", "<?run it?><AppHdr")),
        ("a comment", with("<AppHdr", "<!-- no --><AppHdr")),
        ("UTF-16", utf_16),
        ("NUL", with("<AppHdr", "\0<AppHdr")),
        (
            "no UTF-8",
            [&sound.as_bytes()[..200], b"\xC3\x28", &sound.as_bytes()[200..]].concat(),
        ),
        ("depth", deep.into_bytes()),
        ("attributes", format!("<Envelope{attributes}/>").into_bytes()),
        ("namespaces", format!("<Envelope{namespaces}/>").into_bytes()),
        (
            "elements",
            format!("<e>{}</e>", "<a/>".repeat(200_000)).into_bytes(),
        ),
        (
            "a huge text",
            format!("<e>{}</e>", "x".repeat(1_000_000)).into_bytes(),
        ),
        ("half of it", sound.as_bytes()[..sound.len() / 2].to_vec()),
        ("two of them", format!("{sound}{sound}").into_bytes()),
        ("another amount", with(">1.00<", ">9.00<")),
        (
            "another namespace",
            sound
                .replace("https://www.bcb.gov.br/pi/pacs.008/1.16", "urn:iso")
                .into_bytes(),
        ),
    ]
}

#[tokio::test]
async fn bodies_that_mean_harm_come_back_as_admi_002_and_the_next_one_is_paid() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let sound = String::from_utf8(a.pacs_008(vec![a.order(B, "1.00")]).to_vec()).expect("UTF-8");
    let mut reader = a.reader();
    for (what, body) in bodies(&sound) {
        let id = a.post(Bytes::from(body)).await;
        let heard = reader.hear_until(1).await;
        let Heard::Refusal(reference, _) = &heard[0] else {
            panic!("{what}: {heard:?}")
        };
        assert!(
            *reference == id.to_string() || sound.contains(reference),
            "{what}: {reference}"
        );
    }
    assert_eq!(spi.count("SELECT count(*) FROM payment").await, 0);
    assert!(!spi.log().contains("panicked"), "{}", spi.log());
    let order = a.order(B, "1.00");
    let id = order.end_to_end_id;
    a.post(a.pacs_008(vec![order])).await;
    b.reader().hear_until(1).await;
    b.post(b.pacs_002(&[(id, None)])).await;
    assert_eq!(reader.hear_until(1).await, [status(id, "ACSC")]);
}

/// A byte order mark is no harm: editors write it.
#[tokio::test]
async fn what_harmless_tools_write_is_taken() {
    let spi = TestSpi::start().await;
    let a = spi.bank(A);
    for prefix in [
        "\u{FEFF}",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
        "<?xml version='1.0' encoding='utf-8' standalone='yes'?>\r\n",
    ] {
        let order = a.order(B, "1.00");
        let sound = a.pacs_008(vec![order.clone()]);
        a.post([prefix.as_bytes(), &sound].concat().into()).await;
        let heard = spi.bank(B).reader().hear_until(1).await;
        assert!(
            heard.contains(&Heard::Order(order.end_to_end_id)),
            "{prefix:?}: {heard:?}"
        );
    }
}

#[tokio::test]
async fn sockets_that_say_nothing_half_of_it_or_too_slowly_hold_nobody_up() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(
            TcpStream::connect(("127.0.0.1", spi.primary))
                .await
                .expect("accepted"),
        );
    }
    // Half a head, half a body, and a connection closed for writing in the middle of a request.
    let mut half_head = Wire::connect(&spi, A, spi.primary).await;
    half_head
        .send(b"POST /api/v1/in/11111111/msgs HTTP/1.1\r\nHos")
        .await;
    let mut half_body = Wire::connect(&spi, A, spi.primary).await;
    let head = "POST /api/v1/in/11111111/msgs HTTP/1.1\r\nHost: x\r\nContent-Type: application/xml\r\nContent-Length: 100\r\n\r\n<a";
    half_body.send(head.as_bytes()).await;
    let mut half_closed = Wire::connect(&spi, A, spi.primary).await;
    half_closed.send(head.as_bytes()).await;
    half_closed.close_writing().await;
    assert!(matches!(
        half_closed.answer().await.map(|answer| answer.status),
        None | Some(400)
    ));

    let order = a.order(B, "1.00");
    let id = order.end_to_end_id;
    let paid = async {
        a.post(a.pacs_008(vec![order])).await;
        b.reader().hear_until(1).await;
        b.post(b.pacs_002(&[(id, None)])).await;
        a.reader().hear_until(1).await
    };
    let paid = tokio::time::timeout(Duration::from_secs(5), paid)
        .await
        .expect("as ever");
    assert_eq!(paid, [status(id, "ACSC")]);
    // The body that never came is told so in time, and the silent ones are put out.
    let answer = tokio::time::timeout(SOON, half_body.answer())
        .await
        .expect("in time");
    assert_eq!(answer.map(|answer| answer.status), Some(408));
    let mut octet = [0];
    let put_out = tokio::time::timeout(SOON, silent[0].read(&mut octet))
        .await
        .expect("in time");
    assert!(matches!(put_out, Ok(0) | Err(_)));
    drop(silent[1].write_all(b"late").await);
}
