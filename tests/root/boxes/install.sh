# A machine on top of this one, whose packages can be changed: usage: install.sh DIRECTORY PROGRAMS. The machine is at
# DIRECTORY/root; the programs are at the same path there. It lacks nft, and its only package source has two versions of
# nftables: 98 wants runc to be removed, 99 does not. Both start a service, as packages do.
set -eu
dir=$1 programs=$2 root=$1/root

mkdir -p "$dir/upper" "$dir/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" overlay "$root"
mkdir -p "$root$programs" "$dir/state"
mount --bind "$programs" "$root$programs"
mount --rbind /proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mkdir -p "$root/var/lib/shim"
mount --bind "$dir/state" "$root/var/lib/shim" # no instance lives on overlayfs
rm -rf "$root/etc/shim" "$root/etc/apt/sources.list.d" "$root/usr/sbin/policy-rc.d" "$root"/var/lib/apt/lists/*_*
mkdir -p "$root/repository" "$root/etc/apt/sources.list.d"
echo 'deb [trusted=yes] file:/repository ./' >"$root/etc/apt/sources.list"
printf '#!/bin/sh\necho "$1" >>/run/service\n' >"$root/etc/init.d/shim-test"
printf '#!/bin/sh\necho N 2\n' >"$dir/runlevel"
chmod 755 "$root/etc/init.d/shim-test" "$dir/runlevel"
ln -s ../init.d/shim-test "$root/etc/rc2.d/S01shim-test"
rm -f "$root/usr/sbin/runlevel" # systemctl, otherwise
cp "$dir/runlevel" "$root/usr/sbin/runlevel"

nft=$(command -v nft)
package() { # VERSION FIELD
    mkdir -p "$dir/package/DEBIAN" "$dir/package$(dirname "$nft")"
    cp "$nft" "$dir/package$nft"
    printf 'Package: nftables\nVersion: %s\nArchitecture: all\nMaintainer: nobody\n%sDescription: nft\n' "$1" "$2" \
        >"$dir/package/DEBIAN/control"
    printf '#!/bin/sh\ninvoke-rc.d shim-test start || true\n' >"$dir/package/DEBIAN/postinst"
    chmod 755 "$dir/package/DEBIAN/postinst"
    dpkg-deb --build --root-owner-group "$dir/package" "$root/repository/nftables-$1.deb" >/dev/null
    cat "$dir/package/DEBIAN/control" >"$dir/entry"
    printf 'Filename: ./nftables-%s.deb\nSize: %s\nSHA256: %s\n\n' "$1" "$(stat -c %s "$root/repository/nftables-$1.deb")" \
        "$(sha256sum <"$root/repository/nftables-$1.deb" | cut -d' ' -f1)" >>"$dir/entry"
    cat "$dir/entry" >"$root/repository/Packages-$1"
}
package 98 'Conflicts: runc
'
package 99 ''
rm "$root$nft"
