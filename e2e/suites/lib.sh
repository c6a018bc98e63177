# Sourced by the suites: starts the program and applications on free ports of loopback, and ends what it started. It judges nothing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=${HEADGATE_SUITES:-$root/target/suites}
headgate=${HEADGATE_BIN:-${CARGO_TARGET_DIR:-$root/target}/debug/headgate}
suite=$(basename "$0")
work=$(mktemp -d)
results=$tools/results
mkdir -p "$results"
started=()

say() { echo "$suite: $*"; }
fail() {
    echo "$suite: $*" >&2
    exit 1
}

end() {
    local pid
    for pid in "${started[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT

[ -x "$headgate" ] || fail "$headgate is not there: run cargo build"

# tool FILE : where a tool of a suite is; a suite whose tools could not be had is not run, and says so with exit code 77.
tool() {
    local found
    for found in "$tools/bin/$1" "$tools/venv/bin/$1" "$(command -v "$1" || true)"; do
        if [ -x "$found" ]; then
            echo "$found"
            return
        fi
    done
    echo "$suite: not run: $1 is not installed (e2e/suites/install says why)" >&2
    exit 77
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# start NAME TEXT COMMAND... : starts a process whose output goes to a file, and returns once that contains TEXT.
start() {
    local name=$1 text=$2 tries
    shift 2
    : >"$work/$name.log"
    "$@" >"$work/$name.log" 2>&1 </dev/null &
    started+=($!)
    for tries in $(seq 300); do
        if grep -q "$text" "$work/$name.log"; then return; fi
        kill -0 "${started[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/$name.log" >&2
    fail "$name does not start"
}

# echo_server : starts the echo function; its port is in $app.
echo_server() {
    start echo "echo listens on" "$headgate" echo --address 127.0.0.1 --port 0
    app=$(grep -oE '127\.0\.0\.1:[0-9]+' "$work/echo.log" | head -n1)
    app=${app#*:}
}

# certificates : an authority, and a leaf of it for localhost, as a public authority would issue it: $work/ca.pem, leaf.pem, leaf.key.
certificates() {
    (
        cd "$work"
        openssl ecparam -name prime256v1 -genkey -noout -out ca.key
        openssl req -x509 -new -key ca.key -sha256 -days 365 -subj "/CN=Authority of a test" -out ca.pem \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
        openssl ecparam -name prime256v1 -genkey -noout -out leaf.sec1
        openssl pkcs8 -topk8 -nocrypt -in leaf.sec1 -out leaf.key
        openssl req -new -key leaf.key -subj "/CN=localhost" -out leaf.csr
        printf '%s\n' "subjectAltName=DNS:localhost,IP:127.0.0.1" "basicConstraints=critical,CA:FALSE" \
            "keyUsage=critical,digitalSignature" "extendedKeyUsage=serverAuth" >leaf.ext
        openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -sha256 -days 90 -extfile leaf.ext -out leaf.pem
    ) >"$work/openssl.log" 2>&1 || fail "openssl: $(tail -n3 "$work/openssl.log")"
}

# objects PORT [APP_PROTOCOL] : what is served: every request goes to the application at PORT, from a plain and from a TLS listener.
objects() {
    cat <<YAML
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: headgate
  listeners:
  - {name: plain, port: $plain, protocol: HTTP}
  - {name: tls, port: $tls, protocol: HTTPS, tls: {certificateRefs: [{name: leaf}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all}
spec:
  parentRefs: [{name: edge}]
  rules:
  - backendRefs: [{name: app, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec:
  ports: [{port: 80${2:+, appProtocol: $2}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: app, labels: {kubernetes.io/service-name: app}}
addressType: IPv4
ports: [{port: $1}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: v1
kind: Secret
metadata: {name: leaf}
type: kubernetes.io/tls
stringData:
  tls.crt: |
$(sed 's/^/    /' "$work/leaf.pem")
  tls.key: |
$(sed 's/^/    /' "$work/leaf.key")
YAML
}

# serve PORT APP_PROTOCOL [FLAG...] : starts the program before an application; its ports are in $plain and $tls.
serve() {
    certificates
    plain=$(free_port)
    tls=$(free_port)
    mkdir -p "$work/served"
    objects "$1" "$2" >"$work/served/all.yaml"
    start headgate "ready in" "$headgate" run "$work/served" --bind 127.0.0.1 --admin none --access-log none "${@:3}"
}
