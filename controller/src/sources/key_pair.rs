//! Whether a Secret for TLS holds a certificate and the key of it, as whoever serves with it will ask. Prints neither.

use headgate_translate::{
    kinds::Secret,
    schema::{FieldPath, Problem},
};
use rustls::{Error, InconsistentKeys, crypto::ring::sign::any_supported_type, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// The type of Secrets that must hold both.
const TYPE: &str = "kubernetes.io/tls";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// What is wrong with the pair of a Secret that is to hold one: it says so by its type, or has both.
pub fn problem(secret: &Secret) -> Option<Problem> {
    let is_there = |name: &str| secret.data.contains_key(name);
    if secret.kind != TYPE && !(is_there(CERTIFICATE) && is_there(KEY)) {
        return None;
    }
    let text = |name: &str| secret.data.get(name).map(|text| text.reveal()).unwrap_or_default();
    let (name, message, remedy) = judge(text(CERTIFICATE).as_bytes(), text(KEY).as_bytes()).err()?;
    Some(Problem::error(FieldPath::of("data").key(name), message, remedy))
}

type Fault = (&'static str, &'static str, &'static str);

fn judge(chain: &[u8], key: &[u8]) -> Result<(), Fault> {
    let no_certificate =
        (CERTIFICATE, "holds no certificate in PEM", "write the certificate, and those above it after it");
    let no_key = (KEY, "holds no private key in PEM", "write the key of the certificate");
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(|_| no_certificate)?;
    if chain.is_empty() {
        return Err(no_certificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| no_key)?;
    let key = any_supported_type(&key).map_err(|_| {
        (KEY, "holds a key that cannot be used", "use a key of ECDSA, Ed25519 or RSA of 2048 bits or more")
    })?;
    match CertifiedKey::new(chain, key).keys_match() {
        Ok(()) => Ok(()),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err((KEY, "is not the key of the certificate", "write both of the same issue"))
        }
        Err(_) => Err((
            CERTIFICATE,
            "holds a certificate that cannot be read",
            "write the certificate, and those above it after it",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::decode::{Outcome, decode};
    use serde_json::{Value, json};

    fn pair(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    /// What a person is told of a Secret; empty for one that is taken.
    fn told(kind: &str, data: Value) -> String {
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "type": kind, "stringData": data});
        match decode(&secret) {
            Outcome::Known(..) => String::new(),
            Outcome::Refused(name, problems) => {
                assert!(name.and_then(|name| name.secret()).is_some(), "its name is known");
                problems.iter().map(ToString::to_string).collect()
            }
            Outcome::Foreign(kind) => panic!("{kind}"),
        }
    }

    #[test]
    fn a_pair_is_a_certificate_and_the_key_of_it() {
        let ((certificate, key), (other, other_key)) = (pair("a.example"), pair("b.example"));
        let both = |certificate: &str, key: &str| json!({"tls.crt": certificate, "tls.key": key});
        for kind in [TYPE, "", "Opaque"] {
            assert_eq!(told(kind, both(&certificate, &key)), "");
            assert_eq!(told(kind, both(&format!("# the leaf\n{certificate}{other}"), &key)), "");
            for (data, wanted) in [
                (both(&certificate, &other_key), "data[tls.key]: is not the key of the certificate"),
                (both(&format!("{other}{certificate}"), &key), "data[tls.key]: is not the key of the certificate"),
                (both("Hello world", &key), "data[tls.crt]: holds no certificate in PEM"),
                (both(&certificate, "Hello world"), "data[tls.key]: holds no private key in PEM"),
                (both(&certificate, &certificate), "data[tls.key]: holds no private key in PEM"),
                (both(&key, &key), "data[tls.crt]: holds no certificate in PEM"),
                (both(&certificate.replacen("MII", "AAA", 1), &key), "data[tls.crt]: holds a certificate that cannot"),
            ] {
                let told = told(kind, data);
                assert!(told.starts_with(wanted), "{told}");
                assert!(!key.lines().any(|line| told.contains(line)), "nothing of a key is printed");
            }
        }
    }

    #[test]
    fn only_what_is_to_hold_a_pair_is_judged() {
        assert_eq!(told("Opaque", json!({"password": "x"})), "");
        assert_eq!(told("Opaque", json!({"tls.crt": "x"})), "");
        assert!(told(TYPE, json!({"password": "x"})).starts_with("data[tls.crt]: holds no certificate in PEM"));
    }
}
