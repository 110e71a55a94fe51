import {
  createECDH,
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  randomBytes,
  sign,
} from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import { AsnConvert, OctetString } from "@peculiar/asn1-schema";
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  Extension,
  Extensions,
  GeneralName,
  GeneralSubtree,
  GeneralSubtrees,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_nameConstraints,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  id_kp_serverAuth,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  Name,
  NameConstraints,
  RelativeDistinguishedName,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
  Version,
} from "@peculiar/asn1-x509";

const ecdsaWithSha256 = "1.2.840.10045.4.3.2";
const commonName = "2.5.4.3";
const curveOrder = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const dayMs = 24 * 3_600_000;
/** A machine is given the certificate anew whenever it comes to life; one that runs for ten years is given up. */
const authorityDays = 3_650;
const serverDays = 7;
/** Clocks of machines may be behind. */
const backdatedMs = dayMs;
/** Certificates of servers that are kept; the one not used for longest goes first. */
const maxContexts = 512;

/** Certificates with which the proxy stands in for servers, of an authority for each organisation. */
export interface Authority {
  /**
   * What an organisation's machines have to trust: good for these hosts alone (RFC 5280 4.2.1.10).
   * @param hosts names, and `*.suffix` for all below one.
   */
  certificate(organisation: string, hosts: readonly string[]): AuthorityCertificate;
  /** What the proxy answers a machine of an organisation with that wants to speak to a host. */
  contextOf(organisation: string, host: string): SecureContext;
}

/** A certificate that machines are to trust. */
export interface AuthorityCertificate {
  pem: string;
  /** What OpenSSL looks for it by in a folder of certificates, 8 hex digits. */
  hash: string;
}

interface Kept {
  context: SecureContext;
  untilMs: number;
}

/**
 * Makes the {@link Authority}. Keys of organisations are derived, so that all hosts of an installation have the same and none
 * is stored; they do not leave this process.
 * @param secret of the installation.
 */
export function createAuthority(secret: string, now: () => number = Date.now): Authority {
  const issuers = new Map<string, Issuer>();
  const contexts = new Map<string, Kept>();
  const issuerOf = (organisation: string): Issuer => {
    const known = issuers.get(organisation) ?? newIssuer(secret, organisation);
    issuers.set(organisation, known);
    return known;
  };
  return {
    certificate(organisation, hosts) {
      const issuer = issuerOf(organisation);
      const certificate = issue(issuer, authorityProfile(issuer, hosts), { nowMs: now(), days: authorityDays });
      return { pem: pem(certificate), hash: subjectHash(organisation) };
    },
    contextOf(organisation, host) {
      const key = `${organisation} ${host}`;
      const known = contexts.get(key);
      const nowMs = now();
      contexts.delete(key);
      const kept = known && known.untilMs > nowMs ? known : newContext(issuerOf(organisation), host, nowMs);
      contexts.set(key, kept);
      for (const oldest of contexts.keys()) {
        if (contexts.size <= maxContexts) break;
        contexts.delete(oldest);
      }
      return kept.context;
    },
  };
}

function newContext(issuer: Issuer, host: string, nowMs: number): Kept {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const spki = publicKey.export({ type: "spki", format: "der" });
  const certificate = issue(issuer, serverProfile(issuer, spki, host), { nowMs, days: serverDays });
  const context = createSecureContext({
    key: privateKey.export({ type: "pkcs8", format: "pem" }),
    cert: pem(certificate),
    minVersion: "TLSv1.2",
  });
  return { context, untilMs: nowMs + (serverDays * dayMs) / 2 };
}

interface Issuer {
  key: KeyObject;
  name: Name;
  spki: Buffer;
  keyId: Buffer;
}

function newIssuer(secret: string, organisation: string): Issuer {
  // 64 bits more than needed, so that the remainder is not biased (FIPS 186-5 A.2.1).
  const bytes = Buffer.from(hkdfSync("sha256", secret, "", `dormouse egress authority ${organisation}`, 40));
  const scalar = (BigInt(`0x${bytes.toString("hex")}`) % (curveOrder - 1n)) + 1n;
  const d = Buffer.from(scalar.toString(16).padStart(64, "0"), "hex");
  const ecdh = createECDH("prime256v1");
  ecdh.setPrivateKey(d);
  const point = ecdh.getPublicKey();
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((part) => part.toString("base64url"));
  const key = createPrivateKey({
    format: "jwk",
    key: { kty: "EC", crv: "P-256", d: d.toString("base64url"), x: x ?? "", y: y ?? "" },
  });
  const spki = spkiOf(point);
  return { key, name: nameOf(issuerName(organisation)), spki, keyId: keyIdOf(spki) };
}

/** What is particular to a certificate. */
interface Profile {
  subject: Name;
  spki: Buffer;
  extensions: Extension[];
}

function authorityProfile({ name, spki, keyId }: Issuer, hosts: readonly string[]): Profile {
  const permitted = hosts.map(
    // A constraint holds for the name and all below it.
    (host) => new GeneralSubtree({ base: new GeneralName({ dNSName: host.replace(/^\*\./, "") }) }),
  );
  // No addresses: names alone are stood in for.
  const excluded = ["0.0.0.0/0", "::/0"].map(
    (iPAddress) => new GeneralSubtree({ base: new GeneralName({ iPAddress }) }),
  );
  const constraints = new NameConstraints({
    permittedSubtrees: new GeneralSubtrees(permitted),
    excludedSubtrees: new GeneralSubtrees(excluded),
  });
  return {
    subject: name,
    spki,
    extensions: [
      extension(id_ce_basicConstraints, new BasicConstraints({ cA: true, pathLenConstraint: 0 }), true),
      extension(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.keyCertSign), true),
      extension(id_ce_nameConstraints, constraints, true),
      extension(id_ce_subjectKeyIdentifier, new SubjectKeyIdentifier(keyId)),
    ],
  };
}

function serverProfile({ keyId }: Issuer, spki: Buffer, host: string): Profile {
  return {
    subject: nameOf("Dormouse"),
    spki,
    extensions: [
      extension(id_ce_basicConstraints, new BasicConstraints({ cA: false }), true),
      extension(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.digitalSignature), true),
      extension(id_ce_extKeyUsage, new ExtendedKeyUsage([id_kp_serverAuth])),
      extension(id_ce_subjectAltName, new SubjectAlternativeName([new GeneralName({ dNSName: host })])),
      extension(id_ce_subjectKeyIdentifier, new SubjectKeyIdentifier(keyIdOf(spki))),
      extension(id_ce_authorityKeyIdentifier, new AuthorityKeyIdentifier({ keyIdentifier: new KeyIdentifier(keyId) })),
    ],
  };
}

function issue(issuer: Issuer, profile: Profile, { nowMs, days }: { nowMs: number; days: number }): Buffer {
  const serial = randomBytes(16);
  // Positive, and without a leading zero (X.690 8.3.2).
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  const signatureAlgorithm = new AlgorithmIdentifier({ algorithm: ecdsaWithSha256 });
  const tbsCertificate = new TBSCertificate({
    version: Version.v3,
    serialNumber: arrayBufferOf(serial),
    signature: signatureAlgorithm,
    issuer: issuer.name,
    validity: new Validity({
      notBefore: new Date(nowMs - backdatedMs),
      notAfter: new Date(nowMs + days * dayMs),
    }),
    subject: profile.subject,
    subjectPublicKeyInfo: AsnConvert.parse(profile.spki, SubjectPublicKeyInfo),
    extensions: new Extensions(profile.extensions),
  });
  const signature = sign("sha256", Buffer.from(AsnConvert.serialize(tbsCertificate)), issuer.key);
  return Buffer.from(
    AsnConvert.serialize(
      new Certificate({ tbsCertificate, signatureAlgorithm, signatureValue: arrayBufferOf(signature) }),
    ),
  );
}

function extension(extnID: string, content: object, critical = false): Extension {
  return new Extension({ extnID, critical, extnValue: new OctetString(AsnConvert.serialize(content)) });
}

function nameOf(text: string): Name {
  const value = new AttributeValue({ utf8String: text.slice(0, 64) });
  return new Name([new RelativeDistinguishedName([new AttributeTypeAndValue({ type: commonName, value })])]);
}

const issuerName = (organisation: string) => `Dormouse secrets of ${organisation}`;

/** As OpenSSL's `X509_NAME_hash`: over the name in small letters, without what is around its parts. */
function subjectHash(organisation: string): string {
  const canonical = AsnConvert.serialize(nameOf(issuerName(organisation).toLowerCase())[0]);
  return createHash("sha1").update(Buffer.from(canonical)).digest().readUInt32LE(0).toString(16).padStart(8, "0");
}

/** An uncompressed point as SubjectPublicKeyInfo (RFC 5480 2). */
function spkiOf(point: Buffer): Buffer {
  return Buffer.concat([Buffer.from("3059301306072a8648ce3d020106082a8648ce3d030107034200", "hex"), point]);
}

/** SHA-1 of the key, as RFC 5280 4.2.1.2 has it; it only tells keys apart. */
function keyIdOf(spki: Buffer): Buffer {
  return createHash("sha1").update(spki.subarray(-65)).digest();
}

function arrayBufferOf(bytes: Buffer): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}

function pem(der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
