import { apiContract } from "@dormouse/contract";
import { minifyContractRouter } from "@orpc/contract";
import { expect, test } from "vitest";
import routes from "./api-routes.json" with { type: "json" };

test("the routes are the contract's; `npm run -w packages/sdk write-routes` writes them anew", () => {
  expect(routes).toEqual(JSON.parse(JSON.stringify(minifyContractRouter(apiContract))));
});
