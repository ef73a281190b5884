#!/bin/sh
# Asks one question and opens one case with curl, and shows how a refusal looks.
#   echo 'RESIDENT NUMBER' | OFFICE_URL=http://127.0.0.1:7480 OFFICE_KEY=… ./ask.sh married
set -eu
# Not an argument: it would show in the list of processes.
read -r subject

# The key goes by a file that only this user reads, for the same reason.
umask 077
settings=$(mktemp)
trap 'rm -f "$settings"' EXIT
printf 'header = "Authorization: Bearer %s"\n' "$OFFICE_KEY" >"$settings"

post() { # path, idempotency key; the body comes on standard input
  # The same key with the same question gets the same answer: safe to send again after a broken connection.
  curl --silent --show-error --max-time 15 --config "$settings" "$OFFICE_URL$1" --data-binary @- \
    --header 'Content-Type: application/json' --header 'Prefer: wait=10' --header "Idempotency-Key: $2"
}

question() { # service, status
  cat <<QUESTION
{ "provider": "civil-affairs", "service": "$1",
  "subject": { "scheme": "resident_id", "value": "$subject" },
  "claims": [{ "attribute": "marital_status", "operator": "equals", "operands": ["$2"] }],
  "purpose": { "item": "公租房申请" }, "case_number": "GZF-2026-0001", "officer": "1024" }
QUESTION
}

# UNAVAILABLE is no "no": ask again later, or go on with the paper.
question marriage-registration "$1" | post /v1/verifications GZF-2026-0001-1 |
  jq -r '"\(.verdicts[0].verdict) receipt \(.receipt)"'

# A case asks for everything that its item needs, all departments at once.
post /v1/cases GZF-2026-0002 <<CASE | jq -r '.state, (.proofs[] | "\(.outcome) \(.proof): \(.en)")'
{ "case_number": "GZF-2026-0002", "item": "公租房申请", "officer": "1024",
  "people": [{ "role": "applicant", "values": { "resident_id": "$subject", "marital_status": "$1" } }] }
CASE

question no-such-service "$1" | post /v1/verifications GZF-2026-0001-2 |
  jq -r '"\(.status) \(.code) (\(.field)): \(.next_step)"'
