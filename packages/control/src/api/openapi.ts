import { apiContract } from "@dormouse/contract";
import { type OpenAPI, OpenAPIGenerator } from "@orpc/openapi";
import { ZodToJsonSchemaConverter } from "@orpc/zod/zod4";

const errorSchema = {
  type: "object",
  required: ["code", "message", "details"],
  properties: {
    code: {
      type: "string",
      description: "One of a closed set, after gRPC's status codes, e.g. `not_found`.",
    },
    message: { type: "string", description: "One line for people: the field, the value, and what would be right." },
    details: { type: "object", additionalProperties: true, description: "Facts a program can act on." },
  },
} as const;

/** The OpenAPI 3.1 document of the public API, made from its contract. */
export async function openApiDocument(publicUrl: string): Promise<OpenAPI.Document> {
  const generator = new OpenAPIGenerator({ schemaConverters: [new ZodToJsonSchemaConverter()] });
  const document = await generator.generate(apiContract, {
    info: {
      title: "Dormouse API",
      version: "1",
      description:
        "Workspaces that open in a second and sleep when nobody looks. A workspace is referred to by its name or its id. " +
        "Programs send an API key as `Authorization: Bearer KEY`; pages use their session's cookie.",
    },
    servers: [{ url: `${publicUrl}/api` }],
    security: [{ apiKey: [] }, { session: [] }],
    customErrorResponseBodySchema: errorSchema as never,
    components: {
      schemas: { Error: errorSchema as never },
      securitySchemes: {
        apiKey: { type: "http", scheme: "bearer", description: "An API key, `dmk_…`." },
        session: {
          type: "apiKey",
          in: "cookie",
          name: "dormouse.session_token",
          description: "Set by signing in. Writes must come from the platform's own origin.",
        },
      },
    },
  });
  const refusal = {
    description: "Refused; the body says why.",
    content: { "application/json": { schema: { $ref: "#/components/schemas/Error" } } },
  };
  for (const item of Object.values(document.paths ?? {})) {
    for (const operation of operationsOf(item)) operation.responses = { ...operation.responses, default: refusal };
  }
  document.paths = { ...document.paths, ...handWritten(refusal) } as OpenAPI.Document["paths"];
  return document;
}

/** The operations of a path, by method. */
export function operationsOf(item: OpenAPI.PathItemObject | undefined): OpenAPI.OperationObject[] {
  return methods.flatMap((method) => item?.[method] ?? []);
}

/** In the order in which they are shown. */
export const methods = ["get", "post", "put", "patch", "delete"] as const;

type Answer = NonNullable<OpenAPI.OperationObject["responses"]>[string];
type Body = NonNullable<OpenAPI.OperationObject["requestBody"]>;

/** What does not come from the contract: raw streams, and what better-auth answers. */
function handWritten(refusal: Answer): Record<string, Partial<Record<(typeof methods)[number], unknown>>> {
  const workspace: OpenAPI.ParameterObject = {
    name: "workspace",
    in: "path",
    required: true,
    schema: { type: "string" },
    description: "Name or id.",
  };
  const path: OpenAPI.ParameterObject = {
    name: "path",
    in: "query",
    required: true,
    schema: { type: "string" },
    description: "Absolute path in the machine.",
  };
  const bytes = {
    "application/octet-stream": { schema: { type: "string", contentMediaType: "application/octet-stream" } },
  } as const;
  const signedIn: Answer = { description: "Signed in; the session's cookie is set." };
  const json = (properties: Record<string, { type: "string" }>): Body => ({
    required: true,
    content: { "application/json": { schema: { type: "object", required: Object.keys(properties), properties } } },
  });
  return {
    "/workspaces/{workspace}/guest/file": {
      get: {
        summary: "Read a whole file, of any size",
        tags: ["Inside a workspace"],
        operationId: "guest.file.read",
        parameters: [workspace, path],
        responses: { 200: { description: "The file's bytes.", content: bytes }, default: refusal },
      },
      put: {
        summary: "Write a whole file, of any size",
        tags: ["Inside a workspace"],
        operationId: "guest.file.write",
        parameters: [workspace, path],
        requestBody: { required: true, content: bytes },
        responses: { 200: { description: "Written." }, default: refusal },
      },
    },
    "/workspaces/{workspace}/guest/channel": {
      get: {
        summary: "Open a WebSocket to the machine's agent",
        description:
          "Files, processes, terminals, git, search and ports as typed calls and streams over one connection. The SDKs speak it.",
        tags: ["Inside a workspace"],
        operationId: "guest.channel",
        parameters: [workspace],
        responses: { 101: { description: "A WebSocket from here on." }, default: refusal },
      },
    },
    "/workspaces/{workspace}/guest/rpc/{procedure}": {
      post: {
        summary: "Make one call to the machine's agent",
        description:
          "The calls of the channel, one per request. Body and answer are `{ json, meta }`; the SDKs speak it.",
        tags: ["Inside a workspace"],
        operationId: "guest.call",
        parameters: [
          workspace,
          {
            name: "procedure",
            in: "path",
            required: true,
            schema: { type: "string" },
            description: "For example `exec/start` or `files/list`.",
          },
        ],
        requestBody: { required: true, content: { "application/json": { schema: { type: "object" } } } },
        responses: {
          200: { description: "The answer, or a stream of server-sent events." },
          default: refusal,
        },
      },
    },
    "/auth/sign-in/email": {
      post: {
        summary: "Sign in with a password",
        tags: ["Signing in"],
        operationId: "auth.signInEmail",
        security: [],
        requestBody: json({ email: { type: "string" }, password: { type: "string" } }),
        responses: { 200: signedIn, default: refusal },
      },
    },
    "/auth/sign-in/link": {
      post: {
        summary: "Sign in with a one-time link's token",
        tags: ["Signing in"],
        operationId: "auth.signInLink",
        security: [],
        requestBody: json({ token: { type: "string" } }),
        responses: { 200: signedIn, default: refusal },
      },
    },
    "/auth/sign-out": {
      post: {
        summary: "End this session",
        tags: ["Signing in"],
        operationId: "auth.signOut",
        requestBody: json({}),
        responses: { 200: { description: "Signed out." }, default: refusal },
      },
    },
  };
}
