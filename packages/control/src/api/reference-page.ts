import type { OpenAPI } from "@orpc/openapi";
import { methods } from "./openapi.ts";

type Schema = Record<string, unknown>;

/** A readable page of an OpenAPI document: plain HTML without scripts, so it works anywhere and under any policy. */
export function referencePage(document: OpenAPI.Document): string {
  const byTag = new Map<string, Operation[]>();
  for (const operation of operations(document)) {
    const tag = operation.details.tags?.[0] ?? "Other";
    byTag.set(tag, [...(byTag.get(tag) ?? []), operation]);
  }
  const sections = [...byTag].map(
    ([tag, all]) =>
      html`<section><h2 id="${slug(tag)}">${tag}</h2>${raw(all.map((one) => show(one, document)).join(""))}</section>`,
  );
  const contents = [...byTag].map(
    ([tag, all]) =>
      html`<li><a href="#${slug(tag)}">${tag}</a><ul>${raw(
        all.map((one) => html`<li><a href="#${slug(one.id)}">${one.details.summary ?? one.id}</a></li>`).join(""),
      )}</ul></li>`,
  );
  const server = document.servers?.[0]?.url ?? "";
  return `<!doctype html>${html`<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${document.info.title}</title><style>${raw(style)}</style></head>
<body><nav aria-label="Contents"><ul>${raw(contents.join(""))}</ul></nav>
<main><h1>${document.info.title}</h1><p>${raw(prose(document.info.description ?? ""))}</p>
<p>Base address: <code>${server}</code>. Machine-readable: <a href="openapi.json"><code>openapi.json</code></a> (OpenAPI ${document.openapi}).</p>
<pre><code>${`curl -H "Authorization: Bearer $DORMOUSE_API_KEY" ${server}/workspaces`}</code></pre>
<p>A refusal is one JSON object, <code>{ code, message, details }</code>, with the HTTP status that fits its code.</p>
${raw(sections.join(""))}</main></body></html>`}`;
}

interface Operation {
  id: string;
  method: string;
  path: string;
  details: OpenAPI.OperationObject;
}

function operations(document: OpenAPI.Document): Operation[] {
  return Object.entries(document.paths ?? {}).flatMap(([path, item]) =>
    methods.flatMap((method) => {
      const details = item?.[method];
      return details ? [{ id: details.operationId ?? `${method} ${path}`, method, path, details }] : [];
    }),
  );
}

function show({ id, method, path, details }: Operation, document: OpenAPI.Document): string {
  const parameters = (details.parameters ?? []) as OpenAPI.ParameterObject[];
  const body = jsonSchemaOf(details.requestBody as { content?: Schema } | undefined);
  const fields = [
    ...parameters.map((one) =>
      row(
        one.name,
        (one.schema ?? {}) as Schema,
        one.required === true,
        `in ${one.in}. ${one.description ?? ""}`,
        document,
      ),
    ),
    ...fieldsOf(body, document),
  ];
  const answers = Object.entries(details.responses ?? {}).filter(
    ([status]) => status.startsWith("2") || status === "101",
  );
  const answer = answers.map(([status, response]) => {
    const schema = jsonSchemaOf(response as { content?: Schema });
    const rows = fieldsOf(schema, document);
    const description = (response as { description?: string }).description ?? "";
    return html`<h4>${status} <span class="dim">${description === "OK" ? "" : description}</span></h4>${raw(table(rows))}`;
  });
  return html`<article><h3 id="${slug(id)}"><a href="#${slug(id)}">${details.summary ?? id}</a></h3>
<p class="route"><b class="${method}">${method.toUpperCase()}</b> <code>${path}</code></p>
${raw(details.description ? `<p>${prose(details.description)}</p>` : "")}
${raw(fields.length > 0 ? `<h4>Takes</h4>${table(fields)}` : "")}${raw(answer.join(""))}</article>`;
}

function jsonSchemaOf(holder: { content?: Schema } | undefined): Schema | undefined {
  const content = holder?.content ?? {};
  const media = (content["application/json"] ?? content["text/event-stream"]) as { schema?: Schema } | undefined;
  return media?.schema;
}

function fieldsOf(schema: Schema | undefined, document: OpenAPI.Document): string[] {
  const resolved = schema && resolve(schema, document);
  const properties = resolved?.properties as Record<string, Schema> | undefined;
  if (!properties) return resolved && resolved.type !== "object" ? [row("", resolved, true, "", document)] : [];
  const required = (resolved?.required ?? []) as string[];
  return Object.entries(properties).map(([name, one]) =>
    row(name, one, required.includes(name), String(one.description ?? ""), document),
  );
}

function row(name: string, schema: Schema, required: boolean, description: string, document: OpenAPI.Document): string {
  const fallback = "default" in schema ? ` Default: ${JSON.stringify(schema.default)}.` : "";
  return html`<tr><td><code>${name}</code>${raw(required ? "" : ' <span class="dim">optional</span>')}</td>
<td><code>${typeOf(schema, document)}</code></td><td>${raw(prose(description + fallback))}</td></tr>`;
}

const table = (rows: readonly string[]) =>
  rows.length > 0 ? `<div class="scroll"><table><tbody>${rows.join("")}</tbody></table></div>` : "";

function resolve(schema: Schema, document: OpenAPI.Document): Schema {
  const name = /^#\/components\/schemas\/(.+)$/.exec(String(schema.$ref ?? ""))?.[1];
  const found = name === undefined ? undefined : (document.components?.schemas?.[name] as Schema | undefined);
  return found ?? schema;
}

/** A schema as a type one can read: `string`, `"a" | "b"`, `{ vcpus: integer }[]`. Depth is bounded, schemas may recurse. */
function typeOf(schema: Schema, document: OpenAPI.Document, depth = 0): string {
  const one = resolve(schema, document);
  if (Array.isArray(one.enum)) return one.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in one) return JSON.stringify(one.const);
  const union = one.anyOf ?? one.oneOf;
  if (Array.isArray(union))
    return [...new Set(union.map((part: Schema) => typeOf(part, document, depth + 1)))].join(" | ");
  if (Array.isArray(one.type)) return one.type.join(" | ");
  if (one.type === "array") return `${typeOf((one.items ?? {}) as Schema, document, depth + 1)}[]`;
  const properties = one.properties as Record<string, Schema> | undefined;
  if (properties && depth < 3) {
    const fields = Object.entries(properties).map(([name, part]) => `${name}: ${typeOf(part, document, depth + 1)}`);
    return `{ ${fields.join(", ")} }`;
  }
  return String(one.type ?? "any");
}

/** Markdown's backquotes; nothing else of it is used. */
function prose(text: string): string {
  return escapeHtml(text).replace(/`([^`]+)`/g, "<code>$1</code>");
}

const slug = (text: string) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-");

const escapeHtml = (text: string) => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

class Raw {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}
const raw = (text: string) => new Raw(text);

/** Values are escaped unless they are said to be HTML already. */
function html(parts: TemplateStringsArray, ...values: (string | Raw)[]): string {
  return String.raw({ raw: parts }, ...values.map((value) => (value instanceof Raw ? value.text : escapeHtml(value))));
}

const style = `
:root { color-scheme: light dark; --text: light-dark(#1d2327, #dfe3e6); --dim: light-dark(#5b666e, #96a1a9);
  --line: light-dark(#e2e6e9, #2c3338); --back: light-dark(#fff, #14181b); --soft: light-dark(#f4f6f7, #1d2327);
  --link: light-dark(#8a4b12, #e0a25f); }
* { box-sizing: border-box }
body { margin: 0; font: 16px/1.55 system-ui, sans-serif; color: var(--text); background: var(--back); display: flex }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; flex: 0 0 17rem; padding: 1.5rem; border-right: 1px solid var(--line); font-size: .88rem }
nav ul { list-style: none; margin: 0; padding: 0 } nav ul ul { padding: .2rem 0 .8rem .8rem }
nav a { text-decoration: none; color: inherit } nav a:hover { color: var(--link) }
main { flex: 1; min-width: 0; max-width: 56rem; padding: 2rem 2.5rem 6rem }
h1 { font-size: 1.9rem; margin: 0 0 1rem } h2 { margin: 3rem 0 .5rem; font-size: 1.35rem }
article { border-top: 1px solid var(--line); padding: 1.2rem 0 .6rem }
h3 { margin: 0; font-size: 1.05rem } h3 a { color: inherit; text-decoration: none }
h4 { margin: 1rem 0 .3rem; font-size: .85rem; color: var(--dim) }
a { color: var(--link) } code, pre { font: .86em/1.5 ui-monospace, monospace }
pre { background: var(--soft); padding: .9rem 1rem; border-radius: .5rem; overflow: auto }
.route { margin: .3rem 0; } .route b { font: 700 .78rem ui-monospace, monospace; padding: .15rem .45rem; border-radius: .3rem; background: var(--soft) }
.route .delete { color: light-dark(#a8201a, #f08d86) } .route .post { color: light-dark(#1a6b3c, #7fcf9f) }
.dim { color: var(--dim); font-weight: 400; font-size: .85em } .scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .9rem } td { padding: .35rem .9rem .35rem 0; vertical-align: top; border-bottom: 1px solid var(--line) }
td:nth-child(2) { max-width: 22rem; overflow-wrap: anywhere }
@media (max-width: 50rem) { body { display: block } nav { position: static; height: auto; border: 0 } main { padding: 1rem } }
`;
