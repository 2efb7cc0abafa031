#!/bin/sh
# Installs what the tests need beside Rust, into .venv: an S3 server.
set -eu
cd "$(dirname "$0")/.."
python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check ministack==1.5.33
