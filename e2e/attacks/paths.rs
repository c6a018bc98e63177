//! S7: spellings of a path. One path is matched, logged and forwarded, so that no spelling gets around the rule of the path that an application would read in it.

use crate::rig::{HOST, Rig, Way, attached};
use headgate_e2e::{Frames, Outcome, Script, Wire, rules};

/// What is behind a rule of its own, which leads nowhere: 500 here.
const GUARDED: &[(&str, &str)] = &[("PathPrefix", "/admin"), ("Exact", "/secret"), ("RegularExpression", "/r[0-9]+/x")];

fn route() -> String {
    let guards: String = GUARDED
        .iter()
        .map(|(kind, path)| {
            format!("  - matches: [{{path: {{type: {kind}, value: {path:?}}}}}]\n    backendRefs: [{{name: nobody, port: 80}}]\n")
        })
        .collect();
    attached(&rules("paths", "paths.localhost", &format!("{guards}  - backendRefs: [{{name: app, port: 80}}]\n")))
}

/// Spellings of a guarded path, without its leading slash.
fn spellings(path: &str) -> Vec<String> {
    let first = format!("%{:02x}{}", path.as_bytes()[0], &path[1..]);
    let mut all: Vec<String> =
        ["/", "/./", "/a/../", "/a/%2e%2e/", "/a/%2E./", "/%2e/", "/a/..%2f", "/.%2f", "/a//../", "/a/.%2e/"]
            .iter()
            .map(|before| format!("{before}{path}"))
            .collect();
    let lax = [
        "//",
        "/a/..;/",
        "/..;/",
        "/.;/",
        "/a\\..\\",
        "\\",
        "/%5c",
        "/%c0%af../",
        "/%252e%252e/",
        "/a/%2e%2e;/",
        "/\u{2215}",
    ];
    all.extend(lax.iter().map(|before| format!("{before}{path}")));
    all.extend(
        ["/", "?a=/../..", "%00", "%2fx", "/..", "/.", ";x=1", "%20", "#x"].map(|behind| format!("/{path}{behind}")),
    );
    all.extend([format!("/{first}"), format!("/{}", path.to_uppercase()), format!("http://paths.localhost/{path}")]);
    all
}

/// Whether an application that reads RFC 3986 (§6.2.2: escapes of unreserved bytes, dot segments) could take this path for a guarded one.
fn could_be(guarded: &str, got: &str) -> bool {
    let path = got.split(['?', '#']).next().unwrap();
    let lower = path.to_ascii_lowercase();
    let has_dots = path.split('/').any(|part| matches!(part.split(';').next(), Some("." | "..")));
    has_dots || lower.contains("%2e") || path.contains('\\') || path == guarded || lower.contains("%2f..")
}

/// RFC 3986 §6.2.2, RFC 9110 §4.2.3. CVE-2026-73511, -73551, -73553.
#[tokio::test]
async fn no_spelling_of_a_path_gets_around_its_rule() {
    let rig = Rig::beside(&[], &[("paths.yaml", route())], |request| Script::ok(&request.target)).await;
    let mut wrong = Vec::new();
    for guarded in ["/admin", "/admin/x", "/secret", "/r12/x"] {
        for spelling in spellings(&guarded[1..]) {
            rig.origin.forget();
            let answer = Wire::get(rig.plain, "paths.localhost", &spelling).await;
            let reached: Vec<String> = rig.origin.requests().into_iter().map(|request| request.target).collect();
            let holds = match (answer.status, &reached[..]) {
                (400 | 500, []) => true,
                (200, [got]) => !could_be(guarded, got),
                _ => false,
            };
            if !holds {
                wrong.push(format!("{guarded} as {spelling:?}: {} {reached:?}", answer.status));
            }
            // the same over HTTP/2 has the same end
            if spelling.starts_with('/') && !spelling.contains('#') {
                rig.origin.forget();
                let mut frames = Frames::open(rig.plain).await;
                let head =
                    [(":method", "GET"), (":scheme", "http"), (":path", &spelling), (":authority", "paths.localhost")];
                frames.head(1, true, &head).await;
                let outcome = frames.outcome(1).await;
                let same = match outcome {
                    Outcome::Answer(status, _) => status == answer.status,
                    _ => answer.status == 400,
                };
                let also: Vec<String> = rig.origin.requests().into_iter().map(|request| request.target).collect();
                if !same || also != reached {
                    wrong.push(format!(
                        "{guarded} as {spelling:?} over HTTP/2: {outcome:?} {also:?}, not {} {reached:?}",
                        answer.status
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(rig.canary().await, 200);
    rig.headgate.stop().await;
}

/// CVE-2024-45806 and CVE-2023-27487: fields that say who asks come from this gateway, however a client spells them. What `forwarded.rs` has of it is the usual spelling.
#[tokio::test]
async fn no_spelling_of_a_trusted_field_gets_through() {
    let rig = Rig::start().await;
    let spoofed = "6.6.6.6";
    let fields: String = [
        "X-Forwarded-For",
        "x-forwarded-for",
        "X-FORWARDED-FOR",
        "X_Forwarded_For",
        "X-Forwarded_For",
        "X-Forwarded-Host",
        "x_forwarded_host",
        "X-Forwarded-Proto",
        "Forwarded",
        "forwarded",
        "X-Real-IP",
        "x_real_ip",
    ]
    .map(|name| format!("{name}: {spoofed}\r\n"))
    .concat();
    for way in [Way::Plain, Way::Tls] {
        rig.origin.forget();
        let mut wire = rig.open(way).await;
        let answer = wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")).await;
        let requests = rig.origin.requests();
        assert!(answer.status == 400 || answer.status == 200, "{}", answer.status);
        for request in &requests {
            // an application that reads `_` as `-` finds none either
            let told: Vec<_> = request.fields.iter().filter(|(_, value)| value.contains(spoofed)).collect();
            assert!(told.is_empty(), "{way:?}: {told:?}");
            assert_eq!(request.values("x-forwarded-for"), ["127.0.0.1"]);
        }
    }
    rig.headgate.stop().await;
}
