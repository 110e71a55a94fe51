import { DormouseError } from "@dormouse/base";
import { normalName } from "../policy/rule.ts";

/** A value that machines never see: they have a placeholder, which the proxy replaces on the way to named hosts. */
export interface EgressSecret {
  /** For messages. */
  name: string;
  /** As {@link placeholderPattern} has it. */
  placeholder: string;
  /** Where the value may go: names, and `*.suffix` for all below one. */
  hosts: readonly string[];
  /** Whether it may go there by plain HTTP too. */
  isInsecure: boolean;
  /** Undefined: it is not known now, and what needs it is refused. */
  value: string | undefined;
}

/** The secrets of a machine. */
export interface MachineSecrets {
  /** Whose authority its machine trusts. */
  organisation: string;
  secrets: readonly EgressSecret[];
}

/** What stands in a machine for a value. */
const placeholderPattern = /dormouse-secret-[a-z0-9]{40}/g;
const beginning = "dormouse-secret-";
const basic = /^(basic +)([A-Za-z0-9+/]+=*)$/i;

/** {@link MachineSecrets} that have been read. */
export class SecretSet {
  static readonly none = new SecretSet({ organisation: "", secrets: [] });

  readonly organisation: string;
  /** All hosts that they name. */
  readonly hosts: readonly string[];
  readonly #byHost = new Map<string, EgressSecret[]>();
  readonly #byPlaceholder: Map<string, EgressSecret>;

  /** @throws DormouseError `invalid_argument` for a host that is none. */
  constructor({ organisation, secrets }: MachineSecrets) {
    this.organisation = organisation;
    this.#byPlaceholder = new Map(secrets.map((secret) => [secret.placeholder, secret]));
    for (const secret of secrets) {
      for (const host of secret.hosts) {
        const key = normalHost(host, `hosts of secret ${secret.name}`);
        this.#byHost.set(key, [...(this.#byHost.get(key) ?? []), secret]);
      }
    }
    this.hosts = [...this.#byHost.keys()].sort();
  }

  /** Those that may go to a host. */
  of(host: string): EgressSecret[] {
    if (this.#byHost.size === 0) return [];
    const found = [...(this.#byHost.get(host) ?? [])];
    for (let dot = host.indexOf("."); dot >= 0; dot = host.indexOf(".", dot + 1))
      found.push(...(this.#byHost.get(`*${host.slice(dot)}`) ?? []));
    return [...new Set(found)];
  }

  /** What decides how connections to a host are treated: while it is the same, they may go on. */
  stateOf(host: string): string {
    const secrets = this.of(host).map(({ placeholder, isInsecure, value }) => [placeholder, isInsecure, value]);
    return JSON.stringify(secrets.sort());
  }

  /**
   * The headers of a request to a host, names and values in turn, with values for placeholders, also inside Basic
   * credentials (RFC 7617). Nothing else of a request is looked at.
   * @throws DormouseError `unavailable` for a value that is not known now, `permission_denied` for one that may not go there so.
   *   Neither holds a value.
   */
  replace(rawHeaders: readonly string[], to: { host: string; isEncrypted: boolean }): string[] {
    const allowed = this.of(to.host);
    const replaceIn = (text: string) =>
      text.includes(beginning)
        ? text.replace(placeholderPattern, (placeholder) => this.#valueOf(placeholder, allowed, to))
        : text;
    return rawHeaders.map((text, index) => {
      if (index % 2 === 0) return text;
      const [, scheme, credentials] = basic.exec(text) ?? [];
      if (scheme === undefined || credentials === undefined) return replaceIn(text);
      const plain = Buffer.from(credentials, "base64").toString("latin1");
      const replaced = replaceIn(plain);
      // As it was, byte for byte, when there is nothing in it.
      return replaced === plain ? text : `${scheme}${Buffer.from(replaced, "latin1").toString("base64")}`;
    });
  }

  #valueOf(
    placeholder: string,
    allowed: readonly EgressSecret[],
    { host, isEncrypted }: { host: string; isEncrypted: boolean },
  ): string {
    const secret = this.#byPlaceholder.get(placeholder);
    const refuse = (why: string) => new DormouseError("permission_denied", why);
    if (!secret) {
      throw refuse("a placeholder in it is of no secret of this workspace: it was removed, or is another workspace's");
    }
    const { name, isInsecure, value } = secret;
    if (!allowed.includes(secret)) throw refuse(`secret ${name} may not go to ${host}`);
    if (!isEncrypted && !isInsecure) throw refuse(`secret ${name} may go to ${host} over TLS alone`);
    if (value === undefined) throw new DormouseError("unavailable", `secret ${name} cannot be read now; try again`);
    // Node has the bytes of headers as Latin-1.
    return Buffer.from(value, "utf8").toString("latin1");
  }
}

/**
 * A secret's host in the form in which names are compared.
 * @throws DormouseError `invalid_argument` with the field, the host and what would be right.
 */
export function normalHost(text: string, field: string): string {
  const isSuffix = text.startsWith("*.");
  const name = normalName(isSuffix ? text.slice(2) : text);
  // Whoever may have a name below it, such as *.com, would get the value.
  if (name !== undefined && (!isSuffix || name.includes("."))) return isSuffix ? `*.${name}` : name;
  throw new DormouseError(
    "invalid_argument",
    `${field} has "${text}": it must be a name, such as api.example.com, or *.example.com for all below it`,
  );
}
