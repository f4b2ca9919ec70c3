//! The code lists of the SPI messages.

/// A code outside its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the code is not in the list of {list}")]
pub struct InvalidCode {
    /// The element whose list it is.
    pub list: &'static str,
}

macro_rules! code {
    ($(#[$doc:meta])* $name:ident, $list:literal, $($(#[$vdoc:meta])* $variant:ident = $wire:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }
        impl $name {
            /// Every code of the list.
            pub const ALL: &[Self] = &[$(Self::$variant),+];
            /// Reads the code.
            ///
            /// # Errors
            /// [`InvalidCode`] when the list does not have it.
            pub fn parse(wire: &[u8]) -> Result<Self, InvalidCode> {
                $(if wire == $wire.as_bytes() { return Ok(Self::$variant); })+
                Err(InvalidCode { list: $list })
            }
            /// The code as it is written.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $wire),+ }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use code;

code! {
    /// How a payment was initiated (`LclInstrm/Prtry`, forma de iniciação).
    LocalInstrument, "LclInstrm",
    /// Account data typed by hand.
    Manual = "MANU",
    /// Key typed by hand.
    Dict = "DICT",
    /// Static QR code.
    StaticQr = "QRES",
    /// Dynamic QR code.
    DynamicQr = "QRDN",
    /// Payment initiation service.
    Initiated = "INIC",
    /// Pix Automático.
    Automatic = "AUTO",
    /// By proximity, from a dynamic QR code.
    DynamicProximity = "APDN",
    /// By proximity, from a static QR code.
    StaticProximity = "APES",
}

code! {
    /// `InstrPrty`.
    Priority, "InstrPrty",
    /// Settled at once; the payer's time counts.
    High = "HIGH",
    /// Scheduled, or held for fraud analysis; time counts from receipt.
    Normal = "NORM",
}

code! {
    /// `SvcLvl/Prtry`.
    ServiceLevel, "SvcLvl",
    /// Priority payment.
    Priority = "PAGPRI",
    /// Held for fraud analysis.
    FraudAnalysis = "PAGFRD",
    /// Scheduled.
    Scheduled = "PAGAGD",
}

code! {
    /// `Purp/Cd`.
    Purpose, "Purp",
    /// Purchase or transfer.
    InstantPayment = "IPAY",
    /// Pix Troco.
    CashBack = "GSCB",
    /// Pix Saque.
    Withdrawal = "OTHR",
    /// MED refund in Pix Automático.
    Refund = "REFU",
    /// MED 2.0 return of a later layer.
    RecoveryReturn = "IPRT",
}

code! {
    /// `RfrdDocInf/Tp/CdOrPrtry/Prtry`: who hands out the cash.
    WithdrawalAgent, "RfrdDocInf",
    /// Withdrawal service facilitator.
    Facilitator = "AGFSS",
    /// Shop.
    Shop = "AGTEC",
    /// Another company.
    OtherCompany = "AGTOT",
}

code! {
    /// `AdjstmntAmtAndRsn/Rsn`.
    WithdrawalAmountKind, "AdjstmntAmtAndRsn",
    /// Value of the purchase.
    Purchase = "VLCP",
    /// Cash handed out.
    Cash = "VLDN",
}

code! {
    /// `TxSts`.
    TransactionStatus, "TxSts",
    /// The receiver's participant accepts.
    AcceptedSettlementInProcess = "ACSP",
    /// Refused, by the receiver's participant or the SPI.
    Rejected = "RJCT",
    /// Settled, told to the payer's participant.
    SettledDebtor = "ACSC",
    /// Settled, told to the receiver's participant.
    SettledCreditor = "ACCC",
}
