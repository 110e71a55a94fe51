import { openApiDocument } from "./openapi.ts";
import { referencePage } from "./reference-page.ts";
import type { Document } from "./server.ts";

/** The API's documents by path, each made once, when it is first asked for. */
export function apiDocuments(publicUrl: string): Readonly<Record<string, Document>> {
  let document: ReturnType<typeof openApiDocument> | undefined;
  const made = () => {
    document ??= openApiDocument(publicUrl);
    return document;
  };
  return {
    "/api/openapi.json": async () => ({
      headers: { "content-type": "application/json; charset=utf-8" },
      body: JSON.stringify(await made()),
    }),
    "/api/reference": async () => ({
      headers: {
        "content-type": "text/html; charset=utf-8",
        // The page is text and one style sheet within it.
        "content-security-policy":
          "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      },
      body: referencePage(await made()),
    }),
  };
}
