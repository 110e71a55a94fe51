import { describe, expect, it } from "vitest";
import { DormouseError, errorCodes, httpStatusOf } from "./errors.ts";

describe("DormouseError", () => {
  it("returns one of its own unchanged", () => {
    const error = new DormouseError("not_found", "no workspace fox");
    expect(DormouseError.from(error)).toBe(error);
  });

  it("gives system errors the code that fits and keeps the cause", () => {
    const full = Object.assign(new Error("write failed"), { code: "ENOSPC" });
    const error = DormouseError.from(full);
    expect(error.code).toBe("resource_exhausted");
    expect(error.cause).toBe(full);
  });

  it("turns an abort into cancelled and a time-out into deadline_exceeded", () => {
    expect(DormouseError.from(AbortSignal.abort().reason).code).toBe("cancelled");
    const late = new DOMException("late", "TimeoutError");
    expect(DormouseError.from(late).code).toBe("deadline_exceeded");
  });

  it("crosses a boundary without its cause", () => {
    const error = new DormouseError("internal", "it broke", { cause: new Error("secret"), details: { field: "name" } });
    const text = JSON.stringify(error);
    expect(text).not.toContain("secret");
    const back = DormouseError.fromJSON(JSON.parse(text));
    expect(back).toMatchObject({ code: "internal", message: "it broke", details: { field: "name" } });
  });

  it("takes no foreign code over", () => {
    expect(DormouseError.fromJSON({ code: "weird", message: "x" })).toBeUndefined();
  });

  it("has an HTTP status of failure for every code", () => {
    for (const code of errorCodes) expect(httpStatusOf(code)).toBeGreaterThanOrEqual(400);
  });
});
