#!/bin/sh
# Installs the agent on a device: the binary, its settings, and a service of systemd or OpenRC.
set -eu

usage() {
  cat <<'USAGE'
Usage: install.sh --archive FILE|URL --sha256 HEX --gateway URL --uuid HEX [--target URL] < key

Installs the agent from an archive (deploy/device/package makes it), checks the checksum first, asks for the device's key on
standard input so that no process list shows it, and starts the service.

  --archive FILE|URL  gateway-agent-<rid>.tar.gz
  --sha256 HEX        its SHA-256, as deploy/device/package printed it
  --gateway URL       the gateway's tunnel address, e.g. https://tunnel.resindevice.io
  --uuid HEX          the device's uuid
  --target URL        where the application listens (default http://127.0.0.1:80)
  --root DIR          install below DIR and start nothing, for images
  --uninstall         stop and remove it; the settings stay

Exit status: 0 done, 1 failed, 2 wrong usage. Needs root, tar, sha256sum, and curl for a URL.
USAGE
}

fail() { echo "install.sh: $1" >&2; exit "${2:-1}"; }

archive='' sha256='' gateway='' uuid='' target='' root='' uninstall=0
while [ $# -gt 0 ]; do
  case "$1" in
    --archive|--sha256|--gateway|--uuid|--target|--root)
      [ $# -ge 2 ] || { usage >&2; exit 2; }
      name=${1#--}; eval "$name=\$2"; shift ;;
    --uninstall) uninstall=1 ;;
    -h|--help) usage; exit 0 ;;
    *) echo "install.sh: unknown argument $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

[ -n "$root" ] || [ "$(id -u)" -eq 0 ] || fail "must run as root"
if [ -d "$root/run/systemd/system" ] || { [ -n "$root" ] && [ -d "$root/etc/systemd/system" ]; }; then init=systemd
elif [ -x "$root/sbin/openrc-run" ]; then init=openrc
else fail "there is neither systemd nor OpenRC: run gateway-agent --config /etc/gateway-agent.conf from what starts services here"; fi

if [ $uninstall -eq 1 ]; then
  if [ $init = systemd ]; then
    [ -n "$root" ] || systemctl disable --now gateway-agent || true
    rm -f "$root/etc/systemd/system/gateway-agent.service"
  else
    [ -n "$root" ] || { rc-service gateway-agent stop; rc-update del gateway-agent; } || true
    rm -f "$root/etc/init.d/gateway-agent"
  fi
  rm -f "$root/usr/local/bin/gateway-agent"
  echo "Removed. The settings stay in $root/etc/gateway-agent.conf."
  exit 0
fi

if [ -z "$archive" ] || [ -z "$sha256" ] || [ -z "$gateway" ] || [ -z "$uuid" ]; then usage >&2; exit 2; fi
case "$uuid" in *[!0-9a-f]*) fail "--uuid $uuid: give 32 (or 62) lower-case hex digits" 2 ;; esac
[ ${#uuid} -eq 32 ] || [ ${#uuid} -eq 62 ] || fail "--uuid $uuid: give 32 (or 62) lower-case hex digits" 2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
case "$archive" in
  http://*|https://*) curl -fsSL --retry 3 -o "$work/archive" "$archive" || fail "$archive cannot be fetched" ;;
  *) cp "$archive" "$work/archive" || fail "$archive cannot be read" ;;
esac
echo "$sha256  $work/archive" | sha256sum -c - >/dev/null 2>&1 || fail "the archive's SHA-256 is $(sha256sum "$work/archive" | cut -d' ' -f1) and not $sha256: nothing was installed"
tar -xzf "$work/archive" -C "$work"
"$work/gateway-agent" --version >/dev/null 2>&1 || [ -n "$root" ] || fail "the binary does not run here ($(uname -m)): take the archive for this machine"

[ -t 0 ] && printf 'The device key: ' >&2
IFS= read -r key || [ -n "${key:-}" ] || fail "give the device's key on standard input" 2

mkdir -p "$root/usr/local/bin" "$root/etc"
install -m 0755 "$work/gateway-agent" "$root/usr/local/bin/gateway-agent.new"
mv "$root/usr/local/bin/gateway-agent.new" "$root/usr/local/bin/gateway-agent"
umask 077
{
  echo "GATEWAY_URL=$gateway"
  echo "GATEWAY_UUID=$uuid"
  echo "GATEWAY_KEY=$key"
  [ -z "$target" ] || echo "GATEWAY_TARGET=$target"
} >"$root/etc/gateway-agent.conf"

if [ $init = systemd ]; then
  install -m 0644 "$work/gateway-agent.service" "$root/etc/systemd/system/gateway-agent.service"
  if [ -z "$root" ]; then
    systemctl daemon-reload
    systemctl enable --now gateway-agent
  fi
  echo "Installed. Its log: journalctl -u gateway-agent"
else
  install -m 0755 "$work/gateway-agent.initd" "$root/etc/init.d/gateway-agent"
  if [ -z "$root" ]; then
    getent group gateway-agent >/dev/null || addgroup -S gateway-agent
    getent passwd gateway-agent >/dev/null || adduser -S -D -H -s /sbin/nologin -G gateway-agent gateway-agent
    chgrp gateway-agent /etc/gateway-agent.conf && chmod 0640 /etc/gateway-agent.conf
    rc-update add gateway-agent default
    rc-service gateway-agent restart
  fi
  echo "Installed. Its log: /var/log/gateway-agent.log"
fi
