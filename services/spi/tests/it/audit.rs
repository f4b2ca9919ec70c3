//! The audit chain: what was written stays as it was written.

use sqlx::{Connection as _, PgConnection};

use crate::support::{A, B, TestSpi};

#[tokio::test]
async fn a_changed_row_or_byte_breaks_the_chain_where_it_is() {
    let mut spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let order = a.order(B, "1.00");
    let id = order.end_to_end_id;
    a.post(a.pacs_008(vec![order])).await;
    b.reader().hear_until(1).await;
    b.post(b.pacs_002(&[(id, None)])).await;
    a.reader().hear_until(1).await;
    assert!(spi.stop().await.success());
    assert!(spi.audit().await.0);
    assert!(
        spi.count("SELECT count(*) FROM audit_head").await >= 1,
        "the head was signed at the stop"
    );

    let mut owner = spi.owner().await;
    for (change, undo) in [
        (
            "UPDATE posting SET amount = amount + 1 WHERE end_to_end_id IS NOT NULL",
            "UPDATE posting SET amount = amount - 1 WHERE end_to_end_id IS NOT NULL",
        ),
        (
            "UPDATE payment_step SET outcome = 'released' WHERE step = 2",
            "UPDATE payment_step SET outcome = 'settled' WHERE step = 2",
        ),
        (
            "UPDATE message_in SET raw = set_byte(raw, 40, get_byte(raw, 40) # 1)",
            "UPDATE message_in SET raw = set_byte(raw, 40, get_byte(raw, 40) # 1)",
        ),
        (
            "UPDATE payment SET receiver = '33333333'",
            "UPDATE payment SET receiver = '22222222'",
        ),
    ] {
        sqlx::query(change).execute(&mut owner).await.expect(change);
        let (holds, words) = spi.audit().await;
        assert!(!holds && words.contains("BROKEN"), "{change}: {words}");
        sqlx::query(undo).execute(&mut owner).await.expect(undo);
    }
    assert!(spi.audit().await.0, "undone, it holds again");
}

#[tokio::test]
async fn the_writing_role_may_append_and_nothing_else() {
    let spi = TestSpi::start().await;
    let a = spi.bank(A);
    a.post(a.pacs_008(vec![a.order(B, "1.00")])).await;
    let mut writer = PgConnection::connect(&spi.urls.writer).await.expect("connects");
    for forbidden in [
        "UPDATE payment SET amount = 0",
        "DELETE FROM payment_step",
        "UPDATE message_in SET raw = ''",
        "DELETE FROM posting",
        "UPDATE funding SET amount = 1",
        "DELETE FROM funding",
        "UPDATE batch SET audit_hash = ''",
        "TRUNCATE audit_head",
        "DELETE FROM delivery",
        "DROP TABLE payment",
    ] {
        let refused = sqlx::query(forbidden).execute(&mut writer).await;
        assert!(refused.is_err(), "{forbidden} was allowed");
    }
}
