# Shared by the set-up scripts: messages, and running a command as root.
# shellcheck shell=bash

say() { printf 'vmm: %s\n' "$*"; }

die() {
    printf 'vmm: error: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '     %s\n' "$@" >&2
    exit 1
}

# as_root CMD...: directly for root, else through sudo. The caller's hint says what to do when neither works.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -- "$@"
    fi
}

can_be_root() {
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null 2>&1
}
