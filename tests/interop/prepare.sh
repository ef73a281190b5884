#!/usr/bin/env bash
# Makes the Python environment of the interop tests in the folder $1, once for each requirements.txt. Where the package
# index cannot be reached it says so; the tests that need it then skip, aloud.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:?the folder}
mkdir -p "$folder"

made=$folder/made-of
wanted=$(cat tests/interop/requirements.txt)
if [ -x "$folder/venv/bin/python" ] && [ "$(cat "$made" 2>/dev/null)" = "$wanted" ]; then
  exit 0
fi

rm -f "$made"
if ! { python3 -m venv "$folder/venv" &&
  "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/interop/requirements.txt; }; then
  echo "The Python packages of tests/interop/requirements.txt could not be installed."
  exit 0
fi
printf '%s' "$wanted" >"$made"
