#!/usr/bin/env bash
# Makes .venv with the command `vmm` in it, or brings it up to date with setup.cfg.
#
#   scripts/setup-venv.sh STAMP [EXTRA...]
#
# Installs the project in place with the given extras and touches STAMP. Needs Python 3.11 or newer; where
# Python cannot make virtual environments (Debian without python3-venv), that package is installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
cd "$here/.."

stamp=$1
shift
extras=$(IFS=,; printf '%s' "$*")

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

choose_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3 /usr/bin/python3}; do
        if is_new_enough "$candidate"; then
            printf '%s' "$candidate"
            return
        fi
    done
    die "no Python 3.11 or newer found (tried: ${PYTHON:-python3.11, python3, /usr/bin/python3})" \
        "on Debian 12: apt-get install python3; elsewhere name one: make setup PYTHON=/path/to/python3.11"
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c 'import pip' >/dev/null 2>&1; then
    python=$(choose_python)
    if ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        "$here/setup-packages.sh" "python$(version_of "$python")-venv"
    fi
    say "making .venv with $python (Python $(version_of "$python"))"
    rm -rf .venv
    "$python" -m venv .venv
fi

# libvirt-python has no wheels: it is compiled against libvirt-dev, with Python's headers.
if [[ ",$extras," == *,libvirt,* ]] && ! .venv/bin/python -c 'import libvirt' >/dev/null 2>&1; then
    packages=(libvirt-dev pkg-config gcc libc6-dev)
    headers=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
    [ -e "$headers/Python.h" ] || packages+=("python$(version_of .venv/bin/python)-dev")
    "$here/setup-packages.sh" "${packages[@]}"
fi

say "installing vmm${extras:+[$extras]} and its Python packages into .venv"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --editable ".${extras:+[$extras]}" </dev/null
[ -x .venv/bin/vmm ] || die "pip installed the project but made no .venv/bin/vmm" "remove .venv and run make setup again"
touch "$stamp"
