#!/usr/bin/env bash
# Chromium and its driver, for the tests of the report: from Debian where they are missing and apt-get is there.
set -euo pipefail
found() { command -v chromium >/dev/null && command -v chromedriver >/dev/null; }
found && exit 0
if command -v apt-get >/dev/null; then
  as_root=$([ "$(id -u)" = 0 ] || echo sudo)
  $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends chromium chromium-driver || true
fi
found || { echo "the tests of the page need chromium and chromedriver on PATH: install both with your package manager" >&2; exit 1; }
