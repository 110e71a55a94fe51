import { DormouseError } from "@dormouse/base";
import type { MachineSecret } from "@dormouse/contract";
import type { AuthorityCertificate, MachineSecrets } from "@dormouse/network";
import { runCommand } from "./commands.ts";
import type { GuestAddress } from "./guest-address.ts";
import type { MachineRecord } from "./machine-record.ts";

const trustTimeoutMs = 60_000;
const folder = "/etc/dormouse";

/** For programs that do not ask the system whom to trust. What the workspace's own environment says goes before it. */
const trustEnvironment = {
  NODE_EXTRA_CA_CERTS: `${folder}/node-ca.pem`,
  SSL_CERT_FILE: `${folder}/bundle.pem`,
  REQUESTS_CA_BUNDLE: `${folder}/bundle.pem`,
  GIT_SSL_CAINFO: `${folder}/bundle.pem`,
};

/**
 * Has a machine trust a certificate (arguments 1 and 2: it and its hash), or none any more (both empty), in the bundles that
 * distributions have. Only BusyBox of our own tools runs: the image need not have anything.
 */
export const trustScript = `
set -eu
umask 022
b=/run/dormouse/tools/bin/busybox
new=$1 hash=$2 folder=${folder} certs=/etc/ssl/certs extra=/etc/ssl/dormouse-extra-ca.pem
OLD= oldHash= seen=
if [ -f $folder/ca.pem ]; then
  OLD=$($b cat $folder/ca.pem)
  read -r oldHash < $folder/hash
fi
export OLD
$b mkdir -p $folder /usr/local/share/ca-certificates
without() {
  if [ ! -f "$1" ]; then return 0; fi
  if [ -z "$OLD" ]; then $b cat "$1"; return 0; fi
  $b awk '
    /-BEGIN CERTIFICATE-/ { block = ""; inside = 1 }
    inside {
      block = block $0 "\\n"
      if (/-END CERTIFICATE-/) { inside = 0; if (block != ENVIRON["OLD"] "\\n") printf "%s", block }
      next
    }
    { print }' "$1"
}
# What FROM holds without what was put in before, and with what is to be in it, into TO.
put() {
  { without "$1"; if [ -n "$new" ]; then printf '%s\\n' "$new"; fi; } > "$2.dormouse"
  $b mv -f "$2.dormouse" "$2"
}
first=
for bundle in $certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
  [ -s "$bundle" ] || continue
  path=$bundle
  if [ -L "$bundle" ]; then path=$($b readlink -f "$bundle"); fi
  [ -n "$first" ] || first=$bundle
  case "$seen" in *" $path "*) continue ;; esac
  put "$path" "$path"
  seen="$seen $path "
done
if [ -f $extra ]; then put $extra $extra; fi
for anchors in /usr/local/share/ca-certificates /etc/pki/ca-trust/source/anchors /usr/share/pki/trust/anchors; do
  [ -d $anchors ] || continue
  if [ -n "$new" ]; then printf '%s\\n' "$new" > $anchors/dormouse-secrets.crt; else $b rm -f $anchors/dormouse-secrets.crt; fi
done
if [ -n "$oldHash" ] && [ "$oldHash" != "$hash" ]; then $b rm -f "$certs/$oldHash.0"; fi
# An image without any bundle has what our own tools trust.
if [ -n "$first" ]; then $b ln -sfn "$first" $folder/bundle.pem
elif [ -f $folder/bundle.pem ]; then put $folder/bundle.pem $folder/bundle.pem
else put /run/dormouse/tools/ca-certificates.crt $folder/bundle.pem; fi
if [ -n "$new" ]; then
  printf '%s\\n' "$new" > $folder/ca.pem
  printf '%s\\n' "$hash" > $folder/hash
  if [ -d $certs ]; then $b ln -sfn $folder/ca.pem "$certs/$hash.0"; fi
else $b rm -f $folder/ca.pem $folder/hash; fi
# Programs that run have its name in their environment, also when there is nothing in it any more.
if [ -f $extra ]; then $b ln -sfn $extra $folder/node-ca.pem
elif [ -n "$new" ]; then $b ln -sfn $folder/ca.pem $folder/node-ca.pem
else $b rm -f $folder/node-ca.pem; : > $folder/node-ca.pem; fi
`;

/** A machine's environment: its own, and where it finds whom to trust. */
export function environmentOf({ env, trusts }: Pick<MachineRecord, "env" | "trusts">): Record<string, string> {
  return trusts === null ? env : { ...trustEnvironment, ...env };
}

/** As they are written: without values. */
export function withoutValues(secrets: readonly MachineSecret[]): MachineRecord["secrets"] {
  return secrets.map(({ value: _, ...secret }) => secret);
}

/**
 * A machine's secrets as the network takes them.
 * @param known those that control has told, with their values; undefined: it has not told them since the daemon began.
 * @throws DormouseError `failed_precondition` for secrets of a machine that is nobody's.
 */
export function secretsOf(
  { organisationId, secrets, machineId }: Pick<MachineRecord, "organisationId" | "secrets" | "machineId">,
  known: readonly MachineSecret[] | undefined,
): MachineSecrets {
  if (organisationId === undefined && secrets.length > 0) {
    throw new DormouseError("failed_precondition", `machine ${machineId} is of no organisation and has secrets`);
  }
  const values = new Map(known?.map(({ placeholder, value }) => [placeholder, value]));
  return {
    organisation: organisationId ?? "",
    secrets: secrets.map((secret) => ({ ...secret, value: values.get(secret.placeholder) })),
  };
}

/** The hosts of a machine's secrets. */
export function hostsOf({ secrets }: Pick<MachineRecord, "secrets">): string[] {
  return [...new Set(secrets.flatMap(({ hosts }) => hosts))].sort();
}

/**
 * Has a running machine trust this certificate and no earlier one; undefined: none.
 * @throws DormouseError `failed_precondition` with what the machine said.
 */
export async function setTrust(guest: GuestAddress, certificate: AuthorityCertificate | undefined): Promise<void> {
  const { pem, hash } = certificate ?? { pem: "", hash: "" };
  const command = ["/run/dormouse/tools/bin/busybox", "sh", "-c", trustScript, "trust", pem.trim(), hash];
  const root = { env: {}, folder: "/", user: "0:0" };
  const { exitCode, stderr } = await runCommand(guest, root, { command, cwd: "/", timeoutMs: trustTimeoutMs });
  if (exitCode === 0) return;
  throw new DormouseError("failed_precondition", `the machine cannot be made to trust: ${stderr.slice(-500)}`);
}
