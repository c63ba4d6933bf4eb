#!/bin/bash
# A real SkyPilot API server with one infra, slurm/oracle: the Slurm of slurm_up.sh. Managed jobs run in
# consolidation mode (no controller machine).
#
# Usage: sky_up.sh            as root; may be run again at any time
# RIG_DIR (default ~/.cache/slurmsky-rig): where SkyPilot's virtual environment and uv are kept.
# RIG_SKYPILOT (default skypilot[slurm]==0.14.1): what is installed.
#
# A test machine may reach package registries only. What SkyPilot gets from elsewhere comes from this machine: uv and
# its Python on the nodes, the probe whether the network is there, the list of accelerator names.
set -Eeuo pipefail
trap 'echo "${BASH_SOURCE[0]}: line $LINENO failed: $BASH_COMMAND" >&2' ERR # no start of the rig fails without a word

here=$(cd "$(dirname "$0")" && pwd)
rig=${RIG_DIR:-$HOME/.cache/slurmsky-rig}
venv=$rig/sky
endpoint=http://127.0.0.1:46580
# Our own commands are not the rig's Slurm.
PATH=$(IFS=:; for folder in $PATH; do [ -x "$folder/slurmsky" ] || printf '%s:' "$folder"; done)
cd / # the server outlives the process that starts it, and its current folder
mkdir -p "$rig" ~/.ssh ~/.slurm ~/.sky /run/sshd
alive() { curl -sf -m 5 -o /dev/null $endpoint/api/health; }

sinfo >/dev/null 2>&1 || "$here/slurm_up.sh"

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import sky, hostlist, grpc' 2>/dev/null ||
    "$venv/bin/pip" install -q "${RIG_SKYPILOT:-skypilot[slurm]==0.14.1}"
[ -x "$rig/uv/bin/uv" ] || { python3 -m venv "$rig/uv" && "$rig/uv/bin/pip" install -q uv; }

# On a node SkyPilot installs uv with curl and asks it for Python 3.10.
python=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
cat >"$rig/uv-local" <<WRAP
#!/bin/bash
words=()
for word in "\$@"; do [ "\$word" = 3.10 ] && word=$python; words+=("\$word"); done
export UV_PYTHON_PREFERENCE=only-system UV_SYSTEM_CERTS=true UV_NATIVE_TLS=true UV_HTTP_TIMEOUT=180
export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
[ -z "\${PIP_FIND_LINKS:-}" ] || export UV_FIND_LINKS="\$PIP_FIND_LINKS"
exec "$rig/uv/bin/uv" "\${words[@]}"
WRAP
cat >/usr/local/sbin/curl <<WRAP
#!/bin/bash
case "\$*" in
*astral.sh/uv*) echo "mkdir -p \"\\\$UV_INSTALL_DIR\" && cp '$rig/uv-local' \"\\\$UV_INSTALL_DIR/uv\"" ;;
*) exec /usr/bin/curl "\$@" ;;
esac
WRAP
chmod +x "$rig/uv-local" /usr/local/sbin/curl
probe=$("$venv/bin/python" -c 'import sky.backends.backend_utils as module; print(module.__file__)')
# Once: SkyPilot builds the wheel for its nodes again if one of its files has changed.
grep -q "^_TEST_IP_LIST = \['$endpoint" "$probe" ||
    sed -i "s#^_TEST_IP_LIST = .*#_TEST_IP_LIST = ['$endpoint/api/health']#" "$probe"

catalog=~/.sky/catalogs/v8/common
if [ ! -f $catalog/accelerators.csv ]; then
    mkdir -p $catalog
    {
        echo AcceleratorName,Clouds
        for gpu in T4 L4 V100 A100 A100-80GB H100 H200; do echo "$gpu,\"['AWS', 'GCP', 'Kubernetes', 'Slurm']\""; done
    } >$catalog/accelerators.csv
    {
        echo GPU,MemoryGB,Manufacturer
        printf '%s,NVIDIA\n' T4,16 L4,24 V100,16 A100,40 A100-80GB,80 H100,80 H200,141
    } >$catalog/metadata.csv
fi

# SkyPilot reaches the Slurm over ssh, as it would a login node.
[ -f ~/.ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519
touch ~/.ssh/authorized_keys && chmod 600 ~/.ssh/authorized_keys
grep -qF "$(cat ~/.ssh/id_ed25519.pub)" ~/.ssh/authorized_keys || cat ~/.ssh/id_ed25519.pub >>~/.ssh/authorized_keys
pgrep -f 'sshd -p 2222' >/dev/null || /usr/sbin/sshd -p 2222 -o ListenAddress=127.0.0.1
cat >~/.slurm/config <<'CONF'
Host oracle
    HostName 127.0.0.1
    Port 2222
    User root
    IdentityFile ~/.ssh/id_ed25519
CONF
grep -qs consolidation_mode ~/.sky/config.yaml ||
    printf 'jobs:\n  controller:\n    consolidation_mode: true\n' >>~/.sky/config.yaml

# Time on these nodes costs, so that costs can be seen.
grep -qs '^slurm:' ~/.sky/config.yaml || printf 'slurm:\n  pricing: {cpu: 0.04, memory: 0.005}\n' >>~/.sky/config.yaml

export PATH="$venv/bin:$PATH" SKYPILOT_DISABLE_USAGE_COLLECTION=1
if ! alive; then
    # Executors of a server that was killed keep its ports.
    pkill -f "^$venv/bin/python3? .*sky[./](server|jobs)" || true
    pkill -f '^SkyPilot:executor:' || true
    sky api start
fi
for _ in $(seq 60); do alive && break; sleep 1; done
sky check slurm
