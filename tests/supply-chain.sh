#!/usr/bin/env bash
# Advisories, licences and sources of everything in Cargo.lock (deny.toml), as far as the machine allows.
set -euo pipefail
cd "$(dirname "$0")/.."

if cargo deny --version >/dev/null 2>&1; then
  cargo deny --locked check licenses bans sources
  cargo deny --locked check advisories || {
    echo "SKIPPED: advisories: the database could not be read, or it names a crate (see above)"
  }
  exit 0
fi
echo "SKIPPED: advisories: cargo-deny is not installed (cargo install --locked cargo-deny)"

# Without cargo-deny: every licence expression must be satisfied by the allowed list, every crate come from the registry.
cargo metadata --locked --format-version 1 | python3 -c '
import json, re, sys, tomllib
allowed = set(tomllib.load(open("deny.toml", "rb"))["licenses"]["allow"])
def satisfied(expression):
    # OR needs one side, AND needs both; parentheses bind.
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    def either():
        value = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0); value = both() or value
        return value
    def both():
        value = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0); value = one() and value
        return value
    def one():
        token = tokens.pop(0)
        if token == "(":
            value = either(); tokens.pop(0); return value
        while tokens and tokens[0] == "WITH":
            token += " " + tokens.pop(0) + " " + tokens.pop(0)
        return token in allowed
    return either() and not tokens
packages = json.load(sys.stdin)["packages"]
ours = {p["name"] for p in packages if p["source"] is None}
bad = []
for p in packages:
    if p["name"] in ours and p["source"] is None:
        continue
    if not (p["source"] or "").startswith("registry+"):
        bad.append("%s %s: comes from %s" % (p["name"], p["version"], p["source"]))
    if p["name"] == "openssl-sys":
        bad.append("openssl-sys: TLS is rustls with aws-lc")
    if not satisfied(p["license"] or "none"):
        bad.append("%s %s: licence %s" % (p["name"], p["version"], p["license"]))
for line in bad:
    print(line)
print("%d crates: licences and sources checked, %d wrong" % (len(packages), len(bad)))
sys.exit(1 if bad else 0)
'
