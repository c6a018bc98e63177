"""What testssl.sh found, judged: prints each finding that is worse than LOW, and fails if there is one. Never a finding of our own."""

import json
import sys

# of what every test authority lacks, or what a browser never sees on loopback
EXPECTED = {
    "cert_chain_of_trust": "the authority is one of this test",
    "cert_revocation": "a test authority publishes no revocations",
    "cert_caIssuers": "the same",
    "DNS_CAArecord": "localhost has no records",
    "OCSP_stapling": "there is nothing to staple",
    "engine_problem": "openssl here has no engine for GOST",
}
HARMLESS = {"OK", "INFO", "LOW"}

with open(sys.argv[1], encoding="utf-8") as file:
    findings = json.load(file)
judged = [finding for finding in findings if finding["id"].split(" ")[0] not in EXPECTED]
wrong = [finding for finding in judged if finding["severity"] not in HARMLESS]
for finding in wrong:
    print(f"tls: testssl: {finding['severity']} {finding['id']}: {finding['finding']}")
print(f"tls: testssl: {len(judged)} findings, {len(wrong)} of them bad")
sys.exit(bool(wrong) or not judged)
