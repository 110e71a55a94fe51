import { expect, test } from "vitest";
import { DormouseError } from "./errors.ts";
import { createLogger } from "./log.ts";

function logged(fields: Record<string, unknown>): Record<string, unknown> {
  const lines: string[] = [];
  createLogger({ write: (line) => lines.push(line) }).error("it happened", fields);
  return JSON.parse(lines[0] ?? "{}") as Record<string, unknown>;
}

test("an error is written with its stack and all its causes, which never cross a boundary", () => {
  const error = new DormouseError("internal", "outer", { cause: new TypeError("inner") });
  expect(logged({ error }).error).toMatchObject({
    message: "outer",
    stack: expect.stringContaining("log.test.ts"),
    cause: { name: "TypeError", message: "inner", stack: expect.stringContaining("log.test.ts") },
  });
});

test("what is named like a secret is never written, at any depth", () => {
  const line = JSON.stringify(logged({ apiKey: "s3cret", headers: { Cookie: "s3cret", "x-token": "s3cret" } }));
  expect(line).not.toContain("s3cret");
});
