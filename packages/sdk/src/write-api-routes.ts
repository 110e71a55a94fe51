// Writes api-routes.json: methods and paths of the public API, so that a client need not load every schema
// of the contract (a quarter of a second) to know them. Run it with `npm run -w packages/sdk write-routes`.
import { writeFile } from "node:fs/promises";
import { apiContract } from "@dormouse/contract";
import { minifyContractRouter } from "@orpc/contract";

const file = new URL("./api-routes.json", import.meta.url);
await writeFile(file, `${JSON.stringify(minifyContractRouter(apiContract), null, 2)}\n`);
