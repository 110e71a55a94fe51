import { expect, test } from "vitest";
import { missingExtensions } from "./recommended-extensions.ts";

test("what is recommended and not installed is offered once, without what is taken away or no identifier", () => {
  const recommended = ["ada.One", "ADA.one", "ada.two", "ada.three", "-ada.Three", "https://x.test/a.vsix", "ada.four"];
  expect(missingExtensions(recommended, ["Ada.Two"])).toEqual(["ADA.one", "ada.four"]);
  expect(missingExtensions([], ["ada.one"])).toEqual([]);
});
