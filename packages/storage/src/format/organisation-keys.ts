import { hkdfSync } from "node:crypto";
import type { FindKey, StorageKey } from "./encryption.ts";

/** The keys of an installation: its own, and one for each organisation that is derived from it. */
export interface OrganisationKeys {
  /** The organisation's; without one the installation's own. */
  of(organisationId: string | undefined): StorageKey;
  /** What may be opened for an organisation: what it sealed, and what is everybody's. */
  idsFor(organisationId: string | undefined): string[];
  find: FindKey;
}

/**
 * Keys by HKDF-SHA-256 (RFC 5869) of the installation's key and the organisation's id: every host that has the one has all
 * of them, and no organisation's key tells anything about another's or about the installation's. Its id is
 * `INSTALLATION.ORGANISATION`.
 */
export function organisationKeys(installation: StorageKey): OrganisationKeys {
  const prefix = `${installation.id}.`;
  const of = (organisationId: string | undefined): StorageKey => {
    if (organisationId === undefined) return installation;
    const info = `dormouse organisation ${organisationId}`;
    return { id: prefix + organisationId, bytes: Buffer.from(hkdfSync("sha256", installation.bytes, "", info, 32)) };
  };
  return {
    of,
    idsFor: (organisationId) =>
      organisationId === undefined ? [installation.id] : [installation.id, prefix + organisationId],
    find(id) {
      if (id === installation.id) return installation;
      return id.startsWith(prefix) ? of(id.slice(prefix.length)) : undefined;
    },
  };
}
