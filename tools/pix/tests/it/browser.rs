//! The banks' pages as people meet them: in a browser, in both languages, on a phone, and with the keyboard alone.
//!
//! `PIX_SCREENSHOTS=folder` keeps a picture of each state, to be looked at.

use crate::money::Money;
use crate::switch::{A, B, Bank, Switch};
use crate::webdriver::{Browser, ENTER, TAB, Window};

const ELISA: &str = "elisa.prado@horizonte.example";
/// The virtual participant that takes what is paid to it, unless told otherwise.
const RECEIVER: &str = "99999A04";

impl Switch {
    fn page(&self, bank: Bank, query: &str) -> String {
        format!("http://127.0.0.1:{}/{query}", self.bank_port(bank))
    }
}

/// The page of a bank, once it shows its accounts and hears what moves.
async fn opened<'a>(browser: &'a Browser, switch: &Switch, bank: Bank) -> Window<'a> {
    let window = browser.window(&switch.page(bank, "")).await;
    serves(&window).await;
    window
}

async fn serves(page: &Window<'_>) {
    let live = "return document.getElementById('live').className === 'on'
                && document.getElementById('balance').textContent !== ''";
    page.until_true("the page is live", live).await;
}

/// Writes whom to pay, by account, and how much.
async fn to_account(page: &Window<'_>, ispb: &str, number: &str, tax_id: &str, amount: &str) {
    page.click("#tab-account").await;
    page.write("#ispb-to", ispb).await;
    page.write("#branch", "0001").await;
    page.write("#number", number).await;
    page.write("#tax_id", tax_id).await;
    page.write("#amount", amount).await;
    page.click("#go").await;
    page.until("#confirm-amount", "R$").await;
    page.click("#confirm").await;
}

/// In both languages, what is wrong with a field.
async fn says(page: &Window<'_>, css: &str, portuguese: &str, english: &str) {
    page.until(css, portuguese).await;
    page.click("[data-lang=en]").await;
    page.until(css, english).await;
    page.click("[data-lang=pt]").await;
    page.until(css, portuguese).await;
}

#[tokio::test]
async fn a_payment_by_key_is_seen_on_both_pages_while_it_happens() {
    let switch = Switch::new().await;
    let before = Money::count(&switch).await;
    let browser = Browser::start().await;
    let a = opened(&browser, &switch, A).await;
    let b = opened(&browser, &switch, B).await;
    a.screenshot("01-bank-a").await;
    b.screenshot("02-bank-b").await;
    b.script("window.notReloaded = true").await;
    assert_eq!(a.text("#balance").await, "R$ 5.000,00");
    assert_eq!(b.text("#balance").await, "R$ 2.500,00");

    a.write("#key", ELISA).await;
    a.write("#amount", "10,50").await;
    a.write("#description", "Almoço").await;
    a.screenshot("03-form").await;
    a.click("#go").await;
    a.until("#confirm-facts", "Elisa Prado").await;
    a.until("#confirm-facts", "***.200.504-**").await;
    assert_eq!(a.text("#confirm-amount").await, "R$ 10,50");
    assert_eq!(a.text("#balance").await, "R$ 5.000,00", "nothing is paid yet");
    a.screenshot("04-confirm").await;
    a.click("#confirm").await;
    a.until("#end-title", "Pagamento concluído").await;
    a.until("#end-what", "R$ 10,50 para Elisa Prado").await;
    a.until("#balance", "R$ 4.989,50").await;
    a.until("#history", "“Almoço”").await;
    a.screenshot("05-done").await;

    b.until("#balance", "R$ 2.510,50").await;
    b.until("#toast", "Você recebeu R$ 10,50 de Ana Souza").await;
    assert_eq!(b.script("return window.notReloaded").await, true);
    b.screenshot("06-received").await;
    b.click("#history .entry").await;
    b.until("#history .inside", "creditado").await;
    b.screenshot("07-received-details").await;

    // In English, and so again after a reload, but for who asks otherwise.
    a.click("[data-lang=en]").await;
    a.until("#end-title", "Payment done").await;
    assert_eq!(a.text("#balance").await, "R$ 4,989.50");
    a.screenshot("08-done-in-english").await;
    a.open(&switch.page(A, "")).await;
    serves(&a).await;
    assert_eq!(a.text("#h-history").await, "History");
    a.open(&switch.page(A, "?lang=pt")).await;
    serves(&a).await;
    assert_eq!(a.text("#h-history").await, "Extrato");

    assert_eq!(browser.complaints().await, Vec::<String>::new());
    let after = Money::count(&switch).await;
    after.assert_conserved(&before);
    assert_eq!(after.paid_by(A, &before), 1050);
    switch.stop().await;
}

#[tokio::test]
async fn what_a_newcomer_gets_wrong_is_explained_in_both_languages() {
    let switch = Switch::new().await;
    let before = Money::count(&switch).await;
    let browser = Browser::start().await;
    let page = opened(&browser, &switch, A).await;

    page.click("#go").await;
    says(&page, "#key-error", "Informe a chave", "Enter the receiver's key").await;
    says(&page, "#amount-error", "Informe o valor", "Enter the amount").await;
    page.screenshot("10-nothing-written").await;
    page.write("#key", "ninguem@nada.example").await;
    for (amount, portuguese, english) in [
        ("0", "maior que zero", "more than zero"),
        ("10,505", "duas casas", "two places"),
        ("1.000", "duas casas", "two places"),
        ("-5", "negativo", "negative"),
        ("dez", "Informe o valor", "Enter the amount"),
        ("5000,01", "há R$ 5.000,00", "R$ 5,000.00 are available"),
    ] {
        page.write("#amount", amount).await;
        page.click("#go").await;
        says(&page, "#amount-error", portuguese, english).await;
        page.screenshot(&format!("11-amount-{amount}")).await;
    }
    page.write("#amount", "1.000,50").await;
    page.click("#go").await;
    let nobody = ("Ninguém registrou esta chave", "Nobody registered this key");
    says(&page, "#key-error", nobody.0, nobody.1).await;
    page.screenshot("12-unknown-key").await;
    page.write("#key", "not a key").await;
    page.click("#go").await;
    says(
        &page,
        "#key-error",
        "Isto não é uma chave Pix",
        "The key is no CPF",
    )
    .await;

    // What the receiver's bank refuses comes back, with its reason and what to do.
    for (ispb, number, tax_id, code, portuguese, english) in [
        (B.ispb, "200004", "70020070683", "AC06", "bloqueada", "blocked"),
        (B.ispb, "200005", "70020080727", "AC07", "encerrada", "closed"),
        (
            B.ispb,
            "999999",
            B.tax_id,
            "AC03",
            "inexistente",
            "does not exist",
        ),
        (
            B.ispb,
            B.number,
            "70020070683",
            "BE01",
            "não é o do titular",
            "does not match",
        ),
        (RECEIVER, "1", B.tax_id, "BE17", "QR Code", "QR code"),
        (
            RECEIVER,
            "1",
            B.tax_id,
            "ED05",
            "Erro no processamento",
            "Settlement failed",
        ),
    ] {
        if ispb == RECEIVER {
            let refuse = format!("reject:{code}");
            let rule = [
                "virtual",
                "rule",
                "--participant",
                RECEIVER,
                "--do",
                &refuse,
                "--times",
                "1",
            ];
            let (worked, said) = switch.home.run(&rule).await;
            assert!(worked, "{said}");
        }
        to_account(&page, ispb, number, tax_id, "7,25").await;
        page.until("#end-title", "Pagamento recusado").await;
        says(&page, "#end-why", portuguese, english).await;
        assert!(page.text("#end-what").await.contains("R$ 7,25"));
        assert!(!page.text("#end-advice").await.is_empty());
        page.until("#end-facts", code).await;
        page.until("#history .why", code).await;
        page.screenshot(&format!("13-refused-{code}")).await;
        page.until("#balance", "R$ 5.000,00").await;
        page.click("#another").await;
    }

    // Accounts of one's own that cannot pay say so before anything is written.
    page.click("[data-account='0001/100005']").await;
    says(&page, "#cannot", "encerrada", "closed").await;
    page.screenshot("14-own-account-closed").await;
    page.click("[data-account='0001/100004']").await;
    says(&page, "#cannot", "bloqueada", "blocked").await;

    assert_eq!(browser.complaints().await, Vec::<String>::new());
    Money::count(&switch).await.assert_conserved(&before);
    switch.stop().await;
}

#[tokio::test]
async fn the_page_fits_a_phone_and_is_used_with_the_keyboard_alone() {
    let switch = Switch::new().await;
    let browser = Browser::start().await;
    let page = opened(&browser, &switch, B).await;

    // Whoever cannot see it is told what each thing is.
    let unnamed = "return [...document.querySelectorAll('input, select, button')].filter((node) =>
        !(node.labels?.length || node.getAttribute('aria-label') || node.textContent.trim())).map((node) => node.id)";
    assert_eq!(page.script(unnamed).await, serde_json::json!([]));

    // From the top: past the header, to the key, and on by Tab.
    page.press(TAB).await;
    let focused = "return document.activeElement.className || document.activeElement.id";
    assert_eq!(page.script(focused).await, "skip");
    page.press(ENTER).await;
    page.press(TAB).await;
    page.press(TAB).await;
    assert_eq!(page.script(focused).await, "key");
    page.press("ana.souza@aurora.example").await;
    page.press(TAB).await;
    page.press("1,25").await;
    page.press(ENTER).await;
    page.until("#confirm-facts", "Ana Souza").await;
    assert_eq!(
        page.script(focused).await,
        "soft",
        "the focus is at the head of what is to be confirmed"
    );
    page.press(TAB).await;
    page.press(TAB).await;
    assert_eq!(page.script("return document.activeElement.id").await, "confirm");
    page.press(ENTER).await;
    page.until("#end-title", "Pagamento concluído").await;
    page.until_true(
        "the focus is where the end is told",
        "return document.activeElement.id === 'end'",
    )
    .await;

    page.resize(360, 780).await;
    let wide = "return document.documentElement.scrollWidth";
    for (name, script) in [
        ("20-phone-done", ""),
        ("21-phone-form", "document.getElementById('another').click()"),
        (
            "22-phone-by-account",
            "document.getElementById('tab-account').click()",
        ),
    ] {
        page.script(script).await;
        assert_eq!(page.script(wide).await, 360, "{name}");
        page.screenshot(name).await;
    }
    page.click("#tab-key").await;
    page.write("#key", "ana.souza@aurora.example").await;
    page.write("#amount", "1234,56").await;
    page.click("#go").await;
    page.until("#confirm-facts", "Ana Souza").await;
    assert_eq!(page.script(wide).await, 360);
    page.screenshot("23-phone-confirm").await;
    page.click("#back").await;
    page.resize(1360, 960).await;

    // While the other side takes its time, the page says so, and what is set aside.
    let slow = [
        "virtual",
        "rule",
        "--participant",
        RECEIVER,
        "--do",
        "delay:10",
        "--times",
        "1",
    ];
    let (worked, said) = switch.home.run(&slow).await;
    assert!(worked, "{said}");
    to_account(&page, RECEIVER, "1", "11111111111", "2,00").await;
    page.until("#end-title", "Pagamento em andamento").await;
    page.until("#parts", "R$ 2,00").await;
    page.screenshot("24-under-way").await;
    page.until("#end-title", "Pagamento concluído").await;

    // A bank that was killed and is back is heard again, without a reload.
    let old = switch.kill(&B.process()).await;
    page.until("#live", "Reconectando…").await;
    page.screenshot("25-bank-away").await;
    switch.until_restarted(&B.process(), old).await;
    page.until("#live", "Ao vivo").await;

    assert_eq!(browser.complaints().await, Vec::<String>::new());
    switch.stop().await;
}
