#!/bin/bash
# Builds a Debian package of a device: program, unit, user, configuration.
#
#   device/deploy/deb/build.sh PYTHON OUT      (make deb: .venv/bin/python dist)
#
# The package holds the wheels of everything it needs, at the versions of constraints.txt, so that installing it asks no
# index; it fits the machine's architecture and the minor version of PYTHON, and says so in its dependencies.
# OWN=1 leaves the others' wheels out: for a look at the package, or where another environment has them.
set -euo pipefail
PYTHON=$1 OUT=$2
HERE=$(cd "$(dirname "$0")" && pwd) ROOT=$(cd "$(dirname "$0")/../../.." && pwd)
WORK=$(mktemp -d); trap 'rm -rf "$WORK"' EXIT
TREE=$WORK/tree WHEELS=$WORK/tree/usr/share/driftline/wheels
mkdir -p "$TREE/DEBIAN" "$WHEELS" "$TREE/lib/systemd/system" "$TREE/etc/driftline" "$TREE/usr/bin" \
  "$TREE/usr/share/doc/driftline-device" "$OUT"

(cd "$ROOT" && "$PYTHON" -m hatchling build -t wheel -d "$WHEELS" >/dev/null)
OWN_WHEEL=$(ls "$WHEELS"/driftline-*.whl)
VERSION=$(basename "$OWN_WHEEL" | cut -d- -f2)
MINOR=$("$PYTHON" -c 'import sys; print(sys.version_info.minor)')
if [ -z "${OWN:-}" ]; then
  "$PYTHON" -m pip wheel -q --disable-pip-version-check -c "$ROOT/constraints.txt" -w "$WHEELS" "${OWN_WHEEL}[device]"
fi

install -m 644 "$ROOT/device/deploy/driftline-device.service" "$TREE/lib/systemd/system/"
install -m 644 "$HERE/device.toml" "$TREE/etc/driftline/device.toml"
install -m 644 "$ROOT/LICENSE" "$TREE/usr/share/doc/driftline-device/copyright"
install -m 644 "$ROOT/NOTICE" "$TREE/usr/share/doc/driftline-device/NOTICE"
ln -s ../../opt/driftline/bin/driftline "$TREE/usr/bin/driftline"
echo /etc/driftline/device.toml >"$TREE/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 755 "$HERE/$script" "$TREE/DEBIAN/$script"; done
sed -e "s/@VERSION@/$VERSION/" -e "s/@ARCHITECTURE@/$(dpkg --print-architecture)/" \
  -e "s/@SIZE@/$(du -sk "$TREE" | cut -f1)/" -e "s/@PYTHON@/3.$MINOR/" -e "s/@NEXT@/3.$((MINOR + 1))/" \
  "$HERE/control" >"$TREE/DEBIAN/control"
dpkg-deb --root-owner-group -Zxz --build "$TREE" "$OUT" >/dev/null
ls "$OUT"/driftline-device_"$VERSION"_*.deb
