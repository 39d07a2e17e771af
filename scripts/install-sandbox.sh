#!/bin/sh
# Installs bubblewrap, in which generated programs run, where this machine lets us; else says which command would.
# Never fails: without a sandbox the suites that run programs are reported as unavailable, and the rest works.
if command -v bwrap >/dev/null 2>&1; then
    exit 0
fi
if command -v apt-get >/dev/null 2>&1; then
    install="apt-get install -y bubblewrap"
elif command -v dnf >/dev/null 2>&1; then
    install="dnf install -y bubblewrap"
elif command -v pacman >/dev/null 2>&1; then
    install="pacman -S --noconfirm bubblewrap"
elif command -v zypper >/dev/null 2>&1; then
    install="zypper install -y bubblewrap"
else
    echo "note: no sandbox: install bubblewrap to score generated programs (Linux only)"
    exit 0
fi
if [ "$(id -u)" -eq 0 ]; then
    $install >/dev/null 2>&1 || { command -v apt-get >/dev/null 2>&1 && apt-get update >/dev/null 2>&1 && $install >/dev/null 2>&1; }
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    sudo -n $install >/dev/null 2>&1
fi
command -v bwrap >/dev/null 2>&1 && exit 0
# podman is the second choice: slower, and enough.
command -v podman >/dev/null 2>&1 || echo "note: no sandbox: to score generated programs, run: sudo $install"
exit 0
