#!/usr/bin/env bash
# Everything there is to know of a card, in one go: parity, times beside floors, memory, PyTorch.
set -uo pipefail
programs=${1:-target/release/examples}
here=$(dirname "${BASH_SOURCE[0]}")
failed=0
for step in "programs" "check" "time tiny" "time large" "stay 1000"; do
  printf '\n== %s\n' "$step"
  # shellcheck disable=SC2086 # a command and its arguments
  "$programs/card" $step || failed=1
done
printf '\n== PyTorch\n'
python3 "$here/compare.py" large --device cuda --turns 3 --program "$programs/networks" || failed=1
exit $failed
