#!/usr/bin/env bash
# A real Docker engine for the tests: docker.sh start|stop|status
#
# start   uses a running engine, or else installs Debian's (as root) and starts it; then creates the
#         small test images, without a registry. Skips whatever exists already.
# stop    stops the engine that start started and removes its state. From an engine that was running
#         before, it removes only the images that start created.
# status  prints one line; exit code 0 if an engine answers and has the images, otherwise 1.
#
# DOCKER_HOST                      the socket, as for every Docker client (default: Docker's own)
# ROMPY_HYDRA_DOCKER_STATE         directory for data, log and pid; must not exist, or be created by start
#                                  (default: rompy-hydra-docker in XDG_RUNTIME_DIR or /tmp)
# ROMPY_HYDRA_DOCKER_START_LIMIT   seconds within which the engine must answer (default: 60)
set -euo pipefail

state=${ROMPY_HYDRA_DOCKER_STATE:-${XDG_RUNTIME_DIR:-/tmp}/rompy-hydra-docker}
start_limit=${ROMPY_HYDRA_DOCKER_START_LIMIT:-60}
# The daemon gives its containers 15 s to stop; it gets twice that before it is killed.
stop_limit=30
socket=${DOCKER_HOST:-unix:///var/run/docker.sock}
# The docker command may use a context instead; Python's docker package knows only this variable.
export DOCKER_HOST=$socket
# state/made-by-start marks the directory as ours; state/dockerd.pid exists if the engine is ours, too;
# state/images lists "name id" of each image that start created.
marker=$state/made-by-start
pid_file=$state/dockerd.pid
log=$state/dockerd.log

python_image=rompy-hydra-test/python:1
busybox_image=rompy-hydra-test/busybox:1
noshell_image=rompy-hydra-test/noshell:1
test_images=("$python_image" "$busybox_image" "$noshell_image")
# The image of the default model. If it is missing, the Debian image gets this name as well: its Python is
# Debian's, not 3.12, which is good enough for a script that uses only the standard library.
stand_in=python:3.12-slim

die() {
    printf 'docker.sh: %s\n' "$*" >&2
    exit 1
}

engine_answers() {
    command -v docker >/dev/null && timeout 10 docker info >/dev/null 2>&1
}

image_id() {
    docker image inspect --format '{{.Id}}' "$1" 2>/dev/null
}

# Installs packages whose command is missing. Arguments: command=package ...
install_missing() {
    local pair packages=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || packages+=("${pair#*=}")
    done
    [ ${#packages[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "apt-get is missing; install by hand: ${packages[*]}"
    [ "$(id -u)" -eq 0 ] || die "only root can install packages: sudo apt-get install ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get -q -o DPkg::Lock::Timeout=300 update &&
        apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${packages[@]}"; } \
        >"$state/apt.log" 2>&1; then
        tail -n 20 "$state/apt.log" >&2
        die "could not install ${packages[*]}; see the last lines of apt-get above"
    fi
}

# The state directory may be in a world-writable place, so its owner is checked. A directory that this
# script did not create is rejected, because stop removes the directory with all its contents.
make_state() {
    mkdir -p "$(dirname "$state")"
    mkdir -m 700 "$state" 2>/dev/null && : >"$marker"
    if [ ! -d "$state" ] || [ -L "$state" ] || [ ! -O "$state" ] || [ ! -f "$marker" ]; then
        die "$state was not created by this script; remove it, or set ROMPY_HYDRA_DOCKER_STATE to a new path"
    fi
    touch "$state/images"
}

# True if the process is the daemon that start started: another process may have the same pid by now.
is_ours() {
    has_argument "$1" "--data-root=$state/data"
}

# True if the process is alive and has this argument. A dead process that is not yet reaped has none.
has_argument() {
    { tr '\0' '\n' <"/proc/$1/cmdline"; } 2>/dev/null | grep -qxF -e "$2"
}

our_pid() {
    local pid
    pid=$(cat "$pid_file" 2>/dev/null) && [ -n "$pid" ] && is_ours "$pid" && printf '%s\n' "$pid"
}

start_engine() {
    local pid deadline containerd
    [ "$(id -u)" -eq 0 ] || die "no engine answers on $socket, and only root can start one"
    case $socket in
        unix://*) ;;
        *) die "no engine answers on $socket; start it there, or unset DOCKER_HOST" ;;
    esac
    # No bridge and no firewall rules: the network of this machine stays unchanged, and the engine also
    # starts on kernels without netfilter. Containers can use the networks none and host.
    # The pid files of a killed daemon prevent the next start until its processes have been reaped.
    rm -f -- "$state/exec.pid"
    containerd=$state/exec/containerd/containerd
    has_argument "$(cat "$containerd.pid" 2>/dev/null)" "$containerd.toml" || rm -f -- "$containerd.pid"
    setsid dockerd --host="$socket" --data-root="$state/data" --exec-root="$state/exec" \
        --pidfile="$state/exec.pid" --iptables=false --bridge=none \
        </dev/null >"$log" 2>&1 9>&- &
    pid=$!
    printf '%s\n' "$pid" >"$pid_file"
    deadline=$((SECONDS + start_limit))
    until engine_answers; do
        if ! kill -0 "$pid" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
            tail -n 20 "$log" >&2
            stop_daemon
            die "dockerd exited, or did not answer on $socket within $start_limit s; see its last lines above"
        fi
        sleep 0.1
    done
}

stop_daemon() {
    local pid deadline
    if pid=$(our_pid); then
        kill -TERM "$pid"
        deadline=$((SECONDS + stop_limit))
        while is_ours "$pid"; do
            if [ "$SECONDS" -ge "$deadline" ]; then
                kill -KILL "$pid"
                die "dockerd ($pid) did not stop within $stop_limit s and was killed; run stop again to clean up"
            fi
            sleep 0.1
        done
    fi
}

# A killed dockerd leaves its containers running, and only a dockerd stops them cleanly. So start one, on
# a socket of its own, because another engine may answer on the usual one by now.
stop_engine() {
    if ! our_pid >/dev/null && compgen -G "$state/exec/containerd/daemon/*.task/moby/*" >/dev/null; then
        socket=unix://$state/stop.sock
        DOCKER_HOST=$socket
        start_engine
    fi
    stop_daemon
}

# Creates an image from a directory or a tar file and records it. Arguments: name source change ...
import_image() {
    local name=$1 tarball=$2 id change changes=()
    shift 2
    for change in "$@"; do
        changes+=(--change "$change")
    done
    if [ -d "$tarball" ]; then
        tar -C "$tarball" --owner=0 --group=0 --numeric-owner -cf "$tarball.tar" .
        tarball=$tarball.tar
    fi
    id=$(docker import "${changes[@]}" "$tarball" "$name")
    printf '%s %s\n' "$name" "$id" >>"$state/images"
}

# The packages are unpacked, not installed: that takes a quarter of the time, and is enough for Python,
# the shell and the usual tools. Only the accounts, which installing would add, are copied.
# python3-minimal lacks csv and other modules of the standard library, hence python3.
make_python_image() {
    local contents=base-files,base-passwd,bash,coreutils,dash,findutils,grep,libc-bin,python3,sed
    install_missing mmdebstrap=mmdebstrap
    # shellcheck disable=SC2016 # mmdebstrap passes the root directory to its hook as $1
    mmdebstrap --quiet --variant=extract --include="$contents" \
        --extract-hook='ln -s python3 "$1/usr/bin/python"' \
        --extract-hook='cp "$1/usr/share/base-passwd/passwd.master" "$1/etc/passwd"' \
        --extract-hook='cp "$1/usr/share/base-passwd/group.master" "$1/etc/group"' \
        bookworm "$build/python.tar"
    import_image "$python_image" "$build/python.tar" 'ENV LANG=C.UTF-8' 'CMD ["python3"]'
}

make_busybox_image() {
    local root=$build/busybox applet
    install_missing busybox=busybox-static
    mkdir -p "$root/bin" "$root/etc" "$root/tmp"
    chmod 1777 "$root/tmp"
    cp "$(command -v busybox)" "$root/bin/busybox"
    for applet in $(busybox --list); do
        [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
    done
    printf 'root:x:0:0:root:/:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\n' >"$root/etc/group"
    import_image "$busybox_image" "$root" 'ENV PATH=/bin' 'CMD ["/bin/sh"]'
}

# Busybox runs the program that it is named after: under this name, only `true`.
make_noshell_image() {
    local root=$build/noshell
    install_missing busybox=busybox-static
    mkdir -p "$root"
    cp "$(command -v busybox)" "$root/true"
    import_image "$noshell_image" "$root" 'CMD ["/true"]'
}

make_images() {
    build=$(mktemp -d "$state/build.XXXXXX")
    trap 'rm -rf -- "$build"' EXIT
    image_id "$python_image" >/dev/null || make_python_image
    image_id "$busybox_image" >/dev/null || make_busybox_image
    image_id "$noshell_image" >/dev/null || make_noshell_image
    if ! image_id "$stand_in" >/dev/null; then
        docker tag "$python_image" "$stand_in"
        printf '%s %s\n' "$stand_in" "$(image_id "$stand_in")" >>"$state/images"
    fi
}

# Removes the images that start created, unless their names refer to other images by now.
remove_images() {
    local name id failed=0
    [ -f "$state/images" ] || return 0
    while read -r name id; do
        [ "$(image_id "$name")" = "$id" ] || continue
        docker image rm "$name" >/dev/null || failed=1
    done <"$state/images"
    [ "$failed" -eq 0 ] || die "some test images are still in use, see above; remove their containers and run stop again"
}

start() {
    make_state
    if ! engine_answers; then
        install_missing dockerd=docker.io docker=docker.io mmdebstrap=mmdebstrap busybox=busybox-static
        # With an init system, installing the package has started the engine.
        engine_answers || start_engine
    fi
    make_images
    status
}

stop() {
    local mount
    if [ ! -f "$marker" ]; then
        echo "docker: nothing to stop: nothing was started"
        return
    fi
    make_state
    stop_engine
    if engine_answers; then
        remove_images
    fi
    # Unmount what a killed daemon left mounted, the innermost first, before removing anything.
    # shellcheck disable=SC2059 # the kernel writes a space in a path as \040, which printf decodes
    while read -r mount; do
        mount=$(printf "${mount//%/%%}")
        case $mount in "$state"/*) umount "$mount" ;; esac
    done < <(cut -d ' ' -f 5 /proc/self/mountinfo | sort -r)
    rm -rf --one-file-system -- "$state"
    echo "docker: stopped"
}

status() {
    local whose='not started here' image missing=() pid
    if ! engine_answers; then
        echo "docker: no engine answers on $socket"
        return 1
    fi
    if pid=$(our_pid); then
        whose="started here, pid $pid, stop it with: $0 stop"
    fi
    for image in "${test_images[@]}" "$stand_in"; do
        image_id "$image" >/dev/null || missing+=("$image")
    done
    echo "docker: engine $(docker info --format '{{.ServerVersion}}') on $socket ($whose); images: ${missing[*]:+missing }${missing[*]:-all present}"
    [ ${#missing[@]} -eq 0 ]
}

case ${1:-} in
    start | stop)
        # One at a time. The lock is on this script, so that no lock file is left behind.
        exec 9<"$0"
        flock 9
        "$1"
        ;;
    status) status ;;
    *)
        echo "usage: $0 start|stop|status" >&2
        exit 2
        ;;
esac
