#!/usr/bin/env bash
# with.sh [--image IMAGE.tar]... CMD...   start the cluster, load the images, run
# CMD in the node's network with KUBECONFIG set, end the cluster whatever CMD's
# outcome. Logs of a failed run are kept in KLAXON_CLUSTER_LOGS when it is set.
# A cluster that is up already is used and left up.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
images=()
while [[ ${1:-} == --image ]]; do images+=("$2"); shift 2; done
finish() {
  rc=$?
  trap - EXIT INT TERM
  if [[ $rc != 0 && -n ${KLAXON_CLUSTER_LOGS:-} && -d $STATE/log ]]; then
    mkdir -p "$KLAXON_CLUSTER_LOGS"
    cp -r "$STATE/log/." "$STATE/var/log/pods" "$KLAXON_CLUSTER_LOGS/" 2>/dev/null || true
    echo "logs of the cluster: $KLAXON_CLUSTER_LOGS" >&2
  fi
  "$HERE/down.sh"
  exit "$rc"
}
if [[ -z $(node_pid) ]]; then trap finish EXIT; trap 'exit 130' INT; trap 'exit 143' TERM; fi
"$HERE/up.sh"
for i in "${images[@]}"; do "$HERE/load-image.sh" "$i"; done
"$HERE/in-net.sh" "$@"
