#!/bin/sh
# Build the stub CANN libraries into the folder $1.  With that folder on LD_LIBRARY_PATH, and ASCEND_HOME_PATH unset,
# the real torch_npu imports without CANN.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
"${CC:-gcc}" -shared -fPIC -O1 -Wall -Wextra -o cann_stub.so "$here/cann_stub.c"
for name in libascendcl libacl_op_compiler libhccl libge_runner libgraph libacl_tdt_channel; do
    ln -sf cann_stub.so "$name.so"
done
