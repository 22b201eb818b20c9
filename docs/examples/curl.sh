#!/usr/bin/env bash
# The whole story with curl alone: check and keep a file of returns, see what is wrong, correct it, file
# everything, wait for the results, take the receipts and the list home.
#
#   springtide dev --data D
#   SPRINGTIDE_KEY=$(cat D/dev.key) docs/examples/curl.sh
#
# SPRINGTIDE_URL names another server than http://127.0.0.1:7080.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

url=${SPRINGTIDE_URL:-http://127.0.0.1:7080}
: "${SPRINGTIDE_KEY:?the API key, such as that in D/dev.key}"

# api ARGUMENT...: one request. What goes wrong is said as a problem (RFC 9457), in the language asked for.
api() {
  curl --silent --show-error --fail-with-body --max-time 60 --retry 5 --retry-max-time 120 \
    --header "Authorization: Bearer $SPRINGTIDE_KEY" --header "Accept-Language: en" "$@"
}
json() { api --header "Content-Type: application/json" "$@"; }

# each NAME: every value of a text field, in order. Where there is jq, use that.
each() { grep -o "\"$1\": *\"[^\"]*\"" | sed 's/.*: *"//; s/"$//' || true; }
# split NAME: one line for every object of a list that begins with this field.
split() { sed "s/{\"$1\"/\n{\"$1\"/g" | grep "^{\"$1\""; }

echo "== check and keep returns.csv; nothing is sent"
api --form file=@returns.csv "$url/v1/imports?save=true" | sed 's/.*\("blocked":[0-9]*,"ready":[0-9]*\).*/\1/'

echo "== what is not ready, and why"
drafts=$(api "$url/v1/drafts?period_end_month=2026-06")
wrong=$(split filing_id <<<"$drafts" | grep -v '"ready": *true')
each en <<<"$wrong"

echo "== correct it: the amount of an individual business belongs into line 11"
etag=$(each etag <<<"$wrong")
json --request PUT "$url/v1/drafts" --data '{"etag": "'"$etag"'", "return": {
  "form": "cn.vat.small", "authority": "cn.21", "period": {"start": "2026-04-01", "end": "2026-06-30"},
  "taxpayer": {"id": "92210102YY68CYJRX0", "name": "示例餐饮店"},
  "lines": {"11@gc": "20000.00"}, "context": {"entity": "individual"}}}' | grep -o '"ready": *true'

echo "== file both; the same key makes a second press harmless"
ids=$(each filing_id <<<"$drafts")
list=$(sed 's/.*/"&"/' <<<"$ids" | paste -sd, -)
for press in 1 2; do
  json --header "Idempotency-Key: example-$(sort <<<"$ids" | cksum | cut -d' ' -f1)" \
    "$url/v1/drafts:submit" --data "{\"filing_ids\": [$list]}" | each filing_id | sort -u | wc -l | sed "s/^ */press $press: filings /"
done

echo "== wait for the results; whoever knows the last answer is held until there is another"
heads=$(mktemp)
trap 'rm -f "$heads"' EXIT
etag_of() { tr -d '\r' <"$heads" | sed -n 's/^[Ee][Tt]ag: //p' | tail -n 1; }
for id in $ids; do
  state='' tag=''
  until [ "$state" = FILING_STATE_ACCEPTED ]; do
    answer=$(api --dump-header "$heads" --header "If-None-Match: $tag" "$url/v1/filings/$id?wait=20s")
    tag=$(etag_of) state=$(each state <<<"$answer" | head -n 1)
    case $state in
      FILING_STATE_INVALID | FILING_STATE_REJECTED | FILING_STATE_CONFLICT) echo "$answer"; exit 1 ;;
    esac
  done
  echo "$id $state"
done

echo "== asked again, what did not change costs nothing"
api --output /dev/null --write-out '%{http_code}\n' --header "If-None-Match: $tag" "$url/v1/filings/$id"

echo "== the receipts"
for id in $ids; do api "$url/v1/filings/$id/receipt" | each number | head -n 1; done

echo "== the list, for a spreadsheet"
api "$url/v1/exports/filings.csv?period_end_month=2026-06" | wc -l
