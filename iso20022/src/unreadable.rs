//! Why a whole message is refused, ready to be told in an admi.002.

use pix_domain::{MsgId, ResourceId, Text, Timestamp};
use pix_xmldsig::SignatureError;
use pix_xmldsig::tree::TreeError;

use crate::Admi002;
use crate::read::Fault;

/// What kind of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnreadableKind {
    /// Not well-formed XML, or with something that is not allowed in it.
    Xml,
    /// Not a message of this catalogue: another namespace or version.
    Schema,
    /// An element is missing, surplus or out of order, or a value does not fit its type.
    Facet,
    /// The signature is missing, not of the profile, or not true.
    Signature,
    /// The signature names a certificate that nobody registered.
    UnknownSigner,
    /// Too many bytes, levels, attributes or nodes.
    Limit,
}

/// A message that cannot be processed. Its texts never repeat what the message carried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{description}", description = self.description.as_ref().unwrap_or(&Text::truncated(self.reason.as_str())))]
pub struct Unreadable {
    /// The kind.
    pub kind: UnreadableKind,
    /// `BizMsgIdr` of the message, when it could be found.
    pub message_id: Option<MsgId>,
    /// For `RjctgPtyRsn`.
    pub reason: Text<35>,
    /// For `ErrLctn`: the path of the element below Envelope, transactions counted from 1.
    pub location: Option<Text<350>>,
    /// For `RsnDesc`.
    pub description: Option<Text<350>>,
    /// For `AddtlData`: the EndToEndId of the transaction at fault, when it could be read.
    pub additional: Option<Text<1000>>,
}

impl Unreadable {
    fn new(kind: UnreadableKind, description: &str) -> Self {
        let reason = match kind {
            UnreadableKind::Xml | UnreadableKind::Facet => "XML inválido",
            UnreadableKind::Schema => "Schema desconhecido",
            UnreadableKind::Signature => "Assinatura inválida",
            UnreadableKind::UnknownSigner => "Certificado desconhecido",
            UnreadableKind::Limit => "Mensagem acima dos limites",
        };
        Self {
            kind,
            message_id: None,
            reason: Text::truncated(reason),
            location: None,
            description: Some(Text::truncated(description)),
            additional: None,
        }
    }

    /// A namespace or a `MsgDefIdr` that is not of the catalogue. The sentence is the SPI's own.
    pub(crate) fn schema() -> Self {
        Self::new(
            UnreadableKind::Schema,
            "Schema desconhecido ou não habilitado para uso",
        )
    }

    pub(crate) fn with_message_id(mut self, message_id: Option<MsgId>) -> Self {
        self.message_id = message_id;
        self
    }

    /// The admi.002 that tells it. `resource` names the message when its own id could not be read.
    #[must_use]
    pub fn admi_002(&self, resource: ResourceId, rejected_at: Timestamp) -> Admi002 {
        let reference = self
            .message_id
            .map_or_else(|| resource.to_string(), |id| id.to_string());
        Admi002 {
            reference: Text::truncated(&reference),
            reason: self.reason.clone(),
            rejected_at: Some(rejected_at.to_millis()),
            location: self.location.clone(),
            description: self.description.clone(),
            additional: self.additional.clone(),
        }
    }
}

impl From<TreeError> for Unreadable {
    fn from(error: TreeError) -> Self {
        let kind = match error {
            TreeError::Limit { .. } => UnreadableKind::Limit,
            TreeError::Encoding | TreeError::Forbidden(_) | TreeError::IllFormed { .. } => {
                UnreadableKind::Xml
            }
        };
        Self::new(kind, &error.to_string())
    }
}

impl From<SignatureError> for Unreadable {
    fn from(error: SignatureError) -> Self {
        let kind = match error {
            SignatureError::UnknownSigner(_) => UnreadableKind::UnknownSigner,
            SignatureError::Missing
            | SignatureError::Several
            | SignatureError::Misplaced
            | SignatureError::Shape(_)
            | SignatureError::Algorithm(_)
            | SignatureError::References
            | SignatureError::KeyInfoId
            | SignatureError::DuplicateId
            | SignatureError::Base64(_)
            | SignatureError::IssuerSerial
            | SignatureError::Digest(_)
            | SignatureError::Value => UnreadableKind::Signature,
        };
        let mut refusal = Self::new(kind, &error.to_string());
        refusal.location = Some(Text::truncated("AppHdr/Sgntr"));
        refusal
    }
}

impl From<Fault> for Unreadable {
    fn from(fault: Fault) -> Self {
        if fault.unknown_definition {
            return Self::schema();
        }
        let mut refusal = Self::new(UnreadableKind::Facet, &fault.why);
        refusal.location = Some(Text::truncated(&fault.location));
        refusal.additional = fault
            .end_to_end_id
            .map(|id| Text::truncated(&format!("EndToEndId={id}")));
        refusal
    }
}
