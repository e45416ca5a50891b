# The part of a host that stays on the machine: makes its directory and its cgroups, starts it, waits for its end,
# keeps its logs where somebody wants them ($LOGS), and removes both. The end comes when standard input does, that is, when the test's process is gone for any reason.
#
# usage: outside.sh NAME DIRECTORY INSIDE-SCRIPT       options in the environment, see inside.sh
set -eu
name=$1 base=$2 inside=$3

# A Ctrl-C ends the test, not this: without its own handler nobody would clean up.
trap : INT TERM HUP

hierarchies=$(awk '$5 ~ "^/sys/fs/cgroup" && / - cgroup2? / { print $5 }' /proc/self/mountinfo)

remove() {
    for hierarchy in $hierarchies; do
        [ -d "$hierarchy/$name" ] || continue
        # Ended processes leave their cgroups a moment later than they end.
        for _ in $(seq 100); do
            find "$hierarchy/$name" -depth -type d -exec rmdir {} + 2>/dev/null || true
            [ -d "$hierarchy/$name" ] || break
            sleep 0.05
        done
        [ ! -d "$hierarchy/$name" ] || echo "cannot remove $hierarchy/$name" >&2
    done
    if [ -n "${LOGS-}" ] && [ -n "$(ls -A "$base/logs" 2>/dev/null)" ]; then
        mkdir -p "$LOGS"
        cp -a "$base/logs/." "$LOGS/"
    fi
    rm -rf --one-file-system "$base"
}
trap remove EXIT

mkdir -p "$base"
: >"$base/join"
for hierarchy in $hierarchies; do
    mkdir "$hierarchy/$name"
    leaf=$hierarchy/$name
    for file in cpuset.cpus cpuset.mems; do # on cgroup v1 nothing may enter a cpuset where these are empty
        [ ! -e "$hierarchy/$name/cgroup.clone_children" ] || [ ! -e "$hierarchy/$file" ] ||
            cat "$hierarchy/$file" >"$hierarchy/$name/$file"
    done
    if [ -s "$hierarchy/cgroup.controllers" ]; then # on cgroup v2 only leaves may hold processes
        leaf=$hierarchy/$name/init
        mkdir "$leaf"
    fi
    echo "$leaf/cgroup.procs" >>"$base/join"
done

# The namespace of cgroups takes its root from where its first process is, so that one goes to the leaves afterwards.
bash -eu -c '
    name=$1 base=$2 inside=$3 hierarchies=$4
    for hierarchy in $hierarchies; do echo $$ >"$hierarchy/$name/cgroup.procs"; done
    exec unshare --cgroup bash -eu -c '\''
        while read -r procs; do echo $$ >"$procs"; done <"$2/join"
        exec unshare --net --mount --pid --ipc --fork --kill-child --propagation private bash -c "$3" inside "$2"
    '\'' outside "$name" "$base" "$inside"
' outside "$name" "$base" "$inside" "$hierarchies"
