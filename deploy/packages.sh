# Lists of Debian packages, and a function that installs the missing ones. deploy/quickstart, tests/run and loadtest/bench source this file.
# shellcheck shell=bash

PATH=$PATH:/usr/sbin:/sbin # for HAProxy and nginx; an ordinary user's PATH does not have it

packages_build=(gcc libc6-dev cmake ninja-build pkg-config libc-ares-dev libjansson-dev libuv1-dev libsqlite3-dev
    libsodium-dev libsystemd-dev libzstd-dev libhiredis-dev librdkafka-dev libcurl4-openssl-dev libpq-dev libyaml-dev)
packages_rootfs=(ca-certificates dpkg-dev file mmdebstrap "${packages_build[@]}") # deploy/image/Dockerfile
packages_image=(buildah python3 "${packages_rootfs[@]}") # deploy/image/build
packages_kafka=(maven default-jre-headless)
# For each part of tests/run. asan and tsan need the packages of unit and contract.
packages_unit=(libcmocka-dev "${packages_build[@]}")
packages_lint=(clang-format curl git groff nodejs prometheus python3 python3-pytest python3-venv python3-yaml python3-jsonschema "${packages_unit[@]}")
packages_contract=(openssl postgresql redis-server "${packages_kafka[@]}" "${packages_unit[@]}")
packages_fuzz=(clang libclang-rt-14-dev "${packages_unit[@]}")
packages_system=(chromium curl faketime git golang-github-containers-common haproxy iproute2 jq libnginx-mod-http-js lintian nginx-light openssl podman postgresql prometheus python3 python3-pytest python3-pytest-xdist python3-venv python3-yaml
    python3-jsonschema redis-server redis-sentinel rsyslog rsyslog-elasticsearch runc skopeo slowhttptest sqlite3 stunnel4 valgrind varnish wrk zstd "${packages_image[@]}" "${packages_kafka[@]}" "${packages_unit[@]}")
packages_soak=(docker.io "${packages_system[@]}")
packages_test=(clang-tidy "${packages_lint[@]}" "${packages_contract[@]}" "${packages_fuzz[@]}" "${packages_system[@]}")
packages_quickstart=(curl jq python3 "${packages_build[@]}")
packages_cluster=(redis-server haproxy openssl sqlite3 "${packages_kafka[@]}" "${packages_quickstart[@]}")
packages_bench=(haproxy nginx-light wrk python3 "${packages_build[@]}")

# install_packages NAME...: never asks, is quick if all are installed, and names the missing packages if it cannot install them.
install_packages() {
    local missing=() package as_root=()
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "these packages are missing, and there is no sudo to install them: ${missing[*]}" >&2; return 1; }
        as_root=(sudo)
    fi
    echo "installing: ${missing[*]}"
    "${as_root[@]}" apt-get update -qq >/dev/null || { echo "apt-get update failed" >&2; return 1; }
    ( # Benchmarks and tests start the servers themselves: do not let the packages start them as services.
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            trap '"${as_root[@]}" rm -f "$policy"' EXIT
            trap 'exit 130' INT TERM HUP
            printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null && "${as_root[@]}" chmod 755 "$policy"
        fi
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    ) || { echo "could not install: ${missing[*]}" >&2; return 1; }
}
