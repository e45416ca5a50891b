# The first process of a host: gives it its own /proc, /sys, /run, /etc, /var/lib and /var/log, reports the process ID
# by which the machine knows it, and waits for the end of standard input. With it ends everything in the host.
#
# usage: inside.sh DIRECTORY
# environment: IP_FORWARD=0|1  FORWARD_DROP=0|1  RESOLV_SYMLINK=0|1  HOSTS=lines for /etc/hosts
set -eu
base=$1

read -r outer _ </proc/self/stat # still the machine's /proc
hierarchies=$(awk '$5 ~ "^/sys/fs/cgroup" && / - cgroup2? / {
    for (i = 7; $i != "-"; i++) ;
    print $5, $(i + 1), $(i + 3)
}' /proc/self/mountinfo)
links=$(find /sys/fs/cgroup -maxdepth 1 -type l -printf '%f %l\n')

# What is merely covered would still stand in mountinfo, where programs look for cgroups.
umount --lazy /proc
mount -t proc -o nosuid,nodev,noexec proc /proc
umount --lazy /sys
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
case $hierarchies in
/sys/fs/cgroup\ *) ;; # cgroup v2 only
*) mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup ;;
esac
while read -r point type options; do
    mkdir -p "$point"
    if [ "$type" = cgroup2 ]; then
        mount -t cgroup2 cgroup2 "$point"
        tr ' ' '\n' <"$point/cgroup.controllers" | while read -r controller; do
            echo "+$controller" >"$point/cgroup.subtree_control" || true # some cannot be given away: not ours to mend
        done
    else
        # Of the options only the names of the hierarchy count; a mount in a namespace refuses some of the rest.
        names=$(echo "$options" | tr , '\n' | grep -vE '^(rw|ro|xattr|noprefix|clone_children|release_agent=.*)$' | paste -sd,)
        mount -t cgroup -o "$names" cgroup "$point"
    fi
done <<<"$hierarchies"
while read -r link target; do
    [ -z "$link" ] || ln -s "$target" "/sys/fs/cgroup/$link"
done <<<"$links"

! mountpoint -q /run || umount --lazy /run
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run
mkdir -m 1777 /run/lock "$base/tmp"
mkdir -m 700 "$base/home"
mkdir -p "$base/lib" "$base/log" "$base/logs"
for kept in dpkg apt; do
    [ -d "/var/lib/$kept" ] || continue
    mkdir "$base/lib/$kept"
    mount --bind "/var/lib/$kept" "$base/lib/$kept"
done
cp -a /etc "$base/etc"
(cd "$base/etc" && rm -rf crictl.yaml shim cni kubernetes)
sed -i "s#^\(root:[^:]*:0:0:[^:]*:\)[^:]*:#\1$base/home:#" "$base/etc/passwd"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 %s\n%s\n' "$(uname -n)" "$HOSTS" >"$base/etc/hosts"
rm -f "$base/etc/resolv.conf"
if [ "$RESOLV_SYMLINK" = 1 ]; then # as systemd-resolved leaves it
    mkdir -p /run/systemd/resolve
    printf 'nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n' >/run/systemd/resolve/stub-resolv.conf
    ln -s ../run/systemd/resolve/stub-resolv.conf "$base/etc/resolv.conf"
else
    echo 'nameserver 192.0.2.53' >"$base/etc/resolv.conf" # an address that nobody has: there is no way out
fi
mount --bind "$base/etc" /etc
mount --rbind "$base/lib" /var/lib
mount --bind "$base/log" /var/log
mount --make-rshared / # as systemd leaves it; nothing of it reaches the machine

ip link set lo up
echo "$IP_FORWARD" >/proc/sys/net/ipv4/ip_forward
if [ "$FORWARD_DROP" = 1 ]; then # as Docker and ufw leave it
    nft -f - <<<'table ip filter { chain FORWARD { type filter hook forward priority filter; policy drop; }; }'
fi

echo "ready $outer"
# Bash reaps the orphans of the host while it waits here.
read -r _ || true
