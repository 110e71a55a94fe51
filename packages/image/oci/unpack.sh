#!/bin/sh
# Unpacks the image of an OCI layout, in namespaces of its own, on the host:
#   unpack.sh FOLDER     FOLDER/layout, image `image`  ->  FOLDER/tree
# umoci keeps most hostile layers inside of the tree by itself, but 0.4.7 follows a deletion of `..` (`.wh...`) out of it
# and removes all it finds there. So it finds nothing: its root has the host's programs, read-only, and FOLDER, where no
# device can be opened.
set -eu
folder=$1
jail=$folder/jail
mkdir "$jail"
mount -t tmpfs -o mode=755,size=1m,nosuid,nodev tmpfs "$jail"
for name in usr bin lib lib32 lib64 libx32; do
  if [ -L "/$name" ]; then
    cp -P "/$name" "$jail/$name"
  elif [ -d "/$name" ]; then
    mkdir "$jail/$name"
    mount --bind "/$name" "$jail/$name"
    mount -o remount,bind,ro,nosuid,nodev "$jail/$name"
  fi
done
mkdir "$jail/work" "$jail/proc" "$jail/tmp"
mount -t proc -o ro,nosuid,nodev,noexec proc "$jail/proc"
mount --bind "$folder" "$jail/work"
mount -o remount,bind,nosuid,nodev,noexec "$jail/work"
mount -o remount,ro "$jail"
exec chroot "$jail" umoci raw unpack --image /work/layout:image /work/tree
