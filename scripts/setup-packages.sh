#!/usr/bin/env bash
# Installs the Debian packages that are named and not there yet, without starting a daemon.
#
#   scripts/setup-packages.sh PACKAGE...
#
# Prints nothing and changes nothing when all of them are installed. While apt runs, a policy-rc.d that
# forbids every start stands in /usr/sbin; what stood there before is put back afterwards. Services that
# the packages bring (munge, slurmctld, slurmd) are also left disabled, so that a reboot starts none.
set -euo pipefail
. "$(dirname "$0")/common.sh"

policy=/usr/sbin/policy-rc.d
saved=$policy.before-vmm
services="munge slurmctld slurmd slurmdbd"

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
unit_known() { [ -e "/lib/systemd/system/$1.service" ] || [ -e "/etc/init.d/$1" ]; }

restore_policy() {
    if [ -e "$saved" ]; then
        as_root mv -f "$saved" "$policy"
    else
        as_root rm -f "$policy"
    fi
}

forbid_starts() {
    # A saved file left by an interrupted run is the machine's own: it must not be overwritten.
    if [ -e "$policy" ] && [ ! -e "$saved" ]; then
        as_root mv "$policy" "$saved"
    fi
    trap restore_policy EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

install_missing() {
    apt install -y --no-install-recommends "$@"
}

missing=()
for package in "$@"; do
    installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null 2>&1 || die "these Debian packages are needed and apt-get is not here: ${missing[*]}" \
    "install your system's equivalents, then run this again"
can_be_root || die "these Debian packages are needed, and installing them takes root: ${missing[*]}" \
    "as root, run: apt-get install --no-install-recommends ${missing[*]}"

say "installing Debian packages: ${missing[*]}"
log=$(mktemp)
known=" $(for s in $services; do unit_known "$s" && printf '%s ' "$s"; done || true)"
forbid_starts
# The lists may be absent or old (a 404): refresh them once and try again.
if ! install_missing "${missing[@]}" >"$log" 2>&1; then
    say "refreshing apt's package lists"
    apt update >"$log" 2>&1 || { cat "$log" >&2; die "apt-get update failed (see above)" "check /etc/apt/sources.list and the network"; }
    install_missing "${missing[@]}" >"$log" 2>&1 ||
        { cat "$log" >&2; die "apt-get install failed (see above)" "mend what apt names, then run this again"; }
fi
rm -f "$log"
if command -v systemctl >/dev/null 2>&1; then
    for s in $services; do
        if [[ $known != *" $s "* ]] && unit_known "$s"; then
            as_root systemctl --quiet disable "$s" >/dev/null 2>&1 || say "note: could not disable the service $s"
        fi
    done
fi
say "installed ${#missing[@]} packages and what they depend on; no service was started"
