#!/usr/bin/env bash
# An MLflow server on this machine, on loopback:
#   cluster/mlflow.sh                                                       # sqlite in DMM_HOME, for one node
#   cluster/mlflow.sh postgresql+psycopg://dmm@127.0.0.1/mlflow             # Postgres, for many writers (pip install psycopg[binary])
# HOST and PORT are variables. On any other HOST, say by which names clients call it: ALLOWED="mlflow:*,localhost:*".
set -euo pipefail
home=$(realpath -m "${DMM_HOME:-.dmm}")
mkdir -p "$home"
encoded=${home//%/%25} encoded=${encoded//\?/%3F}
scheme=sqlite
[ "$encoded" = "$home" ] || scheme=sqlite+pysqlite # with the short one MLflow makes a folder of the encoded name
store=${1:-$scheme:///$encoded/mlflow.db}
host=${HOST:-127.0.0.1}
port=${PORT:-5000}
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false # else ten processes
export MLFLOW_DISABLE_TELEMETRY=true
exec mlflow server --host "$host" --port "$port" --workers 1 --backend-store-uri "$store" \
    --artifacts-destination "$home/mlartifacts" --allowed-hosts "${ALLOWED:-localhost:*,127.0.0.1:*}"
