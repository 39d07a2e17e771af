#!/bin/sh
# Installs what the ten languages of MultiPL-E need, from the system's packages; for Debian and Ubuntu.
# Which packages these are stands in the project's own table of languages, and nowhere else.
# usage: install-toolchains.sh PYTHON   (a Python that has fusebench)
set -eu
python=${1:?usage: install-toolchains.sh PYTHON}
missing=$("$python" -m fusebench.evaluate.sandbox.toolchains --missing)
if [ -z "$missing" ]; then
    echo "all toolchains are here; see: fusebench doctor"
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    for other in dnf pacman zypper brew; do
        if command -v "$other" >/dev/null 2>&1; then
            echo "error: no apt-get here: the names of the packages for $other are not known to this script" >&2
            echo "  fix: install what these Debian packages hold: $missing" >&2
            exit 1
        fi
    done
    echo "error: no apt-get here" >&2
    echo "  fix: install what these Debian packages hold: $missing" >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    root="sudo -n"
else
    echo "error: installing packages needs root" >&2
    echo "  fix: run: sudo apt-get install $missing" >&2
    exit 1
fi
install() {
    # shellcheck disable=SC2086 - a list of words
    DEBIAN_FRONTEND=noninteractive $root apt-get install -y --no-install-recommends $missing
}
# The lists of packages may be missing or old: fetch them only where they are.
install || { $root apt-get update && install; }
left=$("$python" -m fusebench.evaluate.sandbox.toolchains --missing)
if [ -n "$left" ]; then
    echo "error: still missing: $left" >&2
    exit 1
fi
echo "installed: $missing"
