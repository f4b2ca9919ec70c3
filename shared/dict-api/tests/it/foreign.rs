//! Messages as other programs write them: on many lines, with a declaration, the signature a template still to be
//! filled.

use crate::support::bank;

/// A signature in the shape of the official template, without digests and value: pretty, with empty-element tags.
pub(crate) fn template() -> String {
    let sealed = crate::support::sealed(&crate::support::create());
    let key_info_start = sealed.find("<ds:X509Data>").expect("there");
    let key_info_end = sealed.find("</ds:X509Data>").expect("there") + "</ds:X509Data>".len();
    let x509_data = &sealed[key_info_start..key_info_end];
    format!(
        r##"<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">
  <ds:SignedInfo>
    <ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>
    <ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/>
    <ds:Reference URI="#key-info-id">
      <ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></ds:Transforms>
      <ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>
      <ds:DigestValue></ds:DigestValue>
    </ds:Reference>
    <ds:Reference URI="">
      <ds:Transforms>
        <ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>
        <ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>
      </ds:Transforms>
      <ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>
      <ds:DigestValue></ds:DigestValue>
    </ds:Reference>
  </ds:SignedInfo>
  <ds:SignatureValue></ds:SignatureValue>
  <ds:KeyInfo Id="key-info-id">{x509_data}</ds:KeyInfo>
</ds:Signature>"##
    )
}

/// `message`, canonical and without signature, as a bank's tool would print it.
pub(crate) fn pretty(message: &str) -> String {
    let lines = message.replace("><", ">\n  <");
    // White space that C14N keeps, so that it counts; an empty element stays one.
    let lines = lines.replace(">\n  </Key>", "></Key>");
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n{lines}\n")
}

/// `message` with `signature` as the first child of its root.
pub(crate) fn insert(message: &str, signature: &str) -> String {
    let root = message.find("?>").map_or(0, |at| at + 2);
    let at = root
        + message[root..]
            .find("\n  <")
            .or_else(|| message[root..].find("><").map(|at| at + 1))
            .expect("a child");
    format!("{}\n  {signature}{}", &message[..at], &message[at..])
}

/// `message` with `signature` as the last child of its root.
pub(crate) fn append(message: &str, signature: &str) -> String {
    let at = message.rfind("</").expect("an end tag");
    format!("{}{signature}\n{}", &message[..at], &message[at..])
}

/// Signs whatever `template` says, honest or not, with an implementation that is not ours.
pub(crate) fn sign(template: &str) -> String {
    use bergshamra::keys::loader::load_pem_auto;
    use bergshamra::{DsigContext, KeysManager};
    let mut keys = KeysManager::new();
    keys.add_key(load_pem_auto(bank().identity.key_pem.as_bytes(), None).expect("a key"));
    let context = DsigContext::new(keys);
    bergshamra::sign(&context, template).unwrap_or_else(|e| panic!("{e}\n{template}"))
}
