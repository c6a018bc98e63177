//! Certificates and authorities: from Secrets and ConfigMaps to PEM texts. Checks that there is a certificate and a key; whether they fit is found where they are loaded.

use crate::{
    Objects,
    conditions::{ConditionType, Finding, Reason},
    kinds::{CERTIFICATES_GROUP, Holder, ObjectRef, ObjectReference},
    lookup::Lookup,
    schema::FieldPath,
};
use headgate_config::{Certificate, CertificateName, Redacted, Text};

/// Why a reference leads to nothing usable.
pub(crate) type Unusable = (Reason, String);

/// A certificate that can be shown.
pub(crate) struct Usable {
    pub certificate: Certificate,
    /// What is wrong with the newest version of its Secret, if this is the one before.
    pub wrong: Option<Unusable>,
}

/// The certificate of a reference. Of a Secret that is of no use any more it is the last that was.
pub(crate) fn certificate(
    lookup: &Lookup<'_>,
    from: Holder<'_>,
    reference: &ObjectReference,
) -> Result<Usable, Unusable> {
    if !reference.group.is_empty() || reference.kind != "Secret" {
        let message = format!("{} of group {:?} holds no certificate", reference.kind, reference.group);
        return Err((Reason::InvalidCertificateRef, message));
    }
    let to = target(reference, from.namespace);
    if !lookup.permits(from, &to) {
        return Err((Reason::RefNotPermitted, format!("{to} is in another namespace, and no grant allows to use it")));
    }
    let key = (to.namespace.clone(), to.name.clone());
    let why = lookup.objects.unusable_secrets.get(&key);
    let Some(secret) = lookup.objects.secrets.get(&key) else {
        let why = why.map_or("does not exist", Text::as_str);
        return Err((Reason::InvalidCertificateRef, format!("{to} {why}")));
    };
    let text = |key: &str| secret.data.get(key).map(Redacted::reveal).unwrap_or_default();
    let (chain, key_pem) = (text("tls.crt"), text("tls.key"));
    if !has_pem(chain, "CERTIFICATE") {
        return Err((Reason::InvalidCertificateRef, format!("{to} has no certificate in PEM under tls.crt")));
    }
    if !has_pem(key_pem, "PRIVATE KEY") {
        return Err((Reason::InvalidCertificateRef, format!("{to} has no private key in PEM under tls.key")));
    }
    let wrong =
        why.map(|why| (Reason::InvalidCertificateRef, format!("{to} {why}; the version before it is served on")));
    let name = CertificateName { namespace: to.namespace.into(), secret: to.name.into() };
    Ok(Usable {
        certificate: Certificate { name, chain: chain.to_owned(), key: Redacted::new(key_pem.to_owned()) },
        wrong,
    })
}

/// The certificate of a name that was found by [`certificate`].
pub(crate) fn of_secret(objects: &Objects, name: &CertificateName) -> Option<Certificate> {
    let secret = Objects::get(&objects.secrets, &name.namespace, &name.secret)?;
    let text = |key: &str| secret.data.get(key).map(|text| text.reveal().to_owned());
    Some(Certificate { name: name.clone(), chain: text("tls.crt")?, key: Redacted::new(text("tls.key")?) })
}

/// The certificate for endpoints that a reference names; nothing of what is wrong with it is left unsaid.
pub(crate) fn for_endpoints(
    lookup: &Lookup<'_>,
    from: Holder<'_>,
    reference: &ObjectReference,
    at: &'static str,
    findings: &mut Vec<Finding>,
) -> Result<Certificate, String> {
    let (made, wrong) = match certificate(lookup, from, reference) {
        Ok(Usable { certificate, wrong }) => (Ok(certificate), wrong),
        Err((reason, message)) => (Err(message.clone()), Some((reason, message))),
    };
    findings.extend(wrong.map(|(reason, message)| {
        let is_forbidden = reason == Reason::RefNotPermitted;
        let reason = if is_forbidden { reason } else { Reason::InvalidClientCertificateRef };
        Finding::new(ConditionType::ResolvedRefs, reason, FieldPath::of(at), message)
    }));
    made
}

/// The PEM text of authorities in a ConfigMap or a ClusterTrustBundle; `wrong_kind` is the reason for references to anything else.
pub(crate) fn authority(
    lookup: &Lookup<'_>,
    from: Holder<'_>,
    reference: &ObjectReference,
    wrong_kind: Reason,
) -> Result<String, Unusable> {
    match (reference.group.as_str(), reference.kind.as_str()) {
        ("", "ConfigMap") => in_config_map(lookup, from, &target(reference, from.namespace)),
        // it is nobody's own, and everybody may read it: no grant is asked for (GEP-5075)
        (CERTIFICATES_GROUP, "ClusterTrustBundle") => in_trust_bundle(lookup.objects, &target(reference, "")),
        (group, kind) => Err((wrong_kind, format!("{kind} of group {group:?} holds no authorities"))),
    }
}

fn in_config_map(lookup: &Lookup<'_>, from: Holder<'_>, to: &ObjectRef) -> Result<String, Unusable> {
    if !lookup.permits(from, to) {
        return Err((Reason::RefNotPermitted, format!("{to} is in another namespace, and no grant allows to use it")));
    }
    let Some(map) = Objects::get(&lookup.objects.config_maps, &to.namespace, &to.name) else {
        return Err((Reason::InvalidCACertificateRef, format!("{to} does not exist")));
    };
    match map.data.get("ca.crt").filter(|text| has_pem(text, "CERTIFICATE")) {
        Some(text) => Ok(text.clone()),
        None => Err((Reason::InvalidCACertificateRef, format!("{to} has no certificate in PEM under ca.crt"))),
    }
}

fn in_trust_bundle(objects: &Objects, to: &ObjectRef) -> Result<String, Unusable> {
    if objects.lacks_trust_bundles {
        return Err((Reason::InvalidKind, format!("this cluster has no ClusterTrustBundles, and so no {}", to.name)));
    }
    let Some(bundle) = Objects::get(&objects.trust_bundles, "", &to.name) else {
        return Err((Reason::InvalidCACertificateRef, format!("{to} does not exist")));
    };
    match has_pem(&bundle.pem, "CERTIFICATE") {
        true => Ok(bundle.pem.clone()),
        false => Err((Reason::InvalidCACertificateRef, format!("{to} has no certificate in PEM"))),
    }
}

fn target(reference: &ObjectReference, namespace: &str) -> ObjectRef {
    let namespace = reference.namespace.as_deref().unwrap_or(namespace);
    ObjectRef::new(&reference.group, &reference.kind, namespace, &reference.name)
}

/// Whether a text holds a whole block whose label ends in `label` (`RSA PRIVATE KEY` is a `PRIVATE KEY`).
fn has_pem(text: &str, label: &str) -> bool {
    let (begin, end) = (format!("{label}-----\n"), format!("{label}-----"));
    let text = text.replace("\r\n", "\n");
    let Some((before, body)) = text.split_once(&begin) else { return false };
    let starts = before.lines().last().is_some_and(|line| line.starts_with("-----BEGIN "));
    let body = body.split_once("-----END ");
    starts && body.is_some_and(|(body, rest)| !body.trim().is_empty() && rest.contains(&end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pem_block_is_whole_or_none() {
        let cert = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        assert!(has_pem(cert, "CERTIFICATE"));
        assert!(has_pem(&format!("# a comment\n{cert}"), "CERTIFICATE"));
        assert!(has_pem("-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----", "PRIVATE KEY"));
        for bad in [
            "",
            "Hello world",
            "-----BEGIN CERTIFICATE-----\nMIIB",
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
        ] {
            assert!(!has_pem(bad, "CERTIFICATE"), "{bad}");
        }
    }
}
