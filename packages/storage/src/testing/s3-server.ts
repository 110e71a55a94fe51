import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CreateBucketCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { DormouseError, disposer, retry } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { type Ceph, openCeph } from "./ceph.ts";

/** A real S3 server for tests, gone with its data at disposal. */
export interface S3Server extends AsyncDisposable {
  endpoint: string;
  bucket: string;
  region: string;
  credentials: { accessKeyId: string; secretAccessKey: string };
  /** It stops answering, as a server does that hangs. */
  pause(): void;
  /** It goes on after {@link pause}. */
  resume(): void;
}

const credentials = { accessKeyId: "tester", secretAccessKey: "testers-secret" };

/**
 * Starts a Ceph cluster of one monitor and one storage daemon that keeps everything in
 * memory, with Ceph's S3 gateway before it and one empty bucket in it. Takes some ten
 * seconds; needs no root.
 */
export async function startS3Server(): Promise<S3Server> {
  const ceph = await openCeph();
  const stack = disposer();
  try {
    const folder = await mkdtemp(join(tmpdir(), "dormouse-s3-"));
    stack.add(() => rm(folder, { recursive: true, force: true }));
    const [monitorPort, gatewayPort] = [await freePort(), await freePort()];
    const config = join(folder, "ceph.conf");
    await mkdir(join(folder, "mon"));
    await mkdir(join(folder, "osd"));
    const clusterId = randomUUID();
    await writeFile(config, configOf({ ceph, folder, clusterId, monitorPort, gatewayPort }));
    const finish = (program: string, ...args: string[]) => {
      const { command, args: all } = ceph.command(program, ["-c", config, ...args]);
      return run(command, all);
    };
    const start = (program: string, ...args: string[]) => {
      const { command, args: all } = ceph.command(program, ["-c", config, "-f", ...args]);
      const child = spawn(command, all, { stdio: "ignore" });
      stack.add(() => stop(child));
      return child;
    };
    const [monitorMap, storageMap] = [join(folder, "monmap"), join(folder, "osdmap")];
    await finish("osdmaptool", "--createsimple", "1", storageMap);
    const monitor = ["--addv", "a", `[v2:127.0.0.1:${monitorPort}]`];
    await finish("monmaptool", "--create", ...monitor, "--fsid", clusterId, monitorMap);
    await finish("ceph-mon", "-i", "a", "--mkfs", "--monmap", monitorMap, "--osdmap", storageMap);
    start("ceph-mon", "-i", "a");
    await finish("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", randomUUID());
    start("ceph-osd", "-i", "0");
    const keys = [`--access-key=${credentials.accessKeyId}`, `--secret-key=${credentials.secretAccessKey}`];
    await finish("radosgw-admin", "user", "create", "--uid=tester", "--display-name=tester", ...keys);
    const gateway = start("radosgw", "-n", "client.admin");

    const endpoint = `http://127.0.0.1:${gatewayPort}`;
    const server = { endpoint, bucket: "dormouse-test", region: "us-east-1", credentials };
    await createBucket(server);
    return {
      ...server,
      pause: () => void gateway.kill("SIGSTOP"),
      resume: () => void gateway.kill("SIGCONT"),
      [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
    };
  } catch (error) {
    await stack[Symbol.asyncDispose]();
    throw error;
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

function configOf(facts: {
  ceph: Ceph;
  folder: string;
  clusterId: string;
  monitorPort: number;
  gatewayPort: number;
}): string {
  const { ceph, folder } = facts;
  return `[global]
fsid = ${facts.clusterId}
mon host = [v2:127.0.0.1:${facts.monitorPort}/0]
mon initial members = a
public addr = 127.0.0.1
# Everything is on this machine and gone after the test: no keys, no encryption inside the cluster.
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
keyring = ${folder}/none
run dir = ${folder}
log file = ${folder}/$name.log
admin socket = ${folder}/$name.asok
plugin dir = ${ceph.libraries}/ceph
erasure code dir = ${ceph.libraries}/ceph/erasure-code
osd class dir = ${ceph.libraries}/rados-classes
mon data = ${folder}/mon
osd data = ${folder}/osd
osd objectstore = memstore
memstore device bytes = ${2 ** 31}
# One daemon holds one copy; pools are made by whoever first needs them, as small as they can be.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
# What is decided rarely in a large cluster is waited for in a test.
paxos propose interval = 0.05
rgw frontends = beast endpoint=127.0.0.1:${facts.gatewayPort}
rgw thread pool size = 16
`;
}

/** Waits until the gateway answers, and has made all of the pools it keeps objects in. */
async function createBucket(server: Pick<S3Server, "endpoint" | "bucket" | "region" | "credentials">): Promise<void> {
  const client = new S3Client({ ...server, forcePathStyle: true, maxAttempts: 1 });
  const patience = { attempts: 150, delayMs: 50, maxDelayMs: 200 };
  try {
    await retry(() => client.send(new CreateBucketCommand({ Bucket: server.bucket })), patience);
    const probe = { Bucket: server.bucket, Key: "probe", Body: "" };
    await retry(() => client.send(new PutObjectCommand(probe)), patience);
  } finally {
    client.destroy();
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  if (typeof address !== "object" || !address) throw new DormouseError("internal", "a listening socket has no port");
  return address.port;
}
