//! Which elements an answer has, in the order in which they are written. What an answer has besides may be new in
//! the API: its readers pass over it.

/// An element of an answer.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// In the order of C14N.
    pub(crate) attributes: &'static [&'static str],
    /// None is an element of text.
    pub(crate) children: &'static [Self],
}

const fn leaf(name: &'static str) -> Shape {
    Shape {
        name,
        attributes: &[],
        children: &[],
    }
}

const fn windowed(name: &'static str) -> Shape {
    Shape {
        name,
        attributes: &["d90", "m12", "m60"],
        children: &[],
    }
}

const fn node(name: &'static str, children: &'static [Shape]) -> Shape {
    Shape {
        name,
        attributes: &[],
        children,
    }
}

const AT: Shape = leaf("ResponseTime");
const ID: Shape = leaf("CorrelationId");
const KEY: Shape = leaf("Key");
const WATERMARK: Shape = leaf("Watermark");

const ENTRY: Shape = node(
    "Entry",
    &[
        KEY,
        leaf("KeyType"),
        node(
            "Account",
            &[
                leaf("Participant"),
                leaf("Branch"),
                leaf("AccountNumber"),
                leaf("AccountType"),
                leaf("OpeningDate"),
            ],
        ),
        node(
            "Owner",
            &[leaf("Type"), leaf("TaxIdNumber"), leaf("Name"), leaf("TradeName")],
        ),
        leaf("CreationDate"),
        leaf("KeyOwnershipDate"),
        leaf("OpenClaimCreationDate"),
    ],
);

const SPI: Shape = node("Spi", &[WATERMARK, windowed("Settlements")]);
const FRAUD_MARKERS: Shape = node(
    "FraudMarkers",
    &[
        WATERMARK,
        windowed("ApplicationFrauds"),
        windowed("MuleAccounts"),
        windowed("ScammerAccounts"),
        windowed("OtherFrauds"),
        windowed("UnknownFrauds"),
        windowed("TotalFraudTransactionAmount"),
        windowed("DistinctFraudReporters"),
    ],
);
const INFRACTION_REPORTS: Shape = node(
    "InfractionReports",
    &[
        WATERMARK,
        leaf("OpenReports"),
        leaf("OpenReportsDistinctReporters"),
        windowed("RejectedReports"),
    ],
);
const OWNER_STATISTICS: Shape = node(
    "OwnerStatistics",
    &[
        SPI,
        FRAUD_MARKERS,
        INFRACTION_REPORTS,
        node("Entries", &[WATERMARK, leaf("RegisteredAccounts")]),
    ],
);
const KEY_STATISTICS: Shape = node(
    "KeyStatistics",
    &[
        SPI,
        FRAUD_MARKERS,
        INFRACTION_REPORTS,
        node("Entries", &[WATERMARK, windowed("DistinctAccounts")]),
    ],
);
const POLICY: Shape = node(
    "Policy",
    &[
        leaf("AvailableTokens"),
        leaf("Capacity"),
        leaf("RefillTokens"),
        leaf("RefillPeriodSec"),
        leaf("Name"),
    ],
);
const CATEGORY: Shape = leaf("Category");
const CHECKED_KEY: Shape = Shape {
    name: "Key",
    attributes: &["hasEntry"],
    children: &[],
};

/// The answers that we know, by their roots.
pub(crate) static RESPONSES: [Shape; 8] = [
    node("CreateEntryResponse", &[AT, ID, ENTRY]),
    node(
        "GetEntryResponse",
        &[AT, ID, ENTRY, OWNER_STATISTICS, KEY_STATISTICS],
    ),
    node("UpdateEntryResponse", &[AT, ID, ENTRY]),
    node("DeleteEntryResponse", &[AT, ID, KEY]),
    node("CheckKeysResponse", &[AT, ID, node("Keys", &[CHECKED_KEY])]),
    node(
        "ListPoliciesResponse",
        &[AT, ID, CATEGORY, node("Policies", &[POLICY])],
    ),
    node("GetPolicyResponse", &[AT, ID, CATEGORY, POLICY]),
    // The schema has the key's statistics first, the example and getEntry the owner's.
    node(
        "GetEntryStatisticsResponse",
        &[AT, ID, KEY, OWNER_STATISTICS, KEY_STATISTICS],
    ),
];

/// Namespace of problems.
pub(crate) const PROBLEM_NAMESPACE: &str = "urn:ietf:rfc:7807";

/// A problem.
pub(crate) static PROBLEM: Shape = node(
    "problem",
    &[
        leaf("type"),
        leaf("title"),
        leaf("status"),
        leaf("detail"),
        leaf("correlationId"),
        node(
            "violations",
            &[node(
                "violation",
                &[leaf("reason"), leaf("value"), leaf("property")],
            )],
        ),
    ],
);
