# nix.sh prepare | build RUNTIME [OPTION…]   one nix build of 30 derivations (tests/nixlab), for the benchmark.
# Started with W, the world that tests/nixlab/setup made, as the user it belongs to. `prepare` is not measured.
set -euo pipefail
. "$W/seed/env"
export NP_DIR=$W/tm/bench HOME=$W/tm/bench/home NIX_CONF_DIR=$W/tm/bench/conf NIX_BIN_DIR=$NL_NIX/bin
export NIX_PATH=$NP_DIR/channels:nixpkgs=$NP_DIR/channels/nixpkgs LC_ALL=C TZ=UTC TMPDIR=$NP_DIR/tmp
case $1 in
prepare)
  chmod -R u+w "$NP_DIR" 2>/dev/null || :; rm -rf "$NP_DIR"; mkdir -p "$NP_DIR"
  cp -a "$W/seed/np/." "$NP_DIR/"
  mkdir -p "$NP_DIR"/{conf,work,home,channels,tmp,emptyroot} "$NP_DIR/nix/var/nix/gcroots"
  ln -sfn "$NL_SRC" "$NP_DIR/channels/nixpkgs"
  printf '%s\n' 'build-users-group =' 'use-sqlite-wal = false' 'sandbox = false' 'store = auto' 'substituters =' \
    'ignored-acls = security.selinux system.nfs4_acl' >"$NP_DIR/conf/nix.conf"
  ;;
build)
  runtime=$2; shift 2
  cd "$NP_DIR/work"
  RT_EXTRA="$*" exec "$W/lab/rt" "$runtime" "$NL_TOOLS/bin/bash" -c \
    'export PATH=$1; nix-build "<nixpkgs>" -A graph.top -o result -j2 && result/bin/greet | grep -q greetings' - "$NL_TOOLS/bin"
  ;;
esac
