#!/bin/bash
# First process of a machine of the testbed: mounts, then stays to reap orphans.
# usage: pod_init.sh HOSTNAME BINDS READY    (BINDS: lines "SOURCE TARGET"; READY: file made when done)
set -e
hostname "$1"
mount -t proc proc /proc
# sysfs shows the network namespace of whoever mounts it: libvirt looks for its bridge there.
mount -t sysfs sysfs /sys
# A private /srv, so that its mount points need no directory on the real disk.
mount -t tmpfs -o size=1m,mode=755 tmpfs /srv
while read -r source target; do
    case $target in /srv/*) mkdir -p "$target" ;; esac
    mount --bind "$source" "$target"
done <"$2"
: >"$3"
set +e
while :; do
    sleep 1000000 &
    wait $!
done
