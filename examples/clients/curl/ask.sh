#!/bin/sh
# Asks one question with curl, and shows how a refusal looks.
#   echo 'RESIDENT NUMBER' | OFFICE_URL=http://127.0.0.1:7480 OFFICE_KEY=… ./ask.sh married
set -eu
# Not an argument: it would show in the list of processes.
read -r subject

# The key goes by a file that only this user reads: a list of processes would show it otherwise.
umask 077
settings=$(mktemp)
trap 'rm -f "$settings"' EXIT
printf 'header = "Authorization: Bearer %s"\n' "$OFFICE_KEY" >"$settings"

ask() { # service, subject, status
  # The same Idempotency-Key with the same question gets the same answer: safe to send again after a broken connection.
  curl --silent --show-error --max-time 15 --config "$settings" "$OFFICE_URL/v1/verifications" \
    --header 'Content-Type: application/json' --header 'Prefer: wait=10' \
    --header "Idempotency-Key: GZF-2026-0001-$1" \
    --data-binary @- <<QUESTION
{
  "provider": "civil-affairs",
  "service": "$1",
  "subject": { "scheme": "resident_id", "value": "$2" },
  "claims": [{ "attribute": "marital_status", "operator": "equals", "operands": ["$3"] }],
  "purpose": { "item": "公租房申请" },
  "case_number": "GZF-2026-0001",
  "officer": "1024"
}
QUESTION
}

# UNAVAILABLE is no "no": ask again later, or go on with the paper.
ask marriage-registration "$subject" "$1" | jq -r '"\(.verdicts[0].verdict) receipt \(.receipt)"'
ask no-such-service "$subject" "$1" | jq -r '"\(.status) \(.code) (\(.field)): \(.next_step)"'
