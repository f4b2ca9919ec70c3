//! Content identifiers (DICT API 2.12.1, tag Reconciliation).

use aws_lc_rs::hmac;
use pix_domain::{Cid, Key, RequestId};

use crate::{Account, Owner};

/// HMAC-SHA256, with the 16 bytes of the RequestId as its key, over the essential attributes joined by `&`; what
/// is absent is empty.
#[must_use]
pub fn cid(request_id: &RequestId, key: &Key, account: &Account, owner: &Owner) -> Cid {
    let branch = account
        .branch
        .map_or_else(String::new, |branch| branch.to_string());
    let attributes = [
        key.kind().as_str(),
        key.as_str(),
        owner.tax_id.as_str(),
        owner.name.as_str(),
        owner.trade_name.as_ref().map_or("", |name| name.as_str()),
        account.participant.as_str(),
        &branch,
        account.number.as_str(),
        account.kind.as_str(),
    ];
    of_attributes(request_id.as_bytes(), &attributes.join("&"))
}

fn of_attributes(request_id: &[u8; 16], attributes: &str) -> Cid {
    let key = hmac::Key::new(hmac::HMAC_SHA256, request_id);
    let tag = hmac::sign(&key, attributes.as_bytes());
    Cid::from_bytes(tag.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use pix_domain::VSync;

    use super::*;

    /// The example of the API's document, whose branch has five characters and so passes by [`of_attributes`] alone.
    const ATTRIBUTES: &str = "PHONE&+5511987654321&11122233300&João Silva&&12345678&00001&0007654321&CACC";
    const CIDS: [&str; 3] = [
        "28c06eb41c4dc9c3ae114831efcac7446c8747777fca8b145ecd31ff8480ae88",
        "4d4abb9168114e349672b934d16ed201a919cb49e28b7f66a240e62c92ee007f",
        "fce514f84f37934bc8aa0f861e4f7392273d71b9d18e8209d21e4192a7842058",
    ];
    const VSYNC: &str = "996fc1dd3b6b14bcf0c9fe8320eb66d7e2a3fd874ccf767b2e939641b1ea8eaf";

    /// Bytes 1 to 16, as the example has them: no UUID of version 4, so the key of the HMAC is given as it is.
    fn request_bytes() -> [u8; 16] {
        std::array::from_fn(|i| u8::try_from(i + 1).expect("small"))
    }

    #[test]
    fn the_example_of_the_document_comes_out() {
        let cid = of_attributes(&request_bytes(), ATTRIBUTES);
        assert_eq!(cid.to_string(), CIDS[0]);
        let all = CIDS.map(|cid| Cid::parse(cid).expect("a CID"));
        let vsync = all.iter().fold(VSync::EMPTY, VSync::toggled);
        assert_eq!(vsync.to_string(), VSYNC);
        let back = all.iter().fold(vsync, VSync::toggled);
        assert_eq!((back, back.to_string()), (VSync::EMPTY, "0".repeat(64)));
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    fn the_example_is_the_document_s() {
        let Some(dir) = std::env::var_os("PIX_SPEC_DIR") else {
            eprintln!("skipped: PIX_SPEC_DIR is not set");
            return;
        };
        let file = std::path::Path::new(&dir).join("dict/cid-vsync-vectors.json");
        let vectors: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file).expect("the vectors")).expect("JSON");
        assert_eq!(vectors["cid"]["entryAttributes"], ATTRIBUTES);
        assert_eq!(
            vectors["cid"]["requestIdBytes"],
            serde_json::json!(request_bytes())
        );
        assert_eq!(vectors["cid"]["cid"], CIDS[0]);
        assert_eq!(vectors["vsync"]["cids"], serde_json::json!(CIDS));
        assert_eq!(vectors["vsync"]["vsync"], VSYNC);
    }

    #[test]
    fn attributes_stand_in_their_order_and_what_is_absent_is_empty() {
        let text = crate::EntryText {
            key: Some("+5511987654321".to_owned()),
            key_type: "PHONE".to_owned(),
            account: crate::AccountText {
                participant: "12345678".to_owned(),
                branch: Some("0001".to_owned()),
                number: "0007654321".to_owned(),
                kind: "CACC".to_owned(),
                opened_at: "2010-01-10T03:00:00Z".to_owned(),
            },
            owner: crate::OwnerText {
                person_type: "NATURAL_PERSON".to_owned(),
                tax_id: "11122233300".to_owned(),
                name: "João Silva".to_owned(),
                trade_name: None,
            },
        };
        let entry = text.check().expect("valid");
        let request = RequestId::new(7);
        let of = |account: &Account| {
            cid(
                &request,
                entry.key.as_ref().expect("a phone"),
                account,
                &entry.owner,
            )
        };
        let attributes = ATTRIBUTES.replace("00001", "0001");
        assert_eq!(of(&entry.account), of_attributes(request.as_bytes(), &attributes));
        let without = Account {
            branch: None,
            ..entry.account.clone()
        };
        let attributes = ATTRIBUTES.replace("00001", "");
        assert_eq!(of(&without), of_attributes(request.as_bytes(), &attributes));
    }
}
