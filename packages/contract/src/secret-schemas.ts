import { z } from "zod";
import { limits } from "./limits.ts";

/** As an environment variable's. */
export const secretName = z
  .string()
  .max(limits.secretNameLength, `a secret's name has at most ${limits.secretNameLength} characters`)
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "a secret's name is a variable's: letters, digits and _");

/** `api.example.com`, or `*.example.com` for all names below it; read, and refused with a reason, by control. */
export const secretHost = z.string().min(1).max(255);
const secretHosts = z
  .array(secretHost)
  .min(1, "a secret needs a host that it may go to")
  .max(limits.secretHosts, `a secret has at most ${limits.secretHosts} hosts`);

/** What goes into headers of requests: no control characters, and no spaces around it, which headers lose. */
export const secretValue = z
  .string()
  .min(1, "the value is empty")
  .refine(
    (value) => new TextEncoder().encode(value).length <= limits.secretValueBytes,
    `the value has at most ${limits.secretValueBytes} bytes`,
  )
  .refine((value) => !/\p{Cc}/u.test(value), "the value holds a line break or another control character")
  .refine((value) => value.trim() === value, "the value has spaces around it");

/** What stands in a machine for a secret's value: of one workspace, and worth nothing elsewhere. */
export const secretPlaceholder = z.string().regex(/^dormouse-secret-[a-z0-9]{40}$/, "is no placeholder");

/** A secret as a host needs it for one machine. */
export const machineSecret = z.object({
  name: secretName,
  placeholder: secretPlaceholder,
  hosts: secretHosts,
  /** Whether it may go there by plain HTTP too. */
  isInsecure: z.boolean(),
  /** Kept in the host's memory alone; absent: control cannot read it, and what needs it is refused. */
  value: z.string().optional(),
});
export type MachineSecret = z.infer<typeof machineSecret>;
export const machineSecrets = z.array(machineSecret).max(2 * limits.secrets);

/** What is set of a secret. */
export const setSecret = z.object({
  /** Always told anew: whoever may change where it goes without knowing it could send it to themselves. */
  value: secretValue,
  hosts: secretHosts,
  /** Addresses of the repositories whose workspaces get it; default: all. */
  repositories: z.array(z.string().min(1).max(4096)).min(1).max(limits.secretRepositories).nullable().default(null),
  /** Whether it may go to its hosts by plain HTTP too, where anybody on the way reads it. */
  insecure: z.boolean().default(false),
});
export type SetSecret = z.input<typeof setSecret>;

/** A secret as it is shown: its value never is. */
export const secretInfo = z.object({
  name: secretName,
  hosts: z.array(secretHost),
  /** Null: all. */
  repositories: z.array(z.string()).nullable(),
  insecure: z.boolean(),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
  /** What keeps it from having an effect somewhere, in words. */
  notes: z.array(z.string()),
});
export type SecretInfo = z.infer<typeof secretInfo>;
