#!/bin/sh
# Turns a bare Debian tree into the `base` image. mmdebstrap runs it on the host with the
# tree's path; the environment says where the parts lie:
#   NODE_BINARY     Node's executable
#   NPM_PACKAGES    folder with the unpacked npm packages `npm` and `mise`
#   HOST_CAS        folder with the host's extra CA certificates (*.crt), possibly empty
#   APT_SOURCES     deb822 sources for the guest
#   DPKG_CONFIG     dpkg settings for the guest
set -eu
root=$1

# --- the user: dev, 1000:1000, passwordless sudo
chroot "$root" groupadd --gid 1000 dev
chroot "$root" useradd --uid 1000 --gid 1000 --groups sudo --create-home --shell /bin/bash dev
echo 'dev ALL=(ALL:ALL) NOPASSWD:ALL' >"$root/etc/sudoers.d/dev"
chmod 0440 "$root/etc/sudoers.d/dev"
mkdir -p "$root/workspace" "$root/workspaces" "$root/home/dev/.local/bin" "$root/home/dev/.local/share/mise/shims"
chroot "$root" chown -R dev:dev /workspace /workspaces /home/dev

# --- Node, npm and mise; global npm installs work without sudo because dev owns where they go
install -m 0755 "$NODE_BINARY" "$root/usr/local/bin/node"
mkdir -p "$root/usr/local/lib/node_modules"
cp -a --no-preserve=ownership "$NPM_PACKAGES/npm" "$root/usr/local/lib/node_modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
ln -s ../lib/node_modules/npm/bin/npx-cli.js "$root/usr/local/bin/npx"
chmod 0755 "$root/usr/local/lib/node_modules/npm/bin/npm-cli.js" "$root/usr/local/lib/node_modules/npm/bin/npx-cli.js"
install -m 0755 "$NPM_PACKAGES/mise/bin/mise" "$root/usr/local/bin/mise"
chroot "$root" chown -R dev:dev /usr/local/bin /usr/local/lib/node_modules /usr/local/share

# --- mise: what a repository says of its tools is believed, in the files of other tools too
mkdir -p "$root/etc/mise"
cat >"$root/etc/mise/config.toml" <<'END'
[settings]
idiomatic_version_file_enable_tools = ["go", "java", "node", "python", "ruby"]
trusted_config_paths = ["/workspaces", "/workspace"]
# npm as everywhere else in the machine: mise's own way needs what mirrors of the registry leave out (when a version was made).
npm.package_manager = "npm"
END

# --- environment: one file, read by PAM, by the agent and, through profile.d, by login shells
cat >"$root/etc/environment" <<END
PATH=/home/dev/.local/share/mise/shims:/home/dev/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LANG=C.UTF-8
EDITOR=vi
PAGER=less
LESS=-FRX
END
cat >"$root/etc/profile.d/dormouse.sh" <<'END'
# Login shells get what /etc/environment says; Debian's /etc/profile has just reset PATH.
set -a
. /etc/environment
set +a
END
printf '[init]\n\tdefaultBranch = main\n' >"$root/etc/gitconfig"

# --- the host's extra CA certificates, for every program that asks the system, and for those that must be told
if ls "$HOST_CAS"/*.crt >/dev/null 2>&1; then
  mkdir -p "$root/usr/local/share/ca-certificates"
  cp "$HOST_CAS"/*.crt "$root/usr/local/share/ca-certificates/"
  chown root:root "$root/usr/local/share/ca-certificates" "$root"/usr/local/share/ca-certificates/*
  # Node and npm read only this small file more, not the whole bundle, which would slow each start down.
  for certificate in "$HOST_CAS"/*.crt; do
    cat "$certificate"
    echo
  done >"$root/etc/ssl/dormouse-extra-ca.pem"
  cat >>"$root/etc/environment" <<END
NODE_EXTRA_CA_CERTS=/etc/ssl/dormouse-extra-ca.pem
SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
PIP_CERT=/etc/ssl/certs/ca-certificates.crt
REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt
CARGO_HTTP_CAINFO=/etc/ssl/certs/ca-certificates.crt
END
fi
chroot "$root" update-ca-certificates --fresh >/dev/null

# --- buildah comes with 150 MB that it does not run: its own tests' programs, and plugins of another network than its own
rm -rf "$root/usr/libexec/buildah" "$root/usr/lib/cni"

# --- what belongs to a machine is set by the machine; the name server is the slot's
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/etc/resolv.conf" "$root/etc/hostname" "$root"/etc/ssh/ssh_host_*
echo 'nameserver 172.31.0.1' >"$root/etc/resolv.conf"
echo dormouse >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 dormouse\n' >"$root/etc/hosts"

# --- apt: the host's mirror, no translations, and dpkg settings that hold for later installs too
rm -rf "$root/etc/apt/sources.list" "$root"/etc/apt/sources.list.d/*
install -m 0644 "$APT_SOURCES" "$root/etc/apt/sources.list.d/debian.sources"
install -m 0644 "$DPKG_CONFIG" "$root/etc/dpkg/dpkg.cfg.d/dormouse"
rm -f "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap" "$root/etc/apt/apt.conf.d/99mmdebstrap"
cat >"$root/etc/apt/apt.conf.d/90dormouse" <<'END'
Acquire::Languages "none";
APT::Install-Recommends "false";
END

rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/var/cache/debconf/*-old \
  "$root"/var/cache/ldconfig/*
mkdir -p "$root/var/log/apt" "$root/var/cache/apt/archives/partial" "$root/var/lib/apt/lists/partial"
