import { eventIterator, oc } from "@orpc/contract";
import { z } from "zod";
import * as e from "./egress-schemas.ts";
import { guestPath } from "./guest-schemas.ts";
import * as s from "./host-schemas.ts";
import { machineSecrets } from "./secret-schemas.ts";

const empty = z.object({});
const machineFile = z.object({ workspaceId: z.string(), path: guestPath });
const machineRef = z.object({ workspaceId: z.string(), generation: z.number().int() });

/**
 * What a host offers control. Spoken as oRPC over HTTP at `/rpc` with the host's
 * token. Raw requests and WebSockets to `/machines/{workspaceId}/guest/…` are passed
 * on to the agent of that machine with the agent's token put in.
 */
export const hostContract = {
  machines: {
    /**
     * Restores a machine from a template, or claims one from the pool, and gives it its
     * identity. Idempotent for one workspace and generation. On failure nothing is left.
     */
    create: oc.input(s.createMachine).output(s.machineInfo),
    get: oc.input(z.object({ workspaceId: z.string() })).output(s.machineInfo),
    list: oc.input(empty).output(z.object({ machines: z.array(s.machineInfo) })),
    /** Writes memory and device state beside the disk and ends the process. Idempotent. */
    hibernate: oc.input(machineRef).output(s.machineInfo),
    /**
     * Goes on where `hibernate` stopped; a machine that died and has no sleep to wake from boots from its drive. With
     * `snapshotId` it goes on from that snapshot of the workspace instead, and whatever runs or sleeps now is given up.
     * Idempotent for one generation.
     */
    wake: oc
      .input(
        machineRef.extend({
          env: s.createMachine.shape.env,
          snapshotId: z.string().optional(),
          /** As of `create`; default: as before. */
          organisationId: s.organisationId.optional(),
          /** What may leave it from now on; default: as before. */
          egress: e.egressPolicy.optional(),
          /** Whose placeholders are in `env`; default: none. */
          secrets: machineSecrets.default([]),
        }),
      )
      .output(s.machineInfo),
    /**
     * Ends everything in a running machine and boots it from its drive: nothing that was in its memory is there any more. What
     * was written is on the drive; the agent is as warm as a template's afterwards.
     */
    restart: oc.input(machineRef).output(s.machineInfo),
    /** Takes a snapshot of a running machine, which stands still for some milliseconds; answers when it is durable. */
    snapshot: oc
      .input(machineRef.extend({ name: z.string().optional(), reason: s.snapshotInfo.shape.reason }))
      .output(s.snapshotInfo),
    /**
     * Ends the machine and removes its disk and, unless they are to be kept, its snapshots. Idempotent, from any state.
     */
    delete: oc.input(machineRef.extend({ keepSnapshots: z.boolean().default(false) })).output(empty),
    /** The last 64 KiB of the guest's console. */
    console: oc.input(z.object({ workspaceId: z.string() })).output(z.object({ text: z.string() })),
    /** First the whole list, one event each, then every change of state. */
    watch: oc.input(empty).output(eventIterator(s.machineInfo)),
  },
  egress: {
    /**
     * From now on this is what may leave the workspace's machine. Connections that are open and not allowed any more are cut
     * before this answers.
     */
    set: oc.input(z.object({ workspaceId: z.string(), policy: e.egressPolicy })).output(empty),
    /** What was refused lately, the last first, and what went through. */
    log: oc.input(z.object({ workspaceId: z.string() })).output(e.egressLog),
    /** What would become of a connection; opens none, but resolves the name when it may. */
    test: oc.input(e.egressAttempt.extend({ workspaceId: z.string() })).output(e.egressDecision),
    /** What is refused from now on, of all machines: each place once in a while. */
    watch: oc.input(empty).output(eventIterator(z.object({ workspaceId: z.string(), refusal: e.egressRefusal }))),
  },
  secrets: {
    /**
     * From now on these are the secrets of the workspace's machine. Connections to hosts for which they were others are cut
     * before this answers; programs that are started from then on find `env`.
     */
    set: oc
      .input(z.object({ workspaceId: z.string(), secrets: machineSecrets, env: s.createMachine.shape.env }))
      .output(empty),
  },
  snapshots: {
    /** Those of a workspace that are kept, newest first. */
    list: oc.input(z.object({ workspaceId: z.string() })).output(z.object({ snapshots: z.array(s.snapshotInfo) })),
    delete: oc.input(s.snapshotRef).output(empty),
  },
  templates: {
    /** Those that a person can name. */
    list: oc.input(empty).output(z.object({ templates: z.array(s.templateInfo) })),
    /**
     * The template of an image, `REPOSITORY@sha256:…`, or `sha256:…` of one that was built here: pulled, booted and
     * snapshotted when it is not there yet. Yields how far it is, returns the template.
     */
    ofImage: oc.input(z.object({ image: z.string() })).output(eventIterator(s.hostProgress, s.templateInfo)),
  },
  images: {
    /**
     * What a reference means now; asks its registry, pulls nothing. `sha256:…` alone is an image that was built here, or
     * `not_found`.
     */
    resolve: oc.input(z.object({ reference: z.string() })).output(s.imageInfo),
    /**
     * Puts an image, `REPOSITORY@sha256:…`, into a file of a running machine, as an OCI archive. The host fetches it, with its
     * own credentials. Yields how far it is.
     */
    deliver: oc.input(machineFile.extend({ image: z.string() })).output(eventIterator(s.hostProgress, empty)),
    /**
     * Takes an archive as of `docker save`, a file of a running machine, as an image of this host's: held against the same limits as one from
     * a registry, packed, and known by its digest from then on. Yields how far it is, returns the image.
     */
    adopt: oc.input(machineFile).output(eventIterator(s.hostProgress, s.imageInfo)),
  },
  features: {
    fetch: oc.input(s.featureSource).output(s.featureContents),
  },
  capacity: oc.input(empty).output(s.hostCapacity),
};
export type HostContract = typeof hostContract;

/** Stands in a host's refusal of a request for a machine that is not there now: it may be asleep. Status 503. */
export const machineAwayHeader = "x-dormouse-machine-away";
