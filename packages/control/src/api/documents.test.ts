import { expect, test } from "vitest";
import { apiDocuments } from "./documents.ts";

test("describes every call, with the raw routes and how to prove who asks", async () => {
  const documents = apiDocuments("http://dormouse.test");
  const answer = await documents["/api/openapi.json"]?.();
  const document = JSON.parse(answer?.body ?? "") as {
    openapi: string;
    paths: Record<string, Record<string, { responses: Record<string, unknown>; operationId: string }>>;
    components: { securitySchemes: object };
  };
  expect(document.openapi).toMatch(/^3\.1\./);
  expect(document.paths["/workspaces"]).toHaveProperty("post.requestBody");
  expect(document.paths["/workspaces/{workspace}/exec"]).toHaveProperty("post.responses.200");
  expect(document.paths["/workspaces/{workspace}/guest/file"]).toHaveProperty("put.requestBody");
  expect(document.paths["/auth/sign-in/link"]).toHaveProperty("post");
  expect(Object.keys(document.components.securitySchemes)).toEqual(["apiKey", "session"]);
  const all = Object.values(document.paths).flatMap((item) => Object.values(item));
  expect(all.length).toBeGreaterThan(20);
  for (const operation of all) expect(operation.responses, operation.operationId).toHaveProperty("default");
});

test("the reference shows every operation as text, without scripts or anything from elsewhere", async () => {
  const documents = apiDocuments("http://dormouse.test/<x>");
  const answer = await documents["/api/reference"]?.();
  const page = answer?.body ?? "";
  expect(page).toContain("Create a workspace");
  expect(page).toContain("<code>/workspaces/{workspace}/guest/file</code>");
  expect(page).toMatch(/<code>ttlSeconds<\/code> <span class="dim">optional<\/span>/);
  expect(page).not.toContain("<script");
  expect(page).not.toContain("<x>");
  expect(page).not.toMatch(/(src|href)="(https?:)?\/\//);
  expect(answer?.headers["content-security-policy"]).toContain("default-src 'none'");
});
