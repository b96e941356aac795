#!/bin/sh
# Runs failed. Start it again by hand: sh run.sh
case $0 in */*) CDPATH= cd -- "${0%/*}" || exit 126 ;; esac
_rh_dir=$PWD
_rh_end() {
  echo "$1" >"$_rh_dir/exit_code"
  exit "$1"
}
_rh_next() { [ "$1" -eq 0 ] || _rh_end "$1"; }
{ true >"$_rh_dir/exit_code"; } 2>/dev/null
(
sh model.sh
)
_rh_next $?
_rh_end 0
