import { expect, test } from "vitest";
import { assetHeaders, pageHeaders, toClient } from "./headers.ts";

const policyOf = (headers: Record<string, unknown>) => String(headers["content-security-policy"]).split("; ");

test("the page runs code of its own folders alone, not what else has its origin", () => {
  const policy = policyOf(pageHeaders("localhost:7070"));
  expect(policy).toContain(
    "script-src localhost:7070/workbench/ localhost:7070/console/ 'wasm-unsafe-eval' 'inline-speculation-rules'",
  );
  expect(policy).toContain("worker-src localhost:7070/workbench/ localhost:7070/console/ blob:");
  // What is no host names nothing.
  expect(policyOf(pageHeaders("x; script-src *"))).toContain(
    "script-src 'self' 'wasm-unsafe-eval' 'inline-speculation-rules'",
  );
});

test("the frame of extensions has no origin, and connects to code and files of extensions", () => {
  const headers = assetHeaders("assets/webWorkerExtensionHostIframe-Cln55oZg.html", "localhost:7070");
  const policy = policyOf(headers);
  expect(policy).toContain("sandbox allow-scripts");
  expect(policy).toContain("default-src 'none'");
  const at = (path: string) => `http://localhost:7070${path} https://localhost:7070${path}`;
  expect(policy).toContain(`connect-src data: blob: ${at("/workbench/")} ${at("/api/extensions/")}`);
  const webview = policyOf(assetHeaders("assets/fake-DXkbmQ09.html", "localhost:7070"));
  expect(webview).toContain("frame-ancestors 'self'");
  expect(webview.find((one) => one.startsWith("script-src"))).not.toContain("/api/");
  expect(assetHeaders("assets/a.js", "localhost:7070")).toMatchObject({
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
  });
});

test("who may load an answer is control's to say, and a machine's never", () => {
  const said = { "cross-origin-resource-policy": "cross-origin", "content-security-policy": "default-src *" };
  expect(toClient(said, "control")).toMatchObject(said);
  expect(toClient(said, "guest")).toMatchObject({
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
  });
});
