//! Canonical XML from typed messages, and their signatures: written once, never read again to be signed.

use std::borrow::Cow;

use pix_domain::Timestamp;
use pix_xmldsig::{Signer, digest, escape, sign_enveloped};

use crate::parse::problem_tag;
use crate::problem::TYPE_BASE;
use crate::shape::PROBLEM;
use crate::{
    AccountText, Entry, EntryResponse, EntryText, FraudMarkerStatistics, Head, InfractionReportStatistics,
    OwnerText, PolicyState, Problem, Request, Response, SpiStatistics, Statistics, UpdateEntry, Windowed,
};

/// Signs and assembles a request: canonical, without an XML declaration.
///
/// # Panics
/// When `key_info_id` is not 1 to 128 of `A-Z a-z 0-9 _ - . :`.
#[must_use]
pub fn seal_request(request: &Request, signer: &Signer, key_info_id: &str) -> Vec<u8> {
    let root = request.operation().root();
    seal(root, root, &request_inner(request), signer, key_info_id)
}

/// A request without a signature: checkKeys has none.
#[must_use]
pub fn write_unsigned(request: &Request) -> Vec<u8> {
    let root = request.operation().root();
    assemble(root, root, b"", &request_inner(request))
}

/// Signs and assembles an answer: canonical, without an XML declaration.
///
/// # Panics
/// As [`seal_request`].
#[must_use]
pub fn seal_response(response: &Response<'_>, signer: &Signer, key_info_id: &str) -> Vec<u8> {
    let root = match response {
        Response::Entry(response) => response.root.as_str(),
        Response::DeleteEntry(_) => "DeleteEntryResponse",
        Response::CheckKeys(_) => "CheckKeysResponse",
        Response::ListPolicies(_) => "ListPoliciesResponse",
        Response::GetPolicy(_) => "GetPolicyResponse",
        Response::GetEntryStatistics(_) => "GetEntryStatisticsResponse",
    };
    seal(root, root, &response_inner(response), signer, key_info_id)
}

/// Signs and assembles a problem: canonical, without an XML declaration.
///
/// # Panics
/// As [`seal_request`].
#[must_use]
pub fn seal_problem(problem: &Problem, signer: &Signer, key_info_id: &str) -> Vec<u8> {
    seal(
        &problem_tag(),
        PROBLEM.name,
        &problem_inner(problem),
        signer,
        key_info_id,
    )
}

/// A problem without a signature: for answers that must cost next to nothing.
#[must_use]
pub fn write_problem(problem: &Problem) -> Vec<u8> {
    assemble(&problem_tag(), PROBLEM.name, b"", &problem_inner(problem))
}

/// The root `name`, whose start tag reads `tag`, with the signature before `inner`.
fn seal(tag: &str, name: &str, inner: &[u8], signer: &Signer, key_info_id: &str) -> Vec<u8> {
    let root = digest(&[b"<", tag.as_bytes(), b">", inner, b"</", name.as_bytes(), b">"]);
    let signature = sign_enveloped(signer, key_info_id, &root);
    assemble(tag, name, signature.as_bytes(), inner)
}

fn assemble(tag: &str, name: &str, signature: &[u8], inner: &[u8]) -> Vec<u8> {
    let parts = [
        b"<",
        tag.as_bytes(),
        b">",
        signature,
        inner,
        b"</",
        name.as_bytes(),
        b">",
    ];
    parts.concat()
}

fn request_inner(request: &Request) -> Vec<u8> {
    let mut out = Out::with_capacity(1024);
    match request {
        Request::CreateEntry(create) => {
            out.raw("<Entry>");
            out.entry_text(&create.entry);
            out.raw("</Entry>");
            out.text("Reason", &create.reason);
            out.text("RequestId", &create.request_id);
        }
        Request::UpdateEntry(update) => out.update_entry(update),
        Request::DeleteEntry(delete) => {
            out.text("Key", &delete.key);
            out.text("Participant", &delete.participant);
            out.text("Reason", &delete.reason);
        }
        Request::CheckKeys(check) => {
            out.raw("<Keys>");
            for key in &check.keys {
                out.text("Key", key);
            }
            out.raw("</Keys>");
        }
    }
    out.0
}

fn response_inner(response: &Response<'_>) -> Vec<u8> {
    let mut out = Out::with_capacity(2048);
    match response {
        Response::Entry(response) => out.entry_response(response),
        Response::DeleteEntry(response) => {
            out.head(&response.head);
            out.text("Key", response.key.as_str());
        }
        Response::CheckKeys(response) => {
            out.head(&response.head);
            out.raw("<Keys>");
            for (key, has_entry) in &response.keys {
                out.raw(if *has_entry {
                    "<Key hasEntry=\"true\">"
                } else {
                    "<Key hasEntry=\"false\">"
                });
                out.raw(&escape::text(key));
                out.raw("</Key>");
            }
            out.raw("</Keys>");
        }
        Response::ListPolicies(response) => {
            out.head(&response.head);
            out.leaf("Category", response.category.as_str());
            out.raw("<Policies>");
            for policy in &response.policies {
                out.policy(policy);
            }
            out.raw("</Policies>");
        }
        Response::GetPolicy(response) => {
            out.head(&response.head);
            out.leaf("Category", response.category.as_str());
            out.policy(&response.policy);
        }
        Response::GetEntryStatistics(response) => {
            out.head(&response.head);
            out.text("Key", response.key.as_str());
            out.statistics(&response.statistics);
        }
    }
    out.0
}

fn problem_inner(problem: &Problem) -> Vec<u8> {
    let mut out = Out::with_capacity(512);
    out.leaf("type", &format!("{TYPE_BASE}{}", problem.kind.as_str()));
    out.text("title", &carried(&problem.title));
    out.leaf("status", &problem.status.to_string());
    if !problem.detail.is_empty() {
        out.text("detail", &carried(&problem.detail));
    }
    if let Some(id) = problem.correlation_id {
        out.leaf("correlationId", &id.to_string());
    }
    if !problem.violations.is_empty() {
        out.raw("<violations>");
        for violation in &problem.violations {
            out.raw("<violation>");
            out.text("reason", &carried(&violation.reason));
            out.optional("value", violation.value.as_deref().map(carried).as_deref());
            out.optional("property", violation.property.as_deref().map(carried).as_deref());
            out.raw("</violation>");
        }
        out.raw("</violations>");
    }
    out.0
}

/// `text` with `?` for what XML cannot carry: a violation repeats what came, be it from a path.
fn carried(text: &str) -> Cow<'_, str> {
    let lost =
        |c: char| (c < ' ' && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{FFFE}' | '\u{FFFF}');
    if text.contains(lost) {
        Cow::Owned(text.replace(lost, "?"))
    } else {
        Cow::Borrowed(text)
    }
}

struct Out(Vec<u8>);

impl Out {
    fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    fn raw(&mut self, xml: &str) {
        self.0.extend_from_slice(xml.as_bytes());
    }

    /// `value` has no character that needs an escape.
    fn leaf(&mut self, name: &str, value: &str) {
        self.raw("<");
        self.raw(name);
        self.raw(">");
        self.raw(value);
        self.raw("</");
        self.raw(name);
        self.raw(">");
    }

    fn text(&mut self, name: &str, text: &str) {
        self.leaf(name, &escape::text(text));
    }

    fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn time(&mut self, name: &str, at: Timestamp) {
        let wire = at.to_wire();
        self.leaf(name, std::str::from_utf8(&wire).expect("times are ASCII"));
    }

    fn number(&mut self, name: &str, number: impl ToString) {
        self.leaf(name, &number.to_string());
    }

    fn update_entry(&mut self, update: &UpdateEntry) {
        self.text("Key", &update.key);
        if let Some(account) = &update.account {
            self.account(account);
        }
        if let Some(owner) = &update.owner {
            self.owner(owner);
        }
        self.text("Reason", &update.reason);
    }

    fn entry_text(&mut self, entry: &EntryText) {
        self.optional("Key", entry.key.as_deref());
        self.text("KeyType", &entry.key_type);
        self.account(&entry.account);
        self.owner(&entry.owner);
    }

    fn account(&mut self, account: &AccountText) {
        self.raw("<Account>");
        self.text("Participant", &account.participant);
        self.optional("Branch", account.branch.as_deref());
        self.text("AccountNumber", &account.number);
        self.text("AccountType", &account.kind);
        self.text("OpeningDate", &account.opened_at);
        self.raw("</Account>");
    }

    fn owner(&mut self, owner: &OwnerText) {
        self.raw("<Owner>");
        self.text("Type", &owner.person_type);
        self.text("TaxIdNumber", &owner.tax_id);
        self.text("Name", &owner.name);
        self.optional("TradeName", owner.trade_name.as_deref());
        self.raw("</Owner>");
    }

    fn head(&mut self, head: &Head) {
        self.time("ResponseTime", head.at);
        self.leaf("CorrelationId", &head.correlation_id.to_string());
    }

    fn entry_response(&mut self, response: &EntryResponse<'_>) {
        self.head(&response.head);
        self.entry(&response.entry);
        if let Some(statistics) = &response.statistics {
            self.statistics(statistics);
        }
    }

    fn entry(&mut self, entry: &Entry) {
        self.raw("<Entry>");
        self.entry_text(&entry.into());
        self.time("CreationDate", entry.created_at);
        self.time("KeyOwnershipDate", entry.owned_since);
        if let Some(at) = entry.claim_opened_at {
            self.time("OpenClaimCreationDate", at);
        }
        self.raw("</Entry>");
    }

    fn policy(&mut self, policy: &PolicyState) {
        self.raw("<Policy>");
        self.number("AvailableTokens", policy.available);
        self.number("Capacity", policy.capacity);
        self.number("RefillTokens", policy.refill_tokens);
        self.number("RefillPeriodSec", policy.refill_period_s);
        self.text("Name", &policy.name);
        self.raw("</Policy>");
    }

    fn statistics(&mut self, statistics: &Statistics) {
        let Statistics { owner, key } = statistics;
        self.raw("<OwnerStatistics>");
        self.spi(&owner.spi);
        self.fraud_markers(&owner.fraud_markers);
        self.infraction_reports(&owner.infraction_reports);
        self.raw("<Entries>");
        self.time("Watermark", owner.entries.watermark);
        self.number("RegisteredAccounts", owner.entries.registered_accounts);
        self.raw("</Entries></OwnerStatistics><KeyStatistics>");
        self.spi(&key.spi);
        self.fraud_markers(&key.fraud_markers);
        self.infraction_reports(&key.infraction_reports);
        self.raw("<Entries>");
        self.time("Watermark", key.entries.watermark);
        self.windowed("DistinctAccounts", key.entries.distinct_accounts);
        self.raw("</Entries></KeyStatistics>");
    }

    fn spi(&mut self, spi: &SpiStatistics) {
        self.raw("<Spi>");
        self.time("Watermark", spi.watermark);
        self.windowed("Settlements", spi.settlements);
        self.raw("</Spi>");
    }

    fn fraud_markers(&mut self, markers: &FraudMarkerStatistics) {
        self.raw("<FraudMarkers>");
        self.time("Watermark", markers.watermark);
        for (name, windowed) in [
            ("ApplicationFrauds", markers.application_frauds),
            ("MuleAccounts", markers.mule_accounts),
            ("ScammerAccounts", markers.scammer_accounts),
            ("OtherFrauds", markers.other_frauds),
            ("UnknownFrauds", markers.unknown_frauds),
            (
                "TotalFraudTransactionAmount",
                markers.total_fraud_transaction_amount,
            ),
            ("DistinctFraudReporters", markers.distinct_fraud_reporters),
        ] {
            self.windowed(name, windowed);
        }
        self.raw("</FraudMarkers>");
    }

    fn infraction_reports(&mut self, reports: &InfractionReportStatistics) {
        self.raw("<InfractionReports>");
        self.time("Watermark", reports.watermark);
        self.number("OpenReports", reports.open_reports);
        self.number(
            "OpenReportsDistinctReporters",
            reports.open_reports_distinct_reporters,
        );
        self.windowed("RejectedReports", reports.rejected_reports);
        self.raw("</InfractionReports>");
    }

    fn windowed(&mut self, name: &str, windowed: Windowed) {
        let Windowed { d90, m12, m60 } = windowed;
        self.raw(&format!(
            "<{name} d90=\"{d90}\" m12=\"{m12}\" m60=\"{m60}\"></{name}>"
        ));
    }
}
