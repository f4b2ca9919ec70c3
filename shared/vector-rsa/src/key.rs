//! A private key, in the parts that the Chinese remainder theorem takes.

use aws_lc_rs::digest::Digest;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use x509_parser::asn1_rs::{Any, FromDer, Tag};
use zeroize::Zeroizing;

use crate::SIGNATURE_LEN;

/// 64-bit limbs of a prime of 1024 bits.
pub(crate) const LIMBS: usize = 16;
/// A number of at most 1024 bits, its least significant limb first; zeroed when it goes.
pub(crate) type Number = Zeroizing<[u64; LIMBS]>;

/// The key is not RSA of 2048 bits with two primes of 1024 bits, the greater one first. Such a key signs alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RSA key of 2048 bits with two primes of 1024 bits, the greater one first")]
pub struct UnfitKey;

/// A private RSA-2048 key with what verifies its signatures.
pub struct Key {
    pub(crate) p: Number,
    pub(crate) q: Number,
    pub(crate) dp: Number,
    pub(crate) dq: Number,
    pub(crate) inverse: Number,
    public: ParsedPublicKey,
}

impl Key {
    /// Takes a DER `PrivateKeyInfo` (PKCS#8) or `RSAPrivateKey` (PKCS#1), which something else has found consistent,
    /// and its DER `RSAPublicKey`.
    ///
    /// # Errors
    /// [`UnfitKey`].
    pub fn from_der(private: &[u8], public: &[u8]) -> Result<Self, UnfitKey> {
        let fields = fields(private)?;
        // PKCS#8: version, algorithm, and the RSAPrivateKey in octets.
        if let [_, algorithm, wrapped, ..] = fields.as_slice()
            && algorithm.tag() == Tag::Sequence
        {
            return match wrapped.tag() {
                Tag::OctetString => Self::from_pkcs1(&self::fields(wrapped.data)?, public),
                _ => Err(UnfitKey),
            };
        }
        Self::from_pkcs1(&fields, public)
    }

    /// `RSAPrivateKey`: version, n, e, d, p, q, d mod p-1, d mod q-1, the inverse of q mod p; exactly two primes.
    fn from_pkcs1(fields: &[Any<'_>], public: &[u8]) -> Result<Self, UnfitKey> {
        let [version, modulus, _, _, p, q, dp, dq, inverse] = fields else {
            return Err(UnfitKey);
        };
        if !magnitude(version)?.is_empty() || magnitude(modulus)?.len() != SIGNATURE_LEN {
            return Err(UnfitKey);
        }
        let (first, second) = (magnitude(p)?, magnitude(q)?);
        let is_whole = |prime: &[u8]| prime.len() == LIMBS * 8 && prime[0] >= 0x80;
        if !is_whole(first) || !is_whole(second) || first <= second {
            return Err(UnfitKey);
        }
        Ok(Self {
            p: number(first)?,
            q: number(second)?,
            dp: number(magnitude(dp)?)?,
            dq: number(magnitude(dq)?)?,
            inverse: number(magnitude(inverse)?)?,
            public: ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public).map_err(|_| UnfitKey)?,
        })
    }

    /// Whether `signature` is this key's over what has this SHA-256.
    #[must_use]
    pub fn verifies(&self, digest: &Digest, signature: &[u8]) -> bool {
        self.public.verify_digest_sig(digest, signature).is_ok()
    }
}

/// What a SEQUENCE consists of.
fn fields(der: &[u8]) -> Result<Vec<Any<'_>>, UnfitKey> {
    let Ok(([], sequence)) = Any::from_der(der) else {
        return Err(UnfitKey);
    };
    if sequence.tag() != Tag::Sequence {
        return Err(UnfitKey);
    }
    let mut rest = sequence.data;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (after, field) = Any::from_der(rest).map_err(|_| UnfitKey)?;
        fields.push(field);
        rest = after;
    }
    Ok(fields)
}

/// Octets of a number above or equal to zero, without leading zeros.
fn magnitude<'a>(field: &Any<'a>) -> Result<&'a [u8], UnfitKey> {
    match field.data {
        [0..0x80, ..] if field.tag() == Tag::Integer => {
            let zeros = field.data.iter().take_while(|octet| **octet == 0).count();
            Ok(&field.data[zeros..])
        }
        _ => Err(UnfitKey),
    }
}

/// Octets, the most significant first, as limbs, the least significant first.
fn number(octets: &[u8]) -> Result<Number, UnfitKey> {
    if octets.len() > LIMBS * 8 {
        return Err(UnfitKey);
    }
    let mut number = Number::default();
    for (limb, octets) in number.iter_mut().zip(octets.rchunks(8)) {
        *limb = octets.iter().fold(0, |limb, octet| limb << 8 | u64::from(*octet));
    }
    Ok(number)
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::KeyPair as _;

    use super::*;

    pub(crate) fn fresh(size: KeySize) -> (KeyPair, Vec<u8>) {
        let pair = KeyPair::generate(size).expect("a key");
        let der = pair.as_der().expect("DER").as_ref().to_vec();
        (pair, der)
    }

    /// The octets of a number, the most significant first.
    fn octets(number: &Number) -> Vec<u8> {
        number.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect()
    }

    #[test]
    fn the_parts_are_the_key_s() {
        let (pair, pkcs8) = fresh(KeySize::Rsa2048);
        let public = pair.public_key().as_ref();
        let key = Key::from_der(&pkcs8, public).expect("a fit key");
        // PKCS#8 ends with the RSAPrivateKey.
        let start = pkcs8
            .windows(4)
            .rposition(|octets| octets == [2, 1, 0, 2])
            .expect("a version")
            - 4;
        let pkcs1 = &pkcs8[start..];
        let same = Key::from_der(pkcs1, public).expect("a fit key");
        for of in [
            |key: &Key| octets(&key.p),
            |key: &Key| octets(&key.q),
            |key: &Key| octets(&key.dp),
            |key: &Key| octets(&key.dq),
            |key: &Key| octets(&key.inverse),
        ] {
            assert_eq!(of(&key), of(&same));
            let number = of(&key);
            let number = &number[number.iter().take_while(|octet| **octet == 0).count()..];
            assert!(pkcs1.windows(number.len()).any(|octets| octets == number));
        }
        assert!(octets(&key.p) > octets(&key.q));
    }

    #[test]
    fn limbs_begin_with_the_least_significant() {
        let number = number(&[1, 0, 0, 0, 0, 0, 0, 0, 2]).expect("nine octets");
        assert_eq!((number[0], number[1], number[2]), (2, 1, 0));
        assert!(self::number(&[1; 128]).is_ok() && self::number(&[1; 129]).is_err());
    }

    #[test]
    fn what_is_no_such_key_signs_alone() {
        let (pair, der) = fresh(KeySize::Rsa3072);
        let public = pair.public_key().as_ref();
        assert_eq!(Key::from_der(&der, public).err(), Some(UnfitKey));
        let (pair, der) = fresh(KeySize::Rsa2048);
        let public = pair.public_key().as_ref();
        for end in [0, 1, 4, 30, der.len() - 1] {
            assert!(Key::from_der(&der[..end], public).is_err(), "{end} octets");
        }
        assert!(Key::from_der(&[&der[..], &[0]].concat(), public).is_err());
        assert!(Key::from_der(&der, b"no key").is_err());
    }
}
