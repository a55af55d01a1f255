#!/bin/sh
# Installs Debian's Blender for tests/hosts/test_blender_host.py; does nothing where it is there.
set -e
command -v blender >/dev/null 2>&1 && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "Blender is not installed and there is no apt-get: its tests will be skipped." >&2
    exit 0
fi
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends blender python3-numpy
