#!/bin/sh
# Builds every real peer into tests/interop/bin: three Go modules, because each dependency graph
# must keep its own versions (tsnet's gVisor and Headscale's belong to different tailscale.com).
# Incremental: with Go's build cache a second run takes two seconds. Nothing is taken that go.sum does
# not pin. `build.sh peers` builds one module.
set -eu
cd "$(dirname "$0")"
export GOTOOLCHAIN=local GOFLAGS="-mod=readonly -buildvcs=false" CGO_ENABLED=0
mkdir -p bin
exec 9>bin/.lock
flock 9  # parallel test workers build once
[ $# -gt 0 ] || set -- wireguard peers headscale
for module in "$@"; do
    case $module in
        peers) packages="./... tool" ;;  # our own small programs, and Tailscale's
        *) packages=tool ;;
    esac
    (cd "$module" && go build -o ../bin/ $packages)
done
