import { decode, encode, type Packet, type RecordType } from "dns-packet";
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { answerTo, type Resolve } from "./dns-server.ts";

const from = "10.213.0.1";
const ask = (name: string, type: RecordType = "A", more: Partial<Packet> = {}) =>
  encode({ type: "query", id: 7, flags: 256, questions: [{ type, class: "IN", name }], ...more });
const answered = (addresses: string[], rcode = "NOERROR"): Resolve =>
  vi.fn(async (_from, name) => ({
    kind: "answered" as const,
    rcode,
    records: addresses.map((data) => ({ type: "A" as const, name, ttl: 60, data })),
    addresses: [],
  }));
const read = async (message: Buffer, resolve: Resolve, transport: "udp" | "tcp" = "udp") => {
  const answer = await answerTo(message, from, resolve, transport);
  return answer && (decode(answer) as unknown as Packet & { rcode: string });
};

test("an address is told, in the letters that were asked for", async () => {
  const resolve = answered(["192.0.2.1"]);
  const answer = await read(ask("A.Test"), resolve);
  expect(resolve).toHaveBeenCalledWith(from, "a.test");
  expect(answer).toMatchObject({ id: 7, type: "response", rcode: "NOERROR" });
  expect(answer?.answers).toMatchObject([{ name: "A.Test", type: "A", data: "192.0.2.1" }]);
});

test("of an allowed name nothing but addresses is told", async () => {
  for (const type of ["AAAA", "TXT", "MX", "SRV", "ANY"] as RecordType[]) {
    expect(await read(ask("a.test", type), answered(["192.0.2.1"]))).toMatchObject({ rcode: "NOERROR", answers: [] });
  }
  expect(await read(ask("a.test"), answered([], "NXDOMAIN"))).toMatchObject({ rcode: "NXDOMAIN" });
});

test("a refusal says why to who understands it", async () => {
  const refused: Resolve = async () => ({ kind: "refused", reason: "no rule allows it" });
  expect(await read(ask("a.test"), refused)).toMatchObject({ rcode: "REFUSED", answers: [], additionals: [] });
  const opt = {
    type: "OPT",
    name: ".",
    udpPayloadSize: 1232,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  };
  const answer = await answerTo(ask("a.test", "A", { additionals: [opt as never] }), from, refused, "udp");
  expect(answer?.includes("no rule allows it")).toBe(true);
  expect(await read(ask("a.test"), async () => undefined)).toMatchObject({ rcode: "REFUSED" });
  expect(await read(ask("a.test"), () => Promise.reject(new Error("away")))).toMatchObject({ rcode: "SERVFAIL" });
});

test("what is no plain question asks nobody", async () => {
  const resolve = answered(["192.0.2.1"]);
  const two = [
    ask("a.test", "A", {
      questions: [
        { type: "A", name: "a.test" },
        { type: "A", name: "b.test" },
      ],
    }),
  ];
  expect(await read(two[0] as Buffer, resolve)).toMatchObject({ rcode: "FORMERR" });
  expect(await read(ask("192.0.2.1"), resolve)).toMatchObject({ rcode: "REFUSED" });
  expect(
    await read(ask("a.test", "A", { questions: [{ type: "A", class: "CH", name: "a.test" }] }), resolve),
  ).toMatchObject({ rcode: "REFUSED" });
  expect(
    await answerTo(
      encode({ type: "response", id: 7, questions: [{ type: "A", name: "a.test" }] }),
      from,
      resolve,
      "udp",
    ),
  ).toBeUndefined();
  expect(resolve).not.toHaveBeenCalled();
});

test("an answer that does not fit is cut over UDP and whole over TCP", async () => {
  const many = Array.from({ length: 60 }, (_, index) => `192.0.2.${index}`);
  const overUdp = await read(ask("a.test"), answered(many));
  expect(overUdp).toMatchObject({ answers: [], flag_tc: true });
  expect((await read(ask("a.test"), answered(many), "tcp"))?.answers).toHaveLength(60);
});

test("whatever arrives, nothing is thrown", async () => {
  const question = ask("a.test");
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(question.length - 1), fc.nat(255)), { maxLength: 6 }),
      async (changes) => {
        const changed = Buffer.from(question);
        for (const [at, value] of changes) changed[at] = value;
        await answerTo(changed, from, answered(["192.0.2.1"]), "udp");
      },
    ),
    { numRuns: 1_000 },
  );
});
