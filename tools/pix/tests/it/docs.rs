//! The documents' shell sessions, run as they stand.

use std::process::Stdio;

use tokio::process::Command;

use crate::switch::{PIX, Switch};

/// What stands in a document's `sh` blocks, one after the other.
pub(crate) fn session(document: &str) -> String {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in document.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => lines.push(line),
            _ => {}
        }
    }
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn a_bank_connects_by_hand_as_the_document_says() {
    let switch = Switch::new().await;
    let home = &switch.home;
    let session = session(include_str!("../../../../docs/connect-a-bank.md"));
    assert!(
        session.contains("pki participant") && session.contains("msgs"),
        "the document has its blocks"
    );
    let output = Command::new("sh")
        .args(["-euc", &session])
        .env("PIX", PIX)
        .env("PIX_DIR", home.dir())
        .env("ICOM", format!("https://localhost:{}", home.port(4002)))
        .env("BANK_DIR", home.dir().join("bank-by-hand"))
        .stdin(Stdio::null())
        .output()
        .await
        .expect("sh is there");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(
        said.contains("<Message>pacs.008.spi.1.16</Message>"),
        "{said}\n{complained}"
    );
    assert!(
        said.contains("HTTP/1.1 201") && said.to_ascii_lowercase().contains("pi-resourceid:"),
        "{said}"
    );
    assert_eq!(
        said.matches("<TxSts>ACSC</TxSts>").count(),
        2,
        "for itself, and for whom it settles: {said}\n{complained}"
    );
    assert!(said.contains("3333000V (Indireto Virtual de 33333333)"), "{said}");
    assert!(said.contains("settled"), "{said}\n{complained}");
    switch.stop().await;
}
