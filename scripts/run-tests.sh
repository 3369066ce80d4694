#!/usr/bin/env bash
# Runs everything: unit tests, tests of vmm's own processes, end-to-end tests (in that order).
#
# The end-to-end tests make network namespaces and start libvirtd, a few others mount a full disk: they run as
# root, for another user through sudo, in a second pytest run.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
cd "$here/.."

pytest=.venv/bin/pytest
if [ "$(id -u)" -eq 0 ]; then
    exec "$pytest" "$@"
fi
can_be_root || die "the end-to-end tests need root, and there is no sudo" "run as root, or run only: make unit"
"$pytest" -m "not e2e and not root" "$@"
exec sudo -- env PYTHONDONTWRITEBYTECODE=1 "$pytest" -m "e2e or root" -p no:cacheprovider "$@"
